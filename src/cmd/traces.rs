//! `pier traces`: the trials of a workspace, listed and exported.

use camino::{Utf8Path, Utf8PathBuf};
use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde_json::Value;

use super::workspaces::given::named;
use super::{Global, Outcome, owner, project};
use crate::diag::{Exit, Failure};
use crate::record::{self, is_name};
use crate::trial::assemble::{TRIALS, is_unfinished};
use crate::ui;
use crate::util::fs::{Output, open_without_links, read_without_links, sha256, sha256_of};
use crate::util::redact::Scrubber;
use crate::util::text::{counted, escape};
use crate::workspace;

mod known;
mod packed;

use known::Known;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier traces\n  pier traces -o latest.tar.gz\n  pier traces 2026-01-02_03-04-05 -o one.tar.gz\n  pier traces --all -o all.tar.gz"
)]
pub struct Traces {
    /// The trial to export; the newest, otherwise.
    #[arg(requires = "output", conflicts_with = "all")]
    trial: Option<String>,
    /// Write an archive: a tar file, compressed by gzip.
    #[arg(short, long, value_name = "FILE")]
    output: Option<Utf8PathBuf>,
    /// Export all of them.
    #[arg(long, requires = "output")]
    all: bool,
    /// Leave secrets in what is exported. Without it, values of variables that may hold one, yours and those that the workspace was
    /// started with, and what looks like a key, are taken out, and compressed files, which cannot be looked through, are left out.
    #[arg(long, requires = "output")]
    unredacted: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// The file of a trial in an archive that says what is in it.
const MANIFEST: &str = "manifest.json";

/// The largest file that is looked through for secrets, in bytes; a larger one is left out.
const MOST_FILE: u64 = 256 << 20;

/// What an archive says of one trial.
#[derive(Debug, Serialize)]
struct Manifest {
    schema: &'static str,
    trial: String,
    exported: jiff::Timestamp,
    /// Secrets were taken out.
    redacted: bool,
    files: Vec<Kept>,
    left_out: Vec<Missing>,
}

#[derive(Debug, Serialize)]
struct Kept {
    path: Utf8PathBuf,
    bytes: u64,
    sha256: String,
    /// How many secrets were taken out of it.
    redactions: usize,
}

#[derive(Debug, Serialize)]
struct Missing {
    path: Utf8PathBuf,
    why: String,
}

/// The most that is read of a result, in bytes.
const MOST: u64 = 4 << 20;

/// The most files of one trial, and how deep they are.
const MOST_FILES: usize = 200_000;
const MOST_DEPTH: usize = 64;

#[derive(Debug, Serialize)]
struct Row {
    trial: String,
    agent: Option<String>,
    reward: Option<Value>,
    trajectory: bool,
    /// It has a `result.json`: what wrote it came to its end.
    complete: bool,
    /// It is no trial: it is being made, or what made it was killed.
    unfinished: bool,
}

pub fn run(global: &Global, args: &Traces) -> Outcome {
    let cwd = project::current_directory()?;
    let found = workspace::around(&cwd)?;
    let root = found.as_ref().map_or(cwd.clone(), |found| found.root.clone());
    let environment = owner::of_sessions(global)?;
    let all = trials(&root.join(TRIALS))?;
    let Some(output) = &args.output else {
        list(args, &root, &all);
        return Ok(Exit::Done);
    };
    let place = |name: &str| root.join(TRIALS).join(name);
    let (unfinished, whole): (Vec<&String>, Vec<&String>) =
        all.iter().partition(|name| is_unfinished(&place(name)));
    let chosen: Vec<&String> = match (&args.trial, args.all) {
        (Some(name), _) => {
            let known = all.iter().find(|known| is_name(name) && *known == name);
            let message = format!("the trial `{}` is not found", escape(name));
            let known = known.ok_or_else(|| refused(&message, "`pier traces` lists them"))?;
            if unfinished.contains(&known) {
                let message = format!("the trial `{}` has not come to its end", escape(name));
                let help =
                    "if nothing works on it any more, the next `pier verify` or `pier capture` removes it";
                return Err(refused(&message, help));
            }
            vec![known]
        }
        (None, true) => whole,
        // The newest that came to its end.
        (None, false) => {
            let complete = |name: &&&String| place(name).join(record::RESULT).exists();
            whole.iter().rev().find(complete).or(whole.last()).copied().into_iter().collect()
        }
    };
    if args.trial.is_none() && !unfinished.is_empty() {
        let names: Vec<String> = unfinished.iter().map(|name| format!("`{}`", escape(name))).collect();
        ui::say(&format!("left out, for it has not come to its end: {}", names.join(", ")));
    }
    if chosen.is_empty() {
        return Err(refused("there are no trials here", "`pier verify` and `pier capture` make one"));
    }
    let scrubber = (!args.unredacted).then(|| {
        let Known { values, lost } = known::collect(&environment, found.as_ref());
        tell_lost(&lost);
        Scrubber::of(values.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    });
    let manifests = export(&root.join(TRIALS), &chosen, &cwd.join(output), scrubber.as_ref())?;
    ui::answer(&format!("Exported {}", counted(chosen.len(), "trial", "trials")));
    let taken: usize = manifests.iter().flat_map(|one| &one.files).map(|file| file.redactions).sum();
    if taken > 0 {
        let taken = counted(taken, "secret was", "secrets were");
        ui::say(&format!("{taken} taken out; `{MANIFEST}` of each trial says where"));
    }
    for missing in manifests.iter().flat_map(|one| &one.left_out) {
        ui::warn(&format!("`{}` is left out: {}", escape(missing.path.as_str()), escape(&missing.why)));
    }
    Ok(Exit::Done)
}

/// Says whose values stay in an export.
fn tell_lost(names: &[String]) {
    if names.is_empty() {
        return;
    }
    let set: Vec<String> = names.iter().map(|name| format!("{}=…", escape(name))).collect();
    ui::warn(&format!(
        "the values of {} that this workspace was started with are kept nowhere once it has ended, and only what looks like a key is taken \
         out; set those that may be secret, as in `{} pier traces -o FILE`",
        named(names),
        set.join(" ")
    ));
}

fn refused(message: &str, help: &str) -> Failure {
    Failure::new(Exit::Failed, "trial::none", message).help(help)
}

/// Returns the names of the trials, sorted.
fn trials(place: &Utf8Path) -> Result<Vec<String>, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Failed, "trial::files", format!("cannot read `{place}`: {error}"))
            .help("check the permissions of that directory")
    };
    let entries = match place.read_dir_utf8() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            names.push(entry.file_name().to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn list(args: &Traces, root: &Utf8Path, all: &[String]) {
    let row = |name: &String| {
        let place = root.join(TRIALS).join(name);
        let result = read_without_links(&place.join(record::RESULT), MOST).ok();
        let summary = result.as_deref().map(record::summary).unwrap_or_default();
        Row {
            trial: name.clone(),
            agent: summary.agent,
            reward: summary.reward,
            trajectory: place.join("agent/trajectory.json").is_file(),
            complete: result.is_some(),
            unfinished: is_unfinished(&place),
        }
    };
    let rows: Vec<Row> = all.iter().map(row).collect();
    if args.json {
        ui::json(&rows);
        return;
    }
    if rows.is_empty() {
        ui::answer("No trials.");
    }
    for Row { trial, agent, reward, trajectory, unfinished, .. } in rows {
        let mut parts = vec![escape(&trial)];
        parts.extend(agent.map(|agent| escape(&agent)));
        parts.extend(reward.map(|reward| format!("reward={}", escape(&plain(&reward)))));
        if trajectory {
            parts.push("trajectory".to_owned());
        }
        if unfinished {
            parts.push("unfinished".to_owned());
        }
        ui::answer(&parts.join("  "));
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Writes an archive of some trials. It is whole, or not there.
fn export(
    place: &Utf8Path,
    names: &[&String],
    to: &Utf8Path,
    scrubber: Option<&Scrubber>,
) -> Result<Vec<Manifest>, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Failed, "trial::files", format!("cannot write `{to}`: {error}"))
            .help("check the space and the permissions of that directory")
    };
    let target = Output::at(to).map_err(failed)?;
    let directory = to.parent().unwrap_or(Utf8Path::new("/"));
    let file = match target {
        Output::File => tempfile::NamedTempFile::new_in(directory),
        Output::Stream(_) => tempfile::NamedTempFile::new(),
    };
    let file = file.map_err(failed)?;
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    let mut manifests = Vec::new();
    for name in names {
        manifests.push(add(&mut archive, place, Utf8Path::new(name.as_str()), scrubber).map_err(failed)?);
    }
    let file = archive.into_inner().and_then(GzEncoder::finish).map_err(failed)?;
    match target {
        Output::File => {
            file.as_file().sync_all().map_err(failed)?;
            file.persist(to).map_err(|error| failed(error.error))?;
        }
        Output::Stream(mut stream) => {
            let mut whole = file.reopen().map_err(failed)?;
            std::io::copy(&mut whole, &mut stream).map_err(failed)?;
        }
    }
    Ok(manifests)
}

/// Adds a trial: files and directories, and what they are; links lead elsewhere, and are left out.
fn add(
    archive: &mut tar::Builder<impl std::io::Write>,
    place: &Utf8Path,
    name: &Utf8Path,
    scrubber: Option<&Scrubber>,
) -> std::io::Result<Manifest> {
    let mut manifest = Manifest {
        schema: "pier-trial-export/v1",
        trial: name.to_string(),
        exported: jiff::Timestamp::now(),
        redacted: scrubber.is_some(),
        files: Vec::new(),
        left_out: Vec::new(),
    };
    let mut pending = vec![(name.to_owned(), 0)];
    let mut count = 0;
    while let Some((directory, depth)) = pending.pop() {
        archive.append_dir(&directory, place.join(&directory))?;
        let mut entries: Vec<Utf8PathBuf> = Vec::new();
        for entry in place.join(&directory).read_dir_utf8()? {
            entries.push(directory.join(entry?.file_name()));
        }
        entries.sort();
        for path in entries {
            count += 1;
            if count > MOST_FILES || depth > MOST_DEPTH {
                return Err(std::io::Error::other(format!("`{name}` has too many files, or is too deep")));
            }
            let full = place.join(&path);
            let meta = full.symlink_metadata()?;
            let shown = path.strip_prefix(name).unwrap_or(&path).to_owned();
            let mut leave =
                |why: &str| manifest.left_out.push(Missing { path: shown.clone(), why: why.into() });
            if meta.is_dir() {
                pending.push((path, depth + 1));
            } else if !meta.is_file() {
                leave("it is no file");
            } else if shown == MANIFEST {
                leave("its name is that of the list of what is here");
            } else if let Some(scrubber) = scrubber {
                if meta.len() > MOST_FILE {
                    leave("it is too large to be looked through: `--unredacted` takes it");
                    continue;
                }
                let bytes = read_without_links(&full, MOST_FILE)?;
                if packed::is_packed(&shown, &bytes) {
                    leave(
                        "it is compressed or an archive, and cannot be looked through: `--unredacted` takes it",
                    );
                    continue;
                }
                let (bytes, redactions) = scrubber.scrub(&bytes);
                append(archive, &path, &meta, &bytes)?;
                let (bytes, sha256) = (bytes.len() as u64, sha256(&bytes));
                manifest.files.push(Kept { path: shown, bytes, sha256, redactions });
            } else {
                let sha256 = sha256_of(open_without_links(&full)?)?;
                archive.append_file(&path, &mut open_without_links(&full)?)?;
                manifest.files.push(Kept { path: shown, bytes: meta.len(), sha256, redactions: 0 });
            }
        }
    }
    let text = serde_json::to_vec_pretty(&manifest)?;
    let meta = place.join(name).metadata()?;
    append(archive, &name.join(MANIFEST), &meta, &text)?;
    Ok(manifest)
}

/// Adds a file whose contents are these; who may read it is as on the disk.
fn append(
    archive: &mut tar::Builder<impl std::io::Write>,
    path: &Utf8Path,
    meta: &std::fs::Metadata,
    bytes: &[u8],
) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_metadata(meta);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(if meta.is_dir() { 0o644 } else { header.mode()? });
    header.set_size(bytes.len() as u64);
    archive.append_data(&mut header, path, bytes)
}
