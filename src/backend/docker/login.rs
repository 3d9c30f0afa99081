//! The login for one registry, out of Docker's own configuration: the file itself, or a helper that it names.
//!
//! Nothing of an answer is ever printed: what a helper says may be the secret.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use camino::{Utf8Path, Utf8PathBuf};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::Error;
use crate::sys::process;
use crate::util::fs::read_bounded;

/// The most that is read of the configuration, and of a helper's answer, in bytes.
const MOST: u64 = 1 << 20;
const MOST_ANSWER: u64 = 64 * 1024;

/// How long a helper may take: it may ask somebody to unlock a keyring.
const PATIENCE: Duration = Duration::from_secs(20);

/// What every helper says where it has no login, in one form or another.
const NONE: &str = "credentials not found";

/// The name of a token in place of a user's.
const TOKEN: &str = "<token>";

/// How Docker calls its usual registry in its configuration.
const USUAL: (&str, &str) = ("docker.io", "https://index.docker.io/v1/");

/// Where logins are looked for.
pub struct Search<'a> {
    /// The directory of Docker's `config.json`.
    pub settings: Utf8PathBuf,
    pub home: &'a Utf8Path,
    /// Directories of helpers: none that a sandbox writes.
    pub path: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Settings {
    auths: BTreeMap<String, Entry>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
    #[serde(rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    /// `user:password` in base64.
    auth: Zeroizing<String>,
    username: String,
    password: Zeroizing<String>,
    identitytoken: Zeroizing<String>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: Zeroizing<String>,
}

/// Returns the login for a registry; `None` where there is none to be had.
pub fn find(search: &Search<'_>, registry: &str) -> Result<Option<DockerCredentials>, Error> {
    let path = search.settings.join("config.json");
    let wrong = |said: String| Error::Login { registry: registry.to_owned(), said };
    let text = match read_bounded(&path, MOST) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(format!("`{path}` cannot be read: {error}"))),
    };
    // What is wrong in it is not told: a message of the parser may quote a value.
    let settings: Settings =
        serde_json::from_slice(&text).map_err(|_| wrong(format!("`{path}` is not valid")))?;
    let key = if registry == USUAL.0 { USUAL.1 } else { registry };
    let helper = settings.helpers.iter().find(|(name, _)| is_of(name, registry)).map(|(_, helper)| helper);
    if let Some(helper) = helper.or(settings.store.as_ref()).filter(|helper| !helper.is_empty()) {
        let answer = ask(search, helper, key).map_err(wrong)?;
        return Ok(answer.map(|answer| credentials(registry, &answer.username, &answer.secret)));
    }
    let Some((_, entry)) = settings.auths.iter().find(|(name, _)| is_of(name, registry)) else {
        return Ok(None);
    };
    if !entry.identitytoken.is_empty() {
        return Ok(Some(credentials(registry, TOKEN, &entry.identitytoken)));
    }
    if entry.auth.is_empty() {
        let named = !entry.username.is_empty();
        return Ok(named.then(|| credentials(registry, &entry.username, &entry.password)));
    }
    let decoded = STANDARD.decode(entry.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = decoded.map(|text| Zeroizing::new(text.trim_end_matches('\0').to_owned()));
    let pair = decoded.as_ref().and_then(|text| text.split_once(':'));
    let (user, password) = pair.ok_or_else(|| wrong(format!("`auth` in `{path}` is no login")))?;
    Ok(Some(credentials(registry, user, password)))
}

/// Says whether a name of the configuration, which may be an address, is that of the registry.
fn is_of(name: &str, registry: &str) -> bool {
    let host = name.trim_start_matches("https://").trim_start_matches("http://");
    let host = host.split('/').next().unwrap_or(host);
    host == registry || (registry == USUAL.0 && host == "index.docker.io")
}

fn credentials(registry: &str, user: &str, secret: &str) -> DockerCredentials {
    let is_token = user == TOKEN;
    DockerCredentials {
        username: (!is_token).then(|| user.to_owned()),
        password: (!is_token).then(|| secret.to_owned()),
        identitytoken: is_token.then(|| secret.to_owned()),
        serveraddress: Some(if registry == USUAL.0 { USUAL.1 } else { registry }.to_owned()),
        ..DockerCredentials::default()
    }
}

/// Asks `docker-credential-…`.
fn ask(search: &Search<'_>, helper: &str, key: &str) -> Result<Option<Answer>, String> {
    if !helper.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        return Err("the helper has a name that none has".to_owned());
    }
    let name = format!("docker-credential-{helper}");
    let places = search.path.split(':').map(|directory| Utf8Path::new(directory).join(&name));
    let program = places.into_iter().find(|place| place.is_absolute() && place.is_file());
    let program = program.ok_or_else(|| format!("`{name}` is not on `PATH`"))?;
    let failed = |error: io::Error| format!("`{program}` cannot run: {error}");
    let mut command = Command::new(&program);
    command.arg("get").env_clear().env("PATH", &search.path).env("HOME", search.home).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    process::end_together(&mut command);
    let mut child = command.spawn().map_err(failed)?;
    let stdout = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut bytes = Zeroizing::new(Vec::new());
        // What cannot be read is not there.
        let _closed = stdout.map(|pipe| pipe.take(MOST_ANSWER).read_to_end(&mut bytes));
        bytes
    });
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read says so by its answer.
        let _closed = stdin.write_all(key.as_bytes());
    }
    let in_time = process::ends_within(child.id(), PATIENCE).map_err(failed);
    // Not waited for yet, so the number is still its own; what it has left behind ends, too.
    let _gone = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
    let status = child.wait().map_err(failed)?;
    let said = reader.join().unwrap_or_default();
    if !in_time? {
        return Err(format!("`{program}` has not answered within {} s", PATIENCE.as_secs()));
    }
    if !status.success() {
        let none = String::from_utf8_lossy(&said).contains(NONE);
        return if none { Ok(None) } else { Err(format!("`{program}` failed: {status}")) };
    }
    let answer = serde_json::from_slice(&said).map_err(|_| format!("`{program}` gave no login"))?;
    Ok(Some(answer))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::util::fs::write_atomic;

    struct Home(tempfile::TempDir);

    impl Home {
        fn new(config: &str) -> Self {
            let home = Home(tempfile::tempdir().unwrap());
            write_atomic(&home.path().join("config.json"), config.as_bytes(), 0o600).unwrap();
            home
        }

        fn path(&self) -> &Utf8Path {
            Utf8Path::from_path(self.0.path()).unwrap()
        }

        fn helper(&self, name: &str, script: &str) {
            let path = self.path().join(format!("docker-credential-{name}"));
            write_atomic(&path, format!("#!/bin/sh\n{script}\n").as_bytes(), 0o755).unwrap();
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }

        fn find(&self, registry: &str) -> Result<Option<(String, String)>, String> {
            let path = format!("relative:{}:/usr/bin:/bin", self.path());
            let search = Search { settings: self.path().to_owned(), home: self.path(), path };
            let found = find(&search, registry).map_err(|error| error.to_string())?;
            Ok(found.map(|found| {
                let user = found.username.unwrap_or_default();
                (user, found.password.or(found.identitytoken).unwrap_or_default())
            }))
        }
    }

    #[test]
    fn the_file_gives_a_login_for_its_registry_alone() {
        // `me:a:b` and `you:c`.
        let home = Home::new(
            r#"{"auths":{"a.test:5000":{"auth":"bWU6YTpi"},"https://index.docker.io/v1/":{"auth":"eW91OmM="},
                "t.test":{"auth":"bWU6YTpi","identitytoken":"T"},"bad.test":{"auth":"no base64"}},"more":1}"#,
        );
        let pair = |user: &str, password: &str| Ok(Some((user.to_owned(), password.to_owned())));
        assert_eq!(home.find("a.test:5000"), pair("me", "a:b"));
        assert_eq!(home.find("docker.io"), pair("you", "c"));
        assert_eq!(home.find("t.test"), pair("", "T"));
        for other in ["a.test", "a.test:50", "b.test", "index.docker.io.test"] {
            assert_eq!(home.find(other), Ok(None), "{other}");
        }
        assert!(home.find("bad.test").unwrap_err().contains("is no login"));
        assert!(
            Home::new(r#"{"auths":{"a":"s3cret"}}"#).find("a").is_err_and(|said| !said.contains("s3cret"))
        );
    }

    #[test]
    fn a_helper_is_asked_for_the_registry() {
        let home = Home::new(
            r#"{"auths":{"b.test":{"auth":"bWU6YTpi"}},"credsStore":"all","credHelpers":{"a.test":"one","s.test":"slow",
                "x.test":"../x","n.test":"absent"}}"#,
        );
        home.helper(
            "one",
            r#"echo "{\"Username\":\"$1 $(cat)\",\"Secret\":\"$(env | cut -d= -f1 | sort | tr '\n' ' ')\"}""#,
        );
        home.helper("all", "cat >/dev/null; echo s3cret credentials not found in native keychain; exit 1");
        home.helper("slow", "echo s3cret; exit 3");
        assert_eq!(home.find("a.test"), Ok(Some(("get a.test".into(), "HOME PATH PWD ".into()))));
        assert_eq!(home.find("b.test"), Ok(None), "the store goes before the file");
        for (registry, word) in
            [("s.test", "exit status: 3"), ("x.test", "name"), ("n.test", "not on `PATH`")]
        {
            let said = home.find(registry).unwrap_err();
            assert!(said.contains(word) && !said.contains("s3cret"), "{said}");
        }
    }
}
