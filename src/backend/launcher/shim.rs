//! The programs behind the shims of volta, mise and asdf, and behind the wrapper scripts of package managers.
//!
//! A shim decides when it runs, by the working directory and its tool's settings. Only what does not depend on
//! them is followed: volta records the version, and a single installed version leaves no choice.

use std::io::Read as _;

use camino::{Utf8Path, Utf8PathBuf};

use super::{Error, Search, canonical};

/// The settings of a tool are refused above this size, in bytes.
const MAX_BYTES: u64 = 256 * 1024;

/// Returns the program that the shim at `entry` stands for; `None` where it is no shim.
pub fn behind(entry: &Utf8Path, search: &Search<'_>) -> Result<Option<Utf8PathBuf>, Error> {
    let (Some(name), Some(directory)) = (entry.file_name(), entry.parent()) else { return Ok(None) };
    let target = canonical(entry)?;
    if target.file_name() == Some("volta-shim") {
        return volta(entry, name, directory).map(Some);
    }
    if directory.file_name() != Some("shims") {
        return Ok(None);
    }
    // `<mise>/shims` holds links to mise itself, `<asdf>/shims` scripts that name it.
    let tool = match (target.file_name(), directory.parent().and_then(Utf8Path::file_name)) {
        (Some("mise"), _) => "mise",
        (_, Some("mise")) if target.parent() == Some(directory) => "mise",
        (_, Some(".asdf" | "asdf")) => "asdf",
        _ => return Ok(None),
    };
    let root = directory.parent().unwrap_or(search.home);
    one_of(installed(&root.join("installs"), name), entry, tool).map(Some)
}

/// Returns the Node that volta runs the package of `script` with.
pub fn volta_node(script: &Utf8Path, search: &Search<'_>) -> Option<Utf8PathBuf> {
    let (root, inner) = script.as_str().split_once("/tools/image/packages/")?;
    let package = inner.split_once("/lib/node_modules/").map(|(package, _)| package)?;
    let root = Utf8Path::new(root);
    let home = canonical(search.home).ok()?;
    if !root.starts_with(home) && root.file_name() != Some(".volta") {
        return None;
    }
    let record = json(&root.join("tools/user/packages").join(format!("{package}.json")))?;
    let version = record["platform"]["node"].as_str()?;
    is_version(version).then(|| root.join("tools/image/node").join(version).join("bin/node"))
}

/// Returns the program that a wrapper script ends in: the target of its last `exec` line, where that is a path
/// below the script's directory (`"$basedir/../x"`) or an absolute one, after an optional `node`.
pub fn exec_target(text: &str, script: &Utf8Path) -> Option<Utf8PathBuf> {
    let directory = script.parent()?;
    let line = text.lines().rev().map(str::trim).find(|line| line.starts_with("exec "))?;
    let words = line.split_ascii_whitespace().skip(1).map(|word| word.trim_matches(['"', '\'']));
    let path = words.take(2).find(|word| word.contains('/') && !word.ends_with("/node"))?;
    let target = match path.strip_prefix("$basedir/") {
        Some(rest) => directory.join(rest),
        None if path.starts_with('/') => Utf8PathBuf::from(path),
        None => return None,
    };
    (!target.as_str().contains(['$', '`', '*']) && target.is_file() && target != script).then_some(target)
}

fn volta(entry: &Utf8Path, name: &str, directory: &Utf8Path) -> Result<Utf8PathBuf, Error> {
    let unknown = |found| Error::Shim { path: entry.to_owned(), tool: "volta", found };
    let root = directory.parent().ok_or_else(|| unknown(Vec::new()))?;
    let tools = root.join("tools");
    let found = match name {
        "node" | "npm" | "npx" => json(&tools.join("user/platform.json"))
            .and_then(|platform| platform["node"]["runtime"].as_str().map(ToOwned::to_owned))
            .filter(|version| is_version(version))
            .map(|version| tools.join("image/node").join(version).join("bin").join(name)),
        _ => json(&tools.join("user/bins").join(format!("{name}.json")))
            .and_then(|record| record["package"].as_str().map(ToOwned::to_owned))
            .filter(|package| crate::lock::is_npm_package(package))
            .map(|package| tools.join("image/packages").join(package).join("bin").join(name)),
    };
    match found {
        Some(path) if path.is_file() => Ok(path),
        other => Err(unknown(other.into_iter().collect())),
    }
}

/// Returns every `<installs>/<tool>/<version>/bin/<name>`, each program once: `latest` and `22` are links.
fn installed(installs: &Utf8Path, name: &str) -> Vec<Utf8PathBuf> {
    let mut found: Vec<Utf8PathBuf> = Vec::new();
    for tool in children(installs) {
        for version in children(&tool) {
            let path = version.join("bin").join(name);
            // Through a link of the version it is the same program again.
            if !version.is_symlink() && path.is_file() && !found.contains(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn one_of(mut found: Vec<Utf8PathBuf>, entry: &Utf8Path, tool: &'static str) -> Result<Utf8PathBuf, Error> {
    match found.pop() {
        Some(only) if found.is_empty() => Ok(only),
        last => {
            found.extend(last);
            Err(Error::Shim { path: entry.to_owned(), tool, found })
        }
    }
}

fn children(directory: &Utf8Path) -> Vec<Utf8PathBuf> {
    let Ok(entries) = directory.read_dir_utf8() else { return Vec::new() };
    entries.filter_map(Result::ok).map(camino::Utf8DirEntry::into_path).collect()
}

fn json(path: &Utf8Path) -> Option<serde_json::Value> {
    let mut text = String::new();
    fs_err::File::open(path).ok()?.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Says whether a version that a file names is one part of a path.
fn is_version(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
}
