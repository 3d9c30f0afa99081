//! `runtime nix`: which flake, which of its shell's variables, and the root made of the Nix store alone.

use camino::{Utf8Path, Utf8PathBuf};

use super::build::problem;
use super::facts::{Facts, NixShell};
use super::system::BUILT_IN;
use super::{Access, Identity, Mount, MountKind, RootFilesystem, Variable};
use crate::config::{Config, Runtime};
use crate::diag::Problem;
use crate::env::RESERVED;

/// Where every store is inside.
pub const STORE: &str = "/nix/store";

/// The flake and the shell of a file that names none.
pub const DEFAULT_FLAKE: &str = ".";
pub const DEFAULT_SHELL: &str = "default";

/// Variables of a shell that compilers, linkers and interpreters need to find what the shell brings. No place of
/// the build (`TMP`, `out`), no identity (`HOME`), nothing that another program loads code by (`LD_*`).
const KEPT: &[&str] = &[
    "ACLOCAL_PATH",
    "AR",
    "AS",
    "BINDGEN_EXTRA_CLANG_ARGS",
    "CC",
    "CMAKE_INCLUDE_PATH",
    "CMAKE_LIBRARY_PATH",
    "CMAKE_PREFIX_PATH",
    "CPATH",
    "CPLUS_INCLUDE_PATH",
    "CXX",
    "C_INCLUDE_PATH",
    "DETERMINISTIC_BUILD",
    "GETTEXTDATADIRS",
    "HOST_PATH",
    "IN_NIX_SHELL",
    "LD",
    "LIBCLANG_PATH",
    "LIBRARY_PATH",
    "LOCALE_ARCHIVE",
    "NIXPKGS_CMAKE_PREFIX_PATH",
    "NIX_BINTOOLS",
    "NIX_CC",
    "NIX_CFLAGS_COMPILE",
    "NIX_CFLAGS_COMPILE_FOR_BUILD",
    "NIX_CFLAGS_LINK",
    "NIX_ENFORCE_NO_NATIVE",
    "NIX_HARDENING_ENABLE",
    "NIX_LDFLAGS",
    "NIX_LDFLAGS_FOR_BUILD",
    "NM",
    "NODE_PATH",
    "OBJCOPY",
    "OBJDUMP",
    "PKG_CONFIG",
    "PKG_CONFIG_PATH",
    "PYTHONHASHSEED",
    "PYTHONNOUSERSITE",
    "PYTHONPATH",
    "RANLIB",
    "READELF",
    "RUST_SRC_PATH",
    "SIZE",
    "SOURCE_DATE_EPOCH",
    "STRINGS",
    "STRIP",
    "XDG_DATA_DIRS",
    "_PYTHON_SYSCONFIGDATA_NAME",
];

/// Starts of names that nixpkgs makes for each platform.
const KEPT_STARTS: &[&str] =
    &["NIX_BINTOOLS_WRAPPER_TARGET_", "NIX_CC_WRAPPER_TARGET_", "NIX_PKG_CONFIG_WRAPPER_TARGET_"];

/// What no `pass` line gets out of a shell: places of the build, and settings of Nix itself.
const REFUSED: &[&str] = &["NIX_CONFIG", "NIX_REMOTE", "NIX_STORE_DIR", "TEMP", "TEMPDIR", "TMP"];

/// Where a flake is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A directory of this host, absolute.
    Directory(Utf8PathBuf),
    /// A remote flake at one revision.
    Revision(String),
}

/// Schemes of remote flakes.
const REMOTE: &[&str] = &["github:", "gitlab:", "sourcehut:", "git+https://", "git+ssh://"];

/// Reads what `flake` says.
///
/// # Errors
/// A fragment that fits after "the flake … ".
pub fn reference(text: &str, home: &Utf8Path, root: &Utf8Path) -> Result<Reference, &'static str> {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '#' | '"' | '\'' | '\\' | '`');
    if REMOTE.iter().any(|scheme| text.starts_with(scheme)) {
        if !text.chars().all(plain) {
            return Err("has characters that no reference needs; the shell is named by `shell`");
        }
        if !has_revision(text) {
            return Err("names no revision, so it would be another one tomorrow");
        }
        return Ok(Reference::Revision(text.to_owned()));
    }
    let path = text.strip_prefix("path:").unwrap_or(text);
    if path.split('/').next().is_some_and(|first| first.contains(':')) {
        return Err("is none that pier knows: a directory, or a remote flake with a revision");
    }
    super::expand(path, home, root).map(Reference::Directory)
}

/// Says whether a remote reference is at one commit: `github:OWNER/REPO/COMMIT`, or `…?rev=COMMIT`.
fn has_revision(text: &str) -> bool {
    let commit = |word: &str| word.len() == 40 && word.chars().all(|c| c.is_ascii_hexdigit());
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let mut named = query.split('&').filter_map(|pair| pair.strip_prefix("rev="));
    let third = (!text.starts_with("git+")).then(|| path.split('/').nth(2)).flatten();
    third.is_some_and(commit) || named.any(commit)
}

/// Says whether a name can be one of `devShells`, without a dot, which would be a path of names.
pub fn is_shell_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (1..=128).contains(&name.len()) && !name.starts_with('-') && name.chars().all(letter)
}

/// The flake and the shell that the configuration asks for; `None` for another runtime.
pub fn asked(config: &Config) -> Option<(&str, &str)> {
    let Runtime::Nix { flake, shell, .. } = &config.runtime.value else { return None };
    Some((flake.as_deref().unwrap_or(DEFAULT_FLAKE), shell.as_deref().unwrap_or(DEFAULT_SHELL)))
}

/// Returns what is wrong with the `runtime nix` block, whatever the host has.
pub fn problems(config: &Config, home: &Utf8Path, root: &Utf8Path) -> Vec<Problem> {
    let Some((flake, shell)) = asked(config) else { return Vec::new() };
    let origin = &config.runtime.origin;
    let mut found = Vec::new();
    if let Err(reason) = reference(flake, home, root) {
        let message = format!("the flake `{flake}` {reason}");
        let help = "write `flake \".\"`, a directory, or a reference such as `github:OWNER/REPO/REVISION`";
        found.push(problem("nix::reference", origin, "asked for here", message).help(help));
    }
    if !is_shell_name(shell) {
        let message = format!("`{shell}` cannot be the name of a development shell");
        found.push(problem("nix::reference", origin, "asked for here", message));
    }
    if let Runtime::Nix { pass, .. } = &config.runtime.value {
        let taken = |name: &&String| {
            let name = name.as_str();
            RESERVED.contains(&name) || REFUSED.contains(&name)
        };
        for name in pass.iter().filter(taken) {
            let message =
                format!("`{name}` cannot be passed out of the shell: the sandbox has its own, or none");
            found.push(problem("env::reserved", origin, "in this block", message));
        }
    }
    found
}

/// Returns the shell of the plan; `None` for another runtime, or before the first evaluation.
pub fn shell(facts: &Facts) -> Option<&NixShell> {
    facts.nix.as_ref()?.resolved.as_ref()
}

/// Returns where the root comes from. A shell that nobody looked at is an empty one, never the host's `/usr`.
pub fn root(config: &Config, facts: &Facts) -> RootFilesystem {
    let Some((flake, name)) = asked(config) else { return RootFilesystem::Host };
    let nix = facts.nix.as_ref();
    RootFilesystem::Nix {
        flake: flake.to_owned(),
        shell: name.to_owned(),
        digest: nix.map(|nix| nix.digest.clone()).unwrap_or_default(),
        inputs: nix.map(|nix| nix.inputs.clone()).unwrap_or_default(),
        closure: shell(facts).map(|shell| shell.closure.clone()).unwrap_or_default(),
    }
}

/// Returns what stands in place of the host's `/usr`: the store, `/bin/sh` and `/usr/bin/env`.
pub fn mounts(facts: &Facts) -> Vec<Mount> {
    let mut mounts = Vec::new();
    let mut add = |at: &str, kind| mounts.push(Mount { at: at.into(), kind, origin: BUILT_IN.into() });
    for name in ["/nix", "/bin", "/usr", "/usr/bin"] {
        add(name, MountKind::Directory { mode: 0o755 });
    }
    let Some(shell) = shell(facts) else { return mounts };
    let expect: Option<Identity> =
        facts.paths.get(&shell.store).and_then(|fact| fact.found.as_ref()).map(|found| found.identity);
    let source = shell.store.clone();
    add(STORE, MountKind::Bind { source, access: Access::ReadOnly, expect });
    for (at, to) in [("/bin/sh", &shell.sh), ("/usr/bin/env", &shell.env)] {
        if let Some(to) = to {
            add(at, MountKind::Symlink { to: to.clone() });
        }
    }
    mounts
}

/// Returns the variables of the shell that the sandbox gets, by name.
pub fn variables(config: &Config, facts: &Facts) -> Vec<Variable> {
    let (Some(shell), Runtime::Nix { pass, .. }) = (shell(facts), &config.runtime.value) else {
        return Vec::new();
    };
    let kept = |name: &str| {
        KEPT.contains(&name)
            || KEPT_STARTS.iter().any(|start| name.starts_with(start))
            || pass.iter().any(|passed| passed == name)
    };
    let chosen = shell.variables.iter().filter(|(name, _)| kept(name));
    let variable = |(name, value): (&String, &String)| Variable {
        name: name.clone(),
        value: Some(value.clone()),
        origin: "the Nix shell".to_owned(),
    };
    chosen.map(variable).collect()
}

/// Returns what people should know about the shell and their lines.
pub fn warnings(config: &Config, facts: &Facts) -> Vec<String> {
    let (Some(nix), Runtime::Nix { pass, .. }) = (&facts.nix, &config.runtime.value) else {
        return Vec::new();
    };
    let Some(shell) = &nix.resolved else {
        return vec![format!(
            "the shell `{}` is not evaluated yet, and its tools are missing in this plan; `pier up` or `pier exec` evaluates it",
            nix.shell
        )];
    };
    let mut found = Vec::new();
    for name in pass.iter().filter(|name| !shell.variables.contains_key(*name)) {
        found.push(format!("the Nix shell has no variable `{name}`, so it is not passed"));
    }
    if shell.sh.is_none() {
        found.push(
            "the Nix shell brings no bash and no sh, so scripts that name `/bin/sh` do not run".to_owned(),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_directories_or_revisions() {
        let read = |text: &str| reference(text, "/home/me".into(), "/src/app".into());
        let directory = |path: &str| Ok(Reference::Directory(path.into()));
        assert_eq!(read("."), directory("/src/app"));
        assert_eq!(read("./nix"), directory("/src/app/nix"));
        assert_eq!(read("path:../other"), directory("/src/other"));
        assert_eq!(read("~/flakes"), directory("/home/me/flakes"));
        let revision = "0123456789abcdef0123456789abcdef01234567";
        for remote in ["github:o/r/", "git+https://h/r?rev="] {
            let text = format!("{remote}{revision}");
            assert_eq!(read(&text), Ok(Reference::Revision(text.clone())));
        }
        for text in ["github:o/r", "github:o/r/main", "nixpkgs:x", "git+file:///x", "https://h/x.tar.gz", ""]
        {
            read(text).unwrap_err();
        }
        for text in [format!("github:o/r/{revision}#x"), format!("git+https://h/{revision}/r?ref=main")] {
            read(&text).unwrap_err();
        }
    }

    #[test]
    fn names_of_shells_are_single() {
        assert!(is_shell_name("default") && is_shell_name("ci-2"));
        for name in ["", "-x", "a.b", "a#b", "a b", "é"] {
            assert!(!is_shell_name(name), "{name}");
        }
    }

    #[test]
    fn nothing_that_is_kept_is_refused() {
        let clash = |name: &&&str| RESERVED.contains(*name) || REFUSED.contains(*name);
        assert_eq!(KEPT.iter().find(|name| clash(name)), None);
        assert!(KEPT.iter().all(|name| !name.starts_with("LD_")));
    }
}
