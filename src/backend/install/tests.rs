use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::agent::{Npm, Scripts};

const PACKAGE: Npm =
    Npm { package: "@example/agent", bin: "agent", minimum_node: 18, scripts: Scripts::Skipped };

/// A host whose `npm` is a shell script that plays the registry, and whose `node` runs it.
struct Host {
    _keep: tempfile::TempDir,
    root: Utf8PathBuf,
    path: String,
    version: Version,
}

fn hash(letter: char) -> Integrity {
    Integrity::parse(&format!("sha512-{}==", letter.to_string().repeat(86))).unwrap()
}

impl Host {
    fn new(npm: &str) -> Self {
        let keep = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::try_from(keep.path().canonicalize().unwrap()).unwrap();
        let path = root.join("bin").into_string();
        let host = Host { _keep: keep, root, path, version: Version::parse("1.2.3").unwrap() };
        host.program(
            "bin/node",
            "if [ \"$1\" = --version ]; then echo v20.1.0; else exec /bin/sh \"$@\"; fi",
        );
        host.program("bin/npm", npm);
        host
    }

    fn program(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn install(&self, integrity: Option<&Integrity>) -> (Result<Installed, Error>, Vec<Progress>) {
        let uid = nix::unistd::Uid::effective().as_raw();
        let (cache, home) = (self.root.join("cache"), self.root.join("home"));
        fs_err::create_dir_all(&home).unwrap();
        let environment = [
            ("NPM_CONFIG_REGISTRY".to_owned(), "http://registry.example".to_owned()),
            ("SECRET".to_owned(), "x".to_owned()),
        ];
        let request = Request {
            agent: "agent",
            install: Install::Npm(PACKAGE),
            version: &self.version,
            integrity,
            cache: &cache,
            environment: &environment,
            search: launcher::Search { path: &self.path, home: &home, uid },
        };
        let mut seen = Vec::new();
        let result = install(&request, &mut |progress| seen.push(progress));
        (result, seen)
    }

    fn shelf(&self) -> Vec<String> {
        let entries = self.root.join("cache/agents/agent").read_dir_utf8().unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().to_owned()).collect();
        names.sort();
        names
    }
}

/// An `npm` that resolves to the hash of `A`s, counts its calls and leaves its environment.
fn registry(root_escape: &str) -> String {
    let lock = format!(
        r#"{{"packages":{{"node_modules/@example/agent":{{"version":"1.2.3","integrity":"{}","engines":{{"node":">=20.0.0"}}}}}}}}"#,
        hash('A')
    );
    format!(
        r#"cd "$2"
case "$*" in *package-lock-only*)
  printf '%s' '{lock}' > package-lock.json
  env > ../../../env
;; *)
  echo call >> ../../../fetched
  mkdir -p node_modules/@example/agent
  printf '%s' '{{"bin":{{"agent":"{root_escape}run"}}}}' > node_modules/@example/agent/package.json
  printf '#!/bin/sh\n' > node_modules/@example/agent/run
  chmod 755 node_modules/@example/agent/run
esac"#
    )
}

/// The same, of a registry that lacks packages for other systems: `npm ci` refuses its own lock.
fn incomplete_registry(adds: &str) -> String {
    let refuses = "*\\ ci\\ *) echo 'npm error code EUSAGE' >&2\n  \
        echo 'npm error `npm ci` can only install packages when x and y are in sync. Missing: z' >&2\n  exit 1\n";
    let whole = registry("./").replace(";; *)", &format!(";; {refuses};; *)"));
    format!("{whole}\ncase \"$*\" in *ignore-scripts) echo '{{\"packages\":{{}}}}' > added; {adds} ;; esac")
}

#[test]
fn a_registry_without_the_packages_of_other_systems_serves() {
    let host = Host::new(&incomplete_registry(":"));
    let (made, _) = host.install(Some(&hash('A')));
    assert_eq!(made.unwrap().how, How::Fetched);
    let host = Host::new(&incomplete_registry("cp added package-lock.json"));
    let error = host.install(Some(&hash('A'))).0.unwrap_err();
    assert!(matches!(error, Error::Unusable { .. }), "{error}");
}

#[test]
fn an_install_appears_whole_and_the_second_call_starts_nothing() {
    let host = Host::new(&registry("./"));
    let (made, seen) = host.install(None);
    let made = made.unwrap();
    assert_eq!(
        (made.how, &made.integrity, made.node.as_deref()),
        (How::Fetched, &hash('A'), Some(">=20.0.0"))
    );
    assert_eq!(seen.len(), 3);
    let names = host.shelf();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[1].starts_with("1.2.3-") && names[1].len() == "1.2.3-01234567".len(), "{names:?}");
    assert_eq!(made.launcher.kind, InstallKind::Cache);
    assert_eq!(
        made.launcher.directories,
        [host.root.join("cache/agents/agent").join(&names[1]).join("node_modules")]
    );

    fs_err::remove_file(host.root.join("bin/npm")).unwrap();
    let (again, seen) = host.install(Some(&hash('A')));
    assert_eq!(again.unwrap(), Installed { how: How::Found, ..made });
    assert_eq!(seen, []);
}

#[test]
fn npm_gets_the_registry_and_a_home_of_its_own_and_no_secret() {
    let host = Host::new(&registry(""));
    host.install(None).0.unwrap();
    let environment = fs_err::read_to_string(host.root.join("cache/env")).unwrap();
    assert!(environment.contains("NPM_CONFIG_REGISTRY=http://registry.example"), "{environment}");
    assert!(!environment.contains("SECRET"), "{environment}");
    assert!(environment.contains(".npm-home"), "{environment}");
}

#[test]
fn another_hash_than_the_locked_one_is_refused_before_anything_is_fetched() {
    let host = Host::new(&registry(""));
    let (result, _) = host.install(Some(&hash('B')));
    assert!(matches!(result, Err(Error::Integrity { .. })), "{result:?}");
    assert!(!host.root.join("cache/fetched").exists());
    assert_eq!(host.shelf(), [".lock"]);
}

#[test]
fn failures_have_names_and_leave_nothing() {
    for (words, expected) in [
        ("echo 'npm error code ETARGET' >&2; exit 1", "has no `@example/agent` 1.2.3"),
        (
            "echo 'npm error code ECONNREFUSED' >&2; echo 'npm error connect' >&2; exit 1",
            "cannot reach the registry",
        ),
        ("echo 'npm error code EINTEGRITY' >&2; exit 1", "another hash than the registry promised"),
        ("echo odd >&2; exit 7", "(exit status: 7): odd"),
        ("exit 0", "cannot use"),
        ("kill -9 $$", "signal: 9"),
    ] {
        let host = Host::new(words);
        let error = host.install(None).0.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(host.shelf(), [".lock"], "{words}");
    }
    let host = Host::new("");
    fs_err::remove_file(host.root.join("bin/npm")).unwrap();
    assert!(matches!(host.install(None).0, Err(Error::NoNpm { .. })));
}

#[test]
fn an_old_node_is_refused_before_anything_is_fetched() {
    let host = Host::new(&registry(""));
    host.program("bin/node", "if [ \"$1\" = --version ]; then echo v18.19.0; else exec /bin/sh \"$@\"; fi");
    let (result, _) = host.install(None);
    assert!(
        matches!(result, Err(Error::NodeTooOld { ref wanted, .. }) if wanted == ">=20.0.0"),
        "{result:?}"
    );
    assert!(!host.root.join("cache/fetched").exists());
}

#[test]
fn a_program_outside_the_installation_is_refused() {
    let host = Host::new(&registry("../../../../../../bin/"));
    let (result, _) = host.install(None);
    assert!(matches!(result, Err(Error::Unusable { .. })), "{result:?}");
}

#[test]
fn the_remains_of_a_killed_install_are_cleared_and_never_taken() {
    let host = Host::new(&registry(""));
    fs_err::create_dir_all(host.root.join("cache/agents/agent/.tmp-x/y")).unwrap();
    fs_err::create_dir_all(host.root.join("cache/agents/agent/1.2.3-00000000")).unwrap();
    assert_eq!(host.install(None).0.unwrap().how, How::Fetched);
    assert!(!host.shelf().contains(&".tmp-x".to_owned()));
}

#[test]
fn two_at_once_fetch_once() {
    let host = Host::new(&registry(""));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| host.install(None).0.unwrap());
        }
    });
    assert_eq!(fs_err::read_to_string(host.root.join("cache/fetched")).unwrap(), "call\n");
}

/// Installs a real agent from the registry that this process is configured for, twice, and runs its launcher.
fn install_and_run(agent: &str, version: &str) -> String {
    let Ok(Install::Npm(npm)) = crate::agent::find(agent).map(crate::agent::Agent::install) else {
        panic!("`{agent}` is not an npm package")
    };
    let keep = tempfile::tempdir().unwrap();
    let root = Utf8PathBuf::try_from(keep.path().canonicalize().unwrap()).unwrap();
    let environment: Vec<(String, String)> = std::env::vars().collect();
    let path = environment.iter().find(|(name, _)| name == "PATH").map_or("", |(_, path)| path);
    let version = Version::parse(version).unwrap();
    let mut request = Request {
        agent,
        install: Install::Npm(npm),
        version: &version,
        integrity: None,
        cache: &root.join("cache"),
        environment: &environment,
        search: launcher::Search { path, home: &root, uid: nix::unistd::Uid::effective().as_raw() },
    };
    let started = std::time::Instant::now();
    let first = install(&request, &mut |progress| println!("{progress:?}")).unwrap();
    println!("fetched in {:?}: {first:#?}", started.elapsed());
    let started = std::time::Instant::now();
    request.integrity = Some(&first.integrity);
    assert_eq!(install(&request, &mut |_| {}).unwrap(), Installed { how: How::Found, ..first.clone() });
    println!("found in {:?}", started.elapsed());

    let argv: Vec<&Utf8PathBuf> =
        first.launcher.interpreter.iter().chain([&first.launcher.program]).collect();
    let size = Command::new("/usr/bin/du").args(["-sh"]).args(&first.launcher.directories).output();
    println!("{}", String::from_utf8_lossy(&size.unwrap().stdout));
    let home = ("HOME".to_owned(), root.join("home").into_string());
    let output = command(argv[0], &[home]).args(&argv[1..]).arg("--version").output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned() + String::from_utf8_lossy(&output.stderr).trim()
}

#[test]
#[ignore = "needs a registry and half a gigabyte: run it by name"]
fn real_agents_install_and_run() {
    assert!(install_and_run("claude-code", "2.1.197").starts_with("2.1.197"));
    assert!(install_and_run("pi", "0.74.2").starts_with("0.74.2"));
}
