//! What is copied from the host into the sandbox home.

use camino::Utf8PathBuf;

use super::build::problem;
use super::facts::Facts;
use super::mounts::{self, Purpose};
use super::{Access, Import, ImportKind, ImportRule};
use crate::agent;
use crate::config::{self, Config, Origin, Sourced};
use crate::diag::Problem;

/// Returns the copies for `skills` lines: each path becomes a directory among the agent's skills.
pub fn skills(
    declared: &config::Agent,
    adapter: &dyn agent::Agent,
    facts: &Facts,
    problems: &mut Vec<Problem>,
    at: &dyn Fn(&Origin) -> String,
) -> Vec<Import> {
    let mut copies = Vec::new();
    for Sourced { value, origin } in &declared.skills {
        let Some(directory) = adapter.skills_dir() else {
            let message = format!("pier does not know where `{}` keeps its skills", declared.name.value);
            problems.push(problem("agent::skills", origin, "asked for here", message));
            continue;
        };
        let purpose = Purpose::Mount(Access::ReadOnly);
        let Some((from, _)) = mounts::source_of(value, purpose, origin, facts, problems) else { continue };
        copies.push(Import {
            from,
            to: directory.into(),
            rule: ImportRule::Always,
            kind: ImportKind::Tree,
            mode: None,
            origin: at(origin),
        });
    }
    copies
}

pub fn rule(sync: config::Sync) -> Option<ImportRule> {
    match sync {
        config::Sync::Always => Some(ImportRule::Always),
        config::Sync::Missing => Some(ImportRule::Missing),
        config::Sync::Never => None,
    }
}

pub fn home_imports(
    config: &Config,
    facts: &Facts,
    problems: &mut Vec<Problem>,
    at: &dyn Fn(&Origin) -> String,
) -> Vec<Import> {
    let mut imports = Vec::new();
    for Sourced { value, origin } in &config.home.imports {
        let Some(rule) = rule(value.sync) else { continue };
        // Git reads both, where they are.
        let usual = [("~/.gitconfig", ".gitconfig"), ("~/.config/git/config", ".config/git/config")];
        let asked = value.from.as_deref().map(|from| (from, ".gitconfig"));
        let files = asked.as_ref().map_or(&usual[..], std::slice::from_ref);
        for (from, to) in files {
            let Some(from) = import_source(from, origin, facts, problems) else { continue };
            imports.push(Import {
                from,
                to: (*to).into(),
                rule,
                kind: ImportKind::File,
                mode: Some(0o600),
                origin: at(origin),
            });
        }
    }
    imports
}

/// Returns where an import is copied from; what is no place for a mount is none for a copy either.
pub fn import_source(
    text: &str,
    origin: &Origin,
    facts: &Facts,
    problems: &mut Vec<Problem>,
) -> Option<Utf8PathBuf> {
    let path = match super::expand(text, &facts.home, &facts.project.root) {
        Ok(path) => path,
        Err(reason) => {
            let message = format!("the path `{text}` {reason}");
            problems.push(problem("mount::source", origin, "this path", message));
            return None;
        }
    };
    if let Err(reason) = mounts::check_place(&path, Purpose::Mount(Access::ReadOnly), facts) {
        let message = format!("`{path}` is not copied: {reason}");
        problems.push(problem("mount::refused", origin, "refused", message));
        return None;
    }
    Some(path)
}
