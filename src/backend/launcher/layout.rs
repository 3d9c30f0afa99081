//! What a path tells of the installation around it. Only `version` and `node_prefix` look at files.

use std::io::Read as _;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

/// A `package.json` is refused above this size, in bytes.
const MAX_PACKAGE: u64 = 1 << 20;

/// Says whether every sandbox sees `path` anyway.
pub fn is_system(path: &Utf8Path) -> bool {
    ["/usr", "/bin", "/sbin", "/lib", "/lib64"].iter().any(|root| path.starts_with(root))
}

/// Returns what must be visible for the canonical `program`: the least that holds its own files.
///
/// A global npm package brings its dependencies along; with pnpm, yarn, bun and a local npm prefix they are
/// siblings, so the directory that holds all of them is needed. A program that is alone is its own answer: the
/// directory around it (`~/.local/bin`) holds what is none of the sandbox's business.
pub fn directory(program: &Utf8Path) -> Utf8PathBuf {
    if let Some(store) = up_to(program, ".pnpm") {
        return store;
    }
    if let Some(modules) = up_to(program, "node_modules") {
        let global = modules.parent().and_then(Utf8Path::file_name) == Some("lib");
        return match package_root(program, &modules) {
            Some(package) if global => package,
            _ => modules,
        };
    }
    let parent = program.parent();
    match parent {
        // `~/.local/share/claude/versions/2.1.197`: the file is the version.
        Some(versions) if versions.file_name() == Some("versions") => versions.to_owned(),
        _ => program.to_owned(),
    }
}

/// Returns `<prefix>` of `<prefix>/lib/node_modules/..`.
pub fn npm_prefix(program: &Utf8Path) -> Option<Utf8PathBuf> {
    let lib = up_to(program, "node_modules")?.parent()?.to_owned();
    if lib.file_name() == Some("lib") { lib.parent().map(ToOwned::to_owned) } else { None }
}

/// Returns the directory of one Node version, or the program alone where its prefix is shared with others
/// (`~/.local/bin/node`): Node needs no file but itself.
pub fn node_prefix(node: &Utf8Path) -> Utf8PathBuf {
    let prefix = node.parent().filter(|bin| bin.file_name() == Some("bin")).and_then(Utf8Path::parent);
    let own = |name: &str| {
        name == "installation"
            || name.starts_with("node-v")
            || name.strip_prefix('v').unwrap_or(name).starts_with(|first: char| first.is_ascii_digit())
    };
    match prefix {
        Some(prefix) if prefix.file_name().is_some_and(own) => prefix.to_owned(),
        _ => node.to_owned(),
    }
}

/// Returns the version that the installation says of itself, never by running it.
pub fn version(program: &Utf8Path) -> Option<String> {
    let name =
        if let Some(modules) = program.ancestors().find(|path| path.file_name() == Some("node_modules")) {
            package_version(&package_root(program, modules)?.join("package.json"))?
        } else {
            let parent = program.parent()?;
            if parent.file_name() != Some("versions") {
                return None;
            }
            program.file_name()?.to_owned()
        };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+');
    (name.len() <= 64 && name.starts_with(|first: char| first.is_ascii_digit()) && name.bytes().all(plain))
        .then_some(name)
}

/// Returns `paths` in order, without repetitions and without those below another.
pub fn outermost(mut paths: Vec<Utf8PathBuf>) -> Vec<Utf8PathBuf> {
    paths.sort();
    let mut kept: Vec<Utf8PathBuf> = Vec::new();
    for path in paths {
        if !kept.iter().any(|outer| path.starts_with(outer)) {
            kept.push(path);
        }
    }
    kept
}

/// Returns the path up to its first part of that name.
fn up_to(path: &Utf8Path, name: &str) -> Option<Utf8PathBuf> {
    let found: Vec<&Utf8Path> =
        path.ancestors().filter(|ancestor| ancestor.file_name() == Some(name)).collect();
    found.last().map(|ancestor| (*ancestor).to_owned())
}

/// Returns `<modules>/<name>` or `<modules>/@scope/<name>` around `program`.
fn package_root(program: &Utf8Path, modules: &Utf8Path) -> Option<Utf8PathBuf> {
    let mut parts = program.strip_prefix(modules).ok()?.iter();
    let first = parts.next()?;
    let root = modules.join(first);
    if first.starts_with('@') { Some(root.join(parts.next()?)) } else { Some(root) }
}

fn package_version(path: &Utf8Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Package {
        version: String,
    }
    let mut text = String::new();
    fs_err::File::open(path).ok()?.take(MAX_PACKAGE).read_to_string(&mut text).ok()?;
    serde_json::from_str::<Package>(&text).ok().map(|package| package.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_directory_is_chosen() {
        let pi = "@earendil-works/pi-coding-agent";
        for (program, expected) in [
            (format!("/opt/n/lib/node_modules/{pi}/dist/cli.js"), format!("/opt/n/lib/node_modules/{pi}")),
            ("/opt/n/lib/node_modules/x/node_modules/y/c.js".into(), "/opt/n/lib/node_modules/x".into()),
            (
                format!("/h/.config/yarn/global/node_modules/{pi}/c.js"),
                "/h/.config/yarn/global/node_modules".into(),
            ),
            (
                format!("/h/.local/share/pnpm/global/5/.pnpm/a@1/node_modules/{pi}/c.js"),
                "/h/.local/share/pnpm/global/5/.pnpm".into(),
            ),
            ("/h/.local/share/claude/versions/2.1.197".into(), "/h/.local/share/claude/versions".into()),
            ("/h/.local/bin/mine".into(), "/h/.local/bin/mine".into()),
        ] {
            assert_eq!(directory(Utf8Path::new(&program)), expected, "{program}");
        }
    }

    #[test]
    fn a_shared_prefix_of_node_is_not_shown() {
        for (node, expected) in [
            ("/h/.nvm/versions/node/v20.1.0/bin/node", "/h/.nvm/versions/node/v20.1.0"),
            (
                "/h/.local/share/mise/installs/node/22.1.0/bin/node",
                "/h/.local/share/mise/installs/node/22.1.0",
            ),
            ("/opt/node-v20.1.0-linux-x64/bin/node", "/opt/node-v20.1.0-linux-x64"),
            ("/h/.local/bin/node", "/h/.local/bin/node"),
            ("/h/node", "/h/node"),
        ] {
            assert_eq!(node_prefix(Utf8Path::new(node)), expected);
        }
    }
}
