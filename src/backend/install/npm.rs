//! The two calls of npm, what they are told, and what their failures mean.

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;

use super::{Error, Request, Resolved, command, is_of_network, read_bounded, told};
use crate::agent::{Npm, Scripts};
use crate::backend::launcher;
use crate::lock::Integrity;

/// One working directory, and the npm that fills it.
pub struct Manager<'a> {
    request: &'a Request<'a>,
    npm: Npm,
    directory: &'a Utf8Path,
    /// What runs it, and itself: `node` and `npm-cli.js`, or a program of its own.
    program: Utf8PathBuf,
    first: Option<Utf8PathBuf>,
    node: Utf8PathBuf,
    environment: Vec<(String, String)>,
}

impl<'a> Manager<'a> {
    pub fn new(request: &'a Request<'a>, wanted: Npm, directory: &'a Utf8Path) -> Result<Self, Error> {
        let package = wanted.package;
        let node = launcher::node(&request.search).map_err(|source| Error::NoNode { package, source })?;
        let npm = launcher::find(&["npm"], &request.search).map_err(|source| match source {
            launcher::Error::NotFound { .. } => Error::NoNpm { package },
            source => Error::NoNode { package, source },
        })?;
        let home = directory.join(HOME);
        fs_err::create_dir(&home).map_err(|source| Error::Io { path: home.clone(), source })?;
        // npm's own waits between two retries add up to 70 s; a caller's setting comes later and wins.
        let waits =
            [("NPM_CONFIG_FETCH_RETRY_MINTIMEOUT", "1000"), ("NPM_CONFIG_FETCH_RETRY_MAXTIMEOUT", "5000")];
        let mut environment = waits.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        environment.extend(request.environment.iter().filter(|(name, _)| is_passed(name)).cloned());
        let bin = node.parent().unwrap_or(Utf8Path::new("/usr/bin"));
        environment.extend(
            [
                ("HOME", home.as_str()),
                ("PATH", &format!("{bin}:/usr/local/bin:/usr/bin:/bin")),
                ("NPM_CONFIG_UPDATE_NOTIFIER", "false"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let (program, first) = match npm.interpreter {
            Some(interpreter) => (interpreter, Some(npm.program)),
            None => (npm.program, None),
        };
        Ok(Manager { request, npm: wanted, directory, program, first, node, environment })
    }
}

impl super::Manager for Manager<'_> {
    /// Writes npm's own lock, and returns what it says of the package.
    fn resolve(&self) -> Result<Resolved, Error> {
        let wanted = format!("{}@{}", self.npm.package, self.request.version);
        self.run(&["install", "--package-lock-only", "--save-exact", "--ignore-scripts", "--", &wanted])?;
        let lock = self.json("package-lock.json")?;
        let entry = &lock["packages"][format!("node_modules/{}", self.npm.package)];
        if entry["version"].as_str() != Some(self.request.version.as_str()) {
            return Err(self.request.unusable("npm resolved another version"));
        }
        let integrity = entry["integrity"].as_str().unwrap_or_default();
        let integrity = Integrity::parse(integrity)
            .map_err(|_| self.request.unusable("the registry gives no SHA-512 of it"))?;
        let node = entry["engines"]["node"].as_str().map(ToOwned::to_owned);
        Ok(Resolved { integrity, node, python: None })
    }

    /// Refuses a Node that is older than what the package and its agent ask for.
    fn check(&self, resolved: &Resolved) -> Result<(), Error> {
        let output = command(&self.node, &self.environment)
            .arg("--version")
            .output()
            .map_err(|source| Error::Io { path: self.node.clone(), source })?;
        let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let minimum = format!(">={}", self.npm.minimum_node);
        for wanted in [Some(minimum.as_str()), resolved.node.as_deref()].into_iter().flatten() {
            if is_older(&found, wanted) {
                return Err(Error::NodeTooOld {
                    package: self.npm.package,
                    version: self.request.version.clone(),
                    wanted: wanted.to_owned(),
                    node: self.node.clone(),
                    found,
                });
            }
        }
        Ok(())
    }

    /// Fetches exactly what the lock says, and runs the install scripts where the agent needs them.
    fn fetch(&self) -> Result<(), Error> {
        let scripts = match self.npm.scripts {
            Scripts::Needed => "--ignore-scripts=false",
            Scripts::Skipped => "--ignore-scripts=true",
        };
        match self.run(&["ci", scripts]) {
            Err(Error::Npm { said, .. }) if said.contains(OUT_OF_STEP) => self.fetch_incomplete(scripts),
            fetched => fetched,
        }
    }

    /// Returns the program behind the package's `bin` entry, relative to the installation.
    fn program(&self) -> Result<Utf8PathBuf, Error> {
        let root = Utf8Path::new("node_modules").join(self.npm.package);
        let package = self.json(root.join("package.json").as_str())?;
        let bin = match &package["bin"] {
            Value::String(path) => Some(path.as_str()),
            table => table[self.npm.bin].as_str(),
        };
        let bin = bin.ok_or_else(|| self.request.unusable("its `bin` table has no such command"))?;
        let program = root.join(bin.strip_prefix("./").unwrap_or(bin));
        let inside = program.components().all(|part| matches!(part, camino::Utf8Component::Normal(_)));
        if !inside || !self.directory.join(&program).is_file() {
            return Err(self.request.unusable("its program is not where its `bin` table says"));
        }
        Ok(program)
    }

    /// Removes npm's cache, which nobody reads again.
    fn tidy(&self) {
        // The installation is whole without this: a failure only wastes space.
        drop(fs_err::remove_dir_all(self.directory.join(HOME)));
    }
}

impl Manager<'_> {
    /// Fetches what the lock says where a registry lacks packages for other systems: npm leaves them out of its
    /// lock, and `npm ci` then takes the lock for wrong. No script runs before it is known that nothing was added.
    fn fetch_incomplete(&self, scripts: &str) -> Result<(), Error> {
        let before = self.json("package-lock.json")?;
        self.run(&["install", "--ignore-scripts"])?;
        if self.json("package-lock.json")? != before {
            return Err(self.request.unusable("npm installed something else than it had resolved"));
        }
        self.run(&["rebuild", scripts])
    }

    fn run(&self, words: &[&str]) -> Result<(), Error> {
        let mut npm = command(&self.program, &self.environment);
        npm.args(&self.first)
            .args([
                "--prefix",
                self.directory.as_str(),
                "--global=false",
                "--package-lock=true",
                "--dry-run=false",
            ])
            .args(["--no-audit", "--no-fund", "--no-progress", "--loglevel=error", "--omit=dev"])
            .args(words);
        match super::run(npm, self.directory)? {
            None => Ok(()),
            Some((words, status)) => Err(self.failure(&words, &status)),
        }
    }

    /// Turns npm's words into what they mean. Its error codes are stable, its sentences are not.
    fn failure(&self, words: &str, status: &str) -> Error {
        let (package, version) = (self.npm.package, self.request.version.clone());
        let said = summary(words);
        let code = words.lines().find_map(|line| {
            let line =
                line.strip_prefix("npm error code ").or_else(|| line.strip_prefix("npm ERR! code "))?;
            Some(line.trim())
        });
        match code.unwrap_or_default() {
            "ETARGET" | "E404" => Error::NoSuchVersion { package, version },
            "EINTEGRITY" => Error::Corrupt { package, version, said },
            "ENOTFOUND"
            | "EAI_AGAIN"
            | "ECONNREFUSED"
            | "ECONNRESET"
            | "ETIMEDOUT"
            | "ENETUNREACH"
            | "EHOSTUNREACH"
            | "ERR_SOCKET_TIMEOUT"
            | "FETCH_ERROR"
            | "SELF_SIGNED_CERT_IN_CHAIN"
            | "UNABLE_TO_GET_ISSUER_CERT_LOCALLY"
            | "UNABLE_TO_VERIFY_LEAF_SIGNATURE"
            | "CERT_HAS_EXPIRED" => Error::Unreachable { package, said },
            _ => Error::Npm { package, version, status: status.to_owned(), said },
        }
    }

    fn json(&self, name: &str) -> Result<Value, Error> {
        let path = self.directory.join(name);
        let text = read_bounded(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        serde_json::from_str(&text).map_err(|_| self.request.unusable(&format!("`{name}` is not JSON")))
    }
}

/// npm's home and cache while it works.
const HOME: &str = ".npm-home";

/// What `npm ci` says of a lock that lacks something.
const OUT_OF_STEP: &str = "are in sync";

/// Says whether npm is given a variable of the host: where the registry is, how it is reached, whom to trust.
/// Other settings of npm could change what an install does.
fn is_passed(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    if let Some(setting) = lower.strip_prefix("npm_config_") {
        let setting = setting.replace('-', "_");
        return matches!(
            setting.as_str(),
            "registry"
                | "ca"
                | "cafile"
                | "cert"
                | "key"
                | "proxy"
                | "http_proxy"
                | "https_proxy"
                | "noproxy"
                | "no_proxy"
                | "userconfig"
                | "globalconfig"
        ) || setting.starts_with("fetch_")
            || setting.ends_with(":registry")
            || (setting.starts_with("//") && setting.contains(":_"));
    }
    is_of_network(&lower) || lower == "node_extra_ca_certs"
}

/// Says whether `found` (`v20.20.2`) is below a range of the form `>=20.6.0`. A range of another form is not
/// judged: npm warns of it, and the agent says it better itself.
pub fn is_older(found: &str, wanted: &str) -> bool {
    let numbers = |text: &str| -> Option<[u32; 3]> {
        let mut parts = text.trim().trim_start_matches('v').split('.').map(str::parse);
        let first = parts.next()?.ok()?;
        let mut rest = || parts.next().unwrap_or(Ok(0)).ok();
        Some([first, rest()?, rest()?])
    };
    match (numbers(found), wanted.trim().strip_prefix(">=").and_then(numbers)) {
        (Some(found), Some(wanted)) => found < wanted,
        _ => false,
    }
}

/// Lines of npm that are for programs.
const CODES: &[&str] = &["code ", "errno ", "syscall "];

/// Returns npm's first sentence without its prefixes, on one line and without control characters.
fn summary(words: &str) -> String {
    let lines =
        words.lines().map(|line| line.trim_start_matches("npm error").trim_start_matches("npm ERR!").trim());
    let is_sentence = |line: &&str| !line.is_empty() && !CODES.iter().any(|code| line.starts_with(code));
    let sentences = lines.filter(is_sentence);
    told(sentences)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_way_to_the_registry_is_passed() {
        for name in [
            "NPM_CONFIG_REGISTRY",
            "npm_config_registry",
            "npm_config_@example:registry",
            "NPM_CONFIG_CAFILE",
            "npm_config_//host/:_authToken",
            "NODE_EXTRA_CA_CERTS",
            "https_proxy",
            "HTTPS_PROXY",
            "NO_PROXY",
        ] {
            assert!(is_passed(name), "{name}");
        }
        for name in [
            "NPM_CONFIG_PREFIX",
            "NPM_CONFIG_GLOBAL",
            "NPM_CONFIG_SCRIPT_SHELL",
            "NPM_CONFIG_NODE_OPTIONS",
            "NODE_OPTIONS",
            "LD_PRELOAD",
            "HOME",
            "PATH",
            "ANTHROPIC_API_KEY",
        ] {
            assert!(!is_passed(name), "{name}");
        }
    }

    #[test]
    fn versions_of_node_are_compared_as_numbers() {
        for (found, wanted, older) in [
            ("v20.20.2", ">=20.6.0", false),
            ("v20.5.9", ">=20.6.0", true),
            ("v9.0.0", ">=18", true),
            ("v22.19.0", ">=22.19", false),
            ("v20.0.0", "^18 || >=20", false),
            ("garbage", ">=18", false),
        ] {
            assert_eq!(is_older(found, wanted), older, "{found} {wanted}");
        }
    }

    #[test]
    fn what_npm_says_is_shortened_and_cleaned() {
        let words =
            "npm error code E404\nnpm error 404 Not Found \u{1b}[31m\nnpm error 404 no\nnpm error third\n";
        assert_eq!(summary(words), "404 Not Found [31m; 404 no");
        assert_eq!(summary(""), "it said nothing");
    }
}
