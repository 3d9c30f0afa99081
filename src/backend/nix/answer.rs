//! What Nix answered, checked and turned into the shell that a sandbox shows.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

use super::{Error, physical};
use crate::plan::facts::NixShell;
use crate::plan::nix::STORE;

/// The most paths of a closure; a desktop has some thousands.
const MOST_PATHS: usize = 20_000;

/// The most bytes of a variable: the kernel's own bound for one is 128 KiB with its name.
const MOST_VALUE: usize = 120 << 10;

/// The answer of `nix print-dev-env --json`.
#[derive(Deserialize)]
struct Answer {
    variables: BTreeMap<String, Variable>,
}

#[derive(Deserialize)]
struct Variable {
    #[serde(rename = "type")]
    kind: String,
    /// A list or a table for arrays, which no environment holds.
    value: serde_json::Value,
}

/// Makes the shell out of the two answers; `store` is where the store is on the host.
pub fn shell(said: &[u8], closure: &[Utf8PathBuf], store: &Utf8Path) -> Result<NixShell, Error> {
    let failed = |said: String| Error::Failed { what: "be understood", said };
    let answer: Answer = serde_json::from_slice(said).map_err(|error| failed(error.to_string()))?;
    if closure.is_empty() || closure.len() > MOST_PATHS || !closure.iter().all(|path| is_store_path(path)) {
        return Err(failed(format!("it named {} paths that a shell cannot have", closure.len())));
    }
    // A link leads to another path of the closure, which has its own entry.
    let real = |path: &&Utf8PathBuf| {
        physical(store, path).symlink_metadata().is_ok_and(|meta| meta.is_dir() || meta.is_file())
    };
    let mut entries: Vec<Utf8PathBuf> = closure.iter().filter(real).cloned().collect();
    entries.sort();
    let exported = |variable: Variable| match variable.value {
        serde_json::Value::String(value) if variable.kind == "exported" => Some(value),
        _ => None,
    };
    let usable = |name: &str, value: &str| {
        !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0') && value.len() <= MOST_VALUE
    };
    let variables: BTreeMap<String, String> = answer
        .variables
        .into_iter()
        .filter_map(|(name, variable)| Some((name, exported(variable)?)))
        .filter(|(name, value)| usable(name, value))
        .collect();
    let search = variables.get("PATH").map(String::as_str).unwrap_or_default();
    let within = |path: &&Utf8Path| closure.iter().any(|entry| path.starts_with(entry));
    let mut path: Vec<Utf8PathBuf> = Vec::new();
    for directory in search.split(':').map(Utf8Path::new).filter(within) {
        let clean = directory.components().all(|part| part.as_str() != "..");
        if clean && !path.iter().any(|seen| seen == directory) {
            path.push(directory.to_owned());
        }
    }
    let sh = program(&["bash"], &path, &entries, store).or_else(|| program(&["sh"], &path, &entries, store));
    let env = program(&["env"], &path, &entries, store);
    Ok(NixShell { store: store.to_owned(), closure: entries, path, variables, sh, env })
}

/// `/nix/store/<32 letters>-<name>`, and nothing below it.
fn is_store_path(path: &Utf8Path) -> bool {
    let Some(name) = path.strip_prefix(STORE).ok().map(Utf8Path::as_str) else { return false };
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-._?=".contains(c);
    name.len() > 33 && name.as_bytes()[32] == b'-' && name.chars().all(plain)
}

/// Finds a program for `/bin/sh` or `/usr/bin/env`: a bash that reads lines well, then what the shell searches, then
/// anything of the closure.
fn program(
    names: &[&str],
    path: &[Utf8PathBuf],
    closure: &[Utf8PathBuf],
    store: &Utf8Path,
) -> Option<Utf8PathBuf> {
    let interactive = closure.iter().filter(|entry| entry.as_str().contains("-bash-interactive-"));
    let directories = interactive.map(|entry| entry.join("bin")).chain(path.iter().cloned());
    let directories = directories.chain(closure.iter().map(|entry| entry.join("bin")));
    let there = |found: &Utf8PathBuf| physical(store, found).symlink_metadata().is_ok();
    let found = directories.flat_map(|directory| names.iter().map(move |name| directory.join(name)));
    found.into_iter().find(there)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOL: &str = "/nix/store/iqf0fv1vzl5zmjbyccbmhrgridq456dd-tool";

    #[test]
    fn only_store_paths_are_taken() {
        assert!(is_store_path(TOOL.into()));
        for path in ["/nix/store", "/nix/store/x", "/etc", &format!("{TOOL}/bin"), &format!("{TOOL}\n")] {
            assert!(!is_store_path(path.into()), "{path}");
        }
    }

    #[test]
    fn a_shell_is_made_of_the_answers() {
        let place = tempfile::tempdir().unwrap();
        let store = Utf8Path::from_path(place.path()).unwrap();
        let tool = store.join("iqf0fv1vzl5zmjbyccbmhrgridq456dd-tool/bin");
        fs_err::create_dir_all(&tool).unwrap();
        fs_err::write(tool.join("sh"), "").unwrap();
        let said = format!(
            r#"{{"variables": {{
                "PATH": {{"type": "exported", "value": "/usr/bin:{TOOL}/bin:./bin:{TOOL}/../x:{TOOL}/bin:/path-not-set"}},
                "A": {{"type": "exported", "value": "1"}},
                "B": {{"type": "var", "value": "2"}},
                "C": {{"type": "array", "value": ["3"]}},
                "D": {{"type": "exported", "value": "\u0000"}}
            }}, "bashFunctions": {{}}}}"#
        );
        let closure = [Utf8PathBuf::from(TOOL)];
        let found = shell(said.as_bytes(), &closure, store).unwrap();
        let bin = Utf8Path::new(TOOL).join("bin");
        assert_eq!(found.path, std::slice::from_ref(&bin));
        assert_eq!(found.variables.keys().collect::<Vec<_>>(), ["A", "PATH"]);
        assert_eq!((found.sh, found.env), (Some(bin.join("sh")), None));
        assert_eq!(found.closure, closure);
        shell(said.as_bytes(), &["/etc/passwd".into()], store).unwrap_err();
        shell(b"{}", &closure, store).unwrap_err();
    }
}
