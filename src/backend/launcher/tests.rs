use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

const PI: &str = "@earendil-works/pi-coding-agent";
const NODE_SCRIPT: &str = "#!/usr/bin/env node\nconsole.log(1)\n";
const ELF: &str = "\x7fELF and more";

/// A home directory with a launcher in it.
struct Host {
    _keep: tempfile::TempDir,
    root: Utf8PathBuf,
    path: String,
}

impl Host {
    fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::try_from(keep.path().canonicalize().unwrap()).unwrap();
        let path = String::new();
        Host { _keep: keep, root, path }
    }

    fn home(&self) -> Utf8PathBuf {
        self.root.join("home/u")
    }

    /// Writes an executable file at a path below the root; `~` is the home directory.
    fn file(&self, path: &str, text: &str) -> Utf8PathBuf {
        let path = self.at(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, text).unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn link(&self, path: &str, to: &str) {
        let path = self.at(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        let to = if to.starts_with("~/") { self.at(to) } else { to.into() };
        symlink(to, path).unwrap();
    }

    fn at(&self, path: &str) -> Utf8PathBuf {
        match path.strip_prefix("~/") {
            Some(rest) => self.home().join(rest),
            None => self.root.join(path),
        }
    }

    fn path(&mut self, parts: &[&str]) {
        self.path = parts.iter().map(|part| self.at(part).into_string()).collect::<Vec<_>>().join(":");
    }

    fn find(&self, name: &str) -> Result<Launcher, Error> {
        let uid = nix::unistd::Uid::effective().as_raw();
        fs_err::create_dir_all(self.home()).unwrap();
        find(&[name], &Search { path: &self.path, home: &self.home(), uid })
    }

    fn directories(&self, launcher: &Launcher) -> Vec<String> {
        let home = self.home();
        launcher
            .directories
            .iter()
            .map(|path| {
                path.strip_prefix(&home).map_or_else(|_| path.to_string(), |rest| format!("~/{rest}"))
            })
            .collect()
    }

    fn package(&self, root: &str, version: &str) {
        self.file(&format!("{root}/package.json"), &format!("{{\"version\":\"{version}\"}}"));
        self.file(&format!("{root}/dist/cli.js"), NODE_SCRIPT);
    }
}

#[test]
fn an_npm_prefix_shows_the_package_and_the_node_of_the_path() {
    let mut host = Host::new();
    host.package(&format!("~/.npm-global/lib/node_modules/{PI}"), "0.74.2");
    host.link("~/.npm-global/bin/pi", &format!("../lib/node_modules/{PI}/dist/cli.js"));
    host.file("opt/node-v20.1.0-linux-x64/bin/node", ELF);
    host.path(&["~/.npm-global/bin", "opt/node-v20.1.0-linux-x64/bin"]);
    let found = host.find("pi").unwrap();
    assert_eq!(found.program, host.at(&format!("~/.npm-global/lib/node_modules/{PI}/dist/cli.js")));
    assert_eq!(found.interpreter, Some(host.at("opt/node-v20.1.0-linux-x64/bin/node")));
    assert_eq!(
        found.directories,
        [host.at(&format!("~/.npm-global/lib/node_modules/{PI}")), host.at("opt/node-v20.1.0-linux-x64")]
    );
    assert_eq!((found.version.as_deref(), found.kind), (Some("0.74.2"), InstallKind::Host));
}

#[test]
fn nvm_uses_the_node_of_the_same_prefix() {
    let mut host = Host::new();
    let node = "~/.nvm/versions/node/v22.3.0";
    host.package(&format!("{node}/lib/node_modules/{PI}"), "0.87.1");
    host.link(&format!("{node}/bin/pi"), &format!("../lib/node_modules/{PI}/dist/cli.js"));
    host.file(&format!("{node}/bin/node"), ELF);
    host.file("other/bin/node", ELF);
    host.path(&["other/bin", "~/.nvm/versions/node/v22.3.0/bin"]);
    let found = host.find("pi").unwrap();
    assert_eq!(found.interpreter, Some(host.at(&format!("{node}/bin/node"))));
    assert_eq!(host.directories(&found), [node]);
}

#[test]
fn volta_is_resolved_by_its_records() {
    let mut host = Host::new();
    let image = format!("~/.volta/tools/image/packages/{PI}");
    host.file("~/.volta/bin/volta-shim", ELF);
    host.link("~/.volta/bin/pi", "volta-shim");
    host.package(&format!("{image}/lib/node_modules/{PI}"), "0.74.2");
    host.link(&format!("{image}/bin/pi"), &format!("../lib/node_modules/{PI}/dist/cli.js"));
    host.file("~/.volta/tools/user/bins/pi.json", &format!("{{\"name\":\"pi\",\"package\":\"{PI}\"}}"));
    host.file(&format!("~/.volta/tools/user/packages/{PI}.json"), r#"{"platform":{"node":"20.11.0"}}"#);
    host.file("~/.volta/tools/image/node/20.11.0/bin/node", ELF);
    host.path(&["~/.volta/bin"]);
    let found = host.find("pi").unwrap();
    assert_eq!(
        host.directories(&found),
        ["~/.volta/tools/image/node/20.11.0".to_owned(), format!("{image}/lib/node_modules/{PI}")]
    );
    assert_eq!(found.version.as_deref(), Some("0.74.2"));

    host.file("~/.volta/tools/user/bins/pi.json", r#"{"package":"../../../.ssh"}"#);
    assert!(matches!(host.find("pi"), Err(Error::Shim { tool: "volta", .. })));
}

#[test]
fn a_mise_shim_is_followed_where_one_version_is_installed() {
    let mut host = Host::new();
    let installs = "~/.local/share/mise/installs/node";
    host.file("~/.local/bin/mise", ELF);
    host.link("~/.local/share/mise/shims/pi", "~/.local/bin/mise");
    host.file(&format!("{installs}/22.1.0/bin/node"), ELF);
    host.package(&format!("{installs}/22.1.0/lib/node_modules/{PI}"), "0.74.2");
    host.link(&format!("{installs}/22.1.0/bin/pi"), &format!("../lib/node_modules/{PI}/dist/cli.js"));
    host.link(&format!("{installs}/latest"), "./22.1.0");
    host.path(&["~/.local/share/mise/shims"]);
    assert_eq!(host.directories(&host.find("pi").unwrap()), [format!("{installs}/22.1.0")]);

    host.file(&format!("{installs}/20.1.0/bin/pi"), NODE_SCRIPT);
    let Err(Error::Shim { tool: "mise", found, .. }) = host.find("pi") else {
        panic!("two versions are a choice")
    };
    assert_eq!(found.len(), 2);
}

#[test]
fn an_asdf_shim_is_followed_where_one_version_is_installed() {
    let mut host = Host::new();
    host.file("~/.asdf/shims/claude", "#!/usr/bin/env bash\nexec asdf exec \"claude\" \"$@\"\n");
    host.file("~/.asdf/installs/claude/2.1.197/bin/claude", ELF);
    host.path(&["~/.asdf/shims"]);
    let found = host.find("claude").unwrap();
    assert_eq!(host.directories(&found), ["~/.asdf/installs/claude/2.1.197/bin/claude"]);
}

#[test]
fn a_native_install_shows_its_versions_and_nothing_else() {
    let mut host = Host::new();
    host.file("~/.local/share/claude/versions/2.1.197", ELF);
    host.link("~/.local/bin/claude", "~/.local/share/claude/versions/2.1.197");
    host.path(&["~/.local/bin"]);
    let found = host.find("claude").unwrap();
    assert_eq!(host.directories(&found), ["~/.local/share/claude/versions"]);
    assert_eq!((found.version.as_deref(), found.interpreter), (Some("2.1.197"), None));
}

#[test]
fn wrapper_scripts_of_pnpm_and_others_are_followed() {
    let mut host = Host::new();
    let store = "~/.local/share/pnpm/global/5/.pnpm";
    let package = format!("{store}/pi@0.74.2/node_modules/{PI}");
    host.package(&package, "0.74.2");
    host.link(&format!("~/.local/share/pnpm/global/5/node_modules/{PI}"), &package);
    let script = format!(
        "#!/bin/sh\nbasedir=$(dirname \"$0\")\nif [ -x \"$basedir/node\" ]; then\n  exec \"$basedir/node\"  \
         \"$basedir/global/5/node_modules/{PI}/dist/cli.js\" \"$@\"\nelse\n  exec node  \
         \"$basedir/global/5/node_modules/{PI}/dist/cli.js\" \"$@\"\nfi\n"
    );
    host.file("~/.local/share/pnpm/pi", &script);
    host.file("opt/v20.1.0/bin/node", ELF);
    host.path(&["~/.local/share/pnpm", "opt/v20.1.0/bin"]);
    let found = host.find("pi").unwrap();
    assert_eq!(host.directories(&found)[0], store);
    assert_eq!(found.version.as_deref(), Some("0.74.2"));

    host.file("~/.claude/local/node_modules/@anthropic-ai/claude-code/bin/claude.exe", ELF);
    host.link("~/.claude/local/node_modules/.bin/claude", "../@anthropic-ai/claude-code/bin/claude.exe");
    let target = host.at("~/.claude/local/node_modules/.bin/claude");
    host.file("~/.claude/local/claude", &format!("#!/bin/bash\nexec \"{target}\" \"$@\"\n"));
    host.path(&["~/.claude/local"]);
    assert_eq!(host.directories(&host.find("claude").unwrap()), ["~/.claude/local/node_modules"]);
}

#[test]
fn yarn_and_bun_show_the_directory_of_all_packages() {
    for (bin, modules) in [
        ("~/.yarn/bin", "~/.config/yarn/global/node_modules"),
        ("~/.bun/bin", "~/.bun/install/global/node_modules"),
    ] {
        let mut host = Host::new();
        host.package(&format!("{modules}/{PI}"), "0.74.2");
        host.link(&format!("{modules}/.bin/pi"), &format!("../{PI}/dist/cli.js"));
        host.link(&format!("{bin}/pi"), &format!("{modules}/.bin/pi"));
        host.file("~/.local/bin/node", ELF);
        host.path(&[bin, "~/.local/bin"]);
        assert_eq!(host.directories(&host.find("pi").unwrap()), [modules, "~/.local/bin/node"]);
    }
}

#[test]
fn a_python_tool_shows_its_environment() {
    let mut host = Host::new();
    let venv = "~/.local/share/uv/tools/aider";
    host.file("~/.local/share/uv/python/cpython-3.12/bin/python3.12", ELF);
    host.link(&format!("{venv}/bin/python"), "~/.local/share/uv/python/cpython-3.12/bin/python3.12");
    host.file(&format!("{venv}/pyvenv.cfg"), "home = x\n");
    host.file(&format!("{venv}/bin/aider"), &format!("#!{}/bin/python\n", host.at(venv)));
    host.link("~/.local/bin/aider", &format!("{venv}/bin/aider"));
    host.path(&["~/.local/bin"]);
    assert_eq!(
        host.directories(&host.find("aider").unwrap()),
        ["~/.local/share/uv/python/cpython-3.12", venv]
    );
}

#[test]
fn a_program_that_is_alone_shows_only_itself() {
    let mut host = Host::new();
    host.file("~/bin/mine", ELF);
    host.path(&["~/bin"]);
    assert_eq!(host.directories(&host.find("mine").unwrap()), ["~/bin/mine"]);
}

#[test]
fn an_ancestor_of_the_home_is_never_shown() {
    let mut host = Host::new();
    // `/…/versions` around the home would be taken for a directory of versions.
    host.file("versions/claude", ELF);
    host.path(&["versions"]);
    let home = host.at("versions/u");
    fs_err::create_dir_all(&home).unwrap();
    let uid = nix::unistd::Uid::effective().as_raw();
    let found = find(&["claude"], &Search { path: &host.path, home: &home, uid });
    assert!(matches!(found, Err(Error::NeedsHome { .. })), "{found:?}");
}

#[test]
fn broken_links_are_named_and_later_entries_still_count() {
    let mut host = Host::new();
    host.link("a/pi", "gone");
    host.path(&["a", "b"]);
    assert!(matches!(host.find("pi"), Err(Error::BrokenLink { target, .. }) if target == "gone"));
    host.file("b/pi", ELF);
    assert_eq!(host.find("pi").unwrap().program, host.at("b/pi"));
    assert!(matches!(host.find("none"), Err(Error::NotFound { .. })));
}

#[test]
fn relative_and_empty_parts_of_the_path_are_skipped() {
    let host = Host::new();
    let search = Search { path: "::.:bin:..", home: &host.root, uid: 0 };
    assert!(matches!(find(&["Cargo.toml", "sh"], &search), Err(Error::NotFound { .. })));
}

#[test]
fn what_anybody_can_write_is_refused() {
    let mut host = Host::new();
    let file = host.file("a/b/mine", ELF);
    host.path(&["a/b"]);
    let mode =
        |path: &Utf8Path, mode| fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    mode(&file, 0o757);
    assert!(matches!(host.find("mine"), Err(Error::WorldWritable { path }) if path == file));
    mode(&file, 0o755);
    mode(&host.at("a"), 0o777);
    assert!(matches!(host.find("mine"), Err(Error::WorldWritable { path }) if path == host.at("a")));
    mode(&host.at("a"), 0o1777);
    assert!(host.find("mine").is_ok());
}

#[test]
fn what_another_user_owns_is_refused() {
    let mut host = Host::new();
    let file = host.file("a/mine", ELF);
    host.path(&["a"]);
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("skipped: only root can give a file away");
        return;
    }
    std::os::unix::fs::chown(&file, Some(12345), None).unwrap();
    assert!(matches!(host.find("mine"), Err(Error::ForeignOwner { owner: 12345, .. })));
    let search = Search { path: &host.path, home: &host.home(), uid: 12345 };
    assert!(find(&["mine"], &search).is_ok());
}

#[test]
fn unknown_interpreters_and_plain_data_are_refused() {
    let mut host = Host::new();
    host.path(&["a"]);
    host.file("a/ruby", "#!/usr/bin/env ruby\n");
    assert!(
        matches!(host.find("ruby"), Err(Error::UnknownInterpreter { interpreter, .. }) if interpreter == "ruby")
    );
    host.file("a/data", "hello");
    assert!(matches!(host.find("data"), Err(Error::NotAProgram { .. })));
    host.file("a/empty", "");
    assert!(matches!(host.find("empty"), Err(Error::NotAProgram { .. })));
}

#[test]
fn a_script_that_starts_itself_ends() {
    let mut host = Host::new();
    let (one, two) = (host.at("a/one"), host.at("a/two"));
    host.file("a/one", &format!("#!/bin/sh\nexec \"{two}\" \"$@\"\n"));
    host.file("a/two", &format!("#!/bin/sh\nexec \"{one}\" \"$@\"\n"));
    host.path(&["a"]);
    assert!(matches!(host.find("one"), Err(Error::TooManyHops { .. })));
}
