//! `pier fmt`: re-indents files, all of them or none.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use clap::Args;

use super::owner::{self, RootOwned};
use super::{Global, Outcome, project};
use crate::backend::probe;
use crate::config::{Root, format, syntax};
use crate::diag::{Exit, Failure, Problem, Report};
use crate::env::Environment;
use crate::ui;
use crate::util::fs::write_atomic;
use crate::util::text::escape;

/// More than the language reads, so that its own message is the one that people see, in bytes.
const MOST_INPUT: u64 = 1024 * 1024;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier fmt                      the project's `pier.kdl`\n  pier fmt --check              exit 1 where it would change\n  pier fmt - < team.kdl         standard input to standard output"
)]
pub struct Fmt {
    /// Files, or `-` for standard input; the project's `pier.kdl` otherwise.
    files: Vec<Utf8PathBuf>,
    /// Change nothing; name the files that would change and exit 1.
    #[arg(long)]
    check: bool,
}

/// One file with its text before and after.
struct Formatted {
    path: Utf8PathBuf,
    before: String,
    after: String,
}

pub fn run(global: &Global, args: &Fmt) -> Outcome {
    let cwd = project::current_directory()?;
    let root = probe::project_root(&cwd, Root::Git)?;
    owner::settle(Environment::of_process()?, global, &root, RootOwned::Stay)?;
    let files = match args.files.as_slice() {
        [] => vec![project::require_file(&cwd, &root)?],
        files => files.to_vec(),
    };
    let mut report = Report::default();
    let mut formatted = Vec::new();
    for path in files {
        match one(&path, &cwd, &mut report) {
            Ok(one) => formatted.push(one),
            Err(problems) => report.problems.extend(problems),
        }
    }
    if !report.problems.is_empty() {
        return Err(Failure { exit: Exit::Usage, report });
    }
    let changed = formatted.iter().filter(|one| one.before != one.after);
    if args.check {
        let names: Vec<&Utf8PathBuf> = changed.map(|one| &one.path).collect();
        for name in &names {
            ui::answer(&escape(name.as_str()));
        }
        return Ok(if names.is_empty() { Exit::Done } else { Exit::Failed });
    }
    for one in changed.filter(|one| one.path != "-") {
        rewrite(&cwd.join(&one.path), &one.after)?;
        ui::say(&format!("formatted {}", escape(one.path.as_str())));
    }
    for one in formatted.iter().filter(|one| one.path == "-") {
        ui::write_out(&one.after);
    }
    Ok(Exit::Done)
}

fn one(path: &Utf8Path, cwd: &Utf8Path, report: &mut Report) -> Result<Formatted, Vec<Problem>> {
    let source = report.sources.reserve();
    let (name, bytes) = if path == "-" {
        let mut bytes = Vec::new();
        let read = std::io::stdin().take(MOST_INPUT + 1).read_to_end(&mut bytes);
        ("<stdin>", read.map(|_| Some(bytes)))
    } else {
        (path.as_str(), project::read(&cwd.join(path), Some(cwd)))
    };
    let unreadable = |why: String| {
        let message = format!("cannot read `{}`: {why}", escape(name));
        vec![Problem::nowhere("config::unreadable", message)]
    };
    let bytes = bytes
        .map_err(|error| unreadable(error.to_string()))?
        .ok_or_else(|| unreadable("there is no such file".to_owned()))?;
    let before = syntax::read(source, bytes).map_err(|(text, problem)| {
        report.sources.fill(source, name, text);
        vec![problem]
    })?;
    report.sources.fill(source, name, before.as_str());
    let after = format::format(source, &before)?;
    Ok(Formatted { path: path.to_owned(), before, after })
}

/// Replaces the content of a file that is there; its mode stays.
pub fn rewrite(path: &Utf8Path, text: &str) -> Result<(), Failure> {
    let mode = path.metadata().map(|meta| meta.permissions().mode() & 0o777);
    write_atomic(path, text.as_bytes(), mode.unwrap_or(0o644)).map_err(|error| {
        let message = format!("cannot write `{}`: {error}", escape(path.as_str()));
        Failure::new(Exit::Failed, "cli::write", message)
    })
}
