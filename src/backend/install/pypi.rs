//! The two calls of pip, what they are told, and the program that starts what they fetched.
//!
//! Wheels are taken, of which nothing runs while they are installed; an agent names what is there as source alone. There is no virtual environment, for it
//! holds its own place in many files: the packages are a directory, and a script of pier's makes it the only one.

use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

use super::{Error, Request, Resolved, command, is_of_network, python, read_bounded, told};
use crate::agent::Pypi;
use crate::lock::{self, Integrity};
use crate::util::fs::write_atomic;

/// One working directory, and the pip that fills it.
pub struct Manager<'a> {
    request: &'a Request<'a>,
    pypi: Pypi,
    directory: &'a Utf8Path,
    python: Utf8PathBuf,
    /// `MAJOR.MINOR`.
    version: &'static str,
    environment: Vec<(String, String)>,
}

/// What `pip install --report` says, of which the rest is not read.
#[derive(Deserialize)]
struct Plan {
    install: Vec<Planned>,
}

#[derive(Deserialize)]
struct Planned {
    metadata: Metadata,
    download_info: Download,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    version: String,
}

#[derive(Deserialize)]
struct Download {
    #[serde(default)]
    archive_info: Archive,
}

#[derive(Default, Deserialize)]
struct Archive {
    /// `sha256=` and hex digits.
    #[serde(default)]
    hash: String,
}

/// Files and directories of the installation.
const HOME: &str = ".pip-home";
const PLAN: &str = "resolved.json";
const REQUIREMENTS: &str = "requirements.txt";
const SITE: &str = "site";

impl<'a> Manager<'a> {
    pub fn new(request: &'a Request<'a>, wanted: Pypi, directory: &'a Utf8Path) -> Result<Self, Error> {
        let found = wanted
            .pythons
            .iter()
            .find_map(|version| Some((*version, python::find(version, &request.search).ok()?)));
        let Some((version, python)) = found else {
            let (package, wanted) = (wanted.package, wanted.pythons.join(", "));
            return Err(Error::NoPython { package, wanted });
        };
        let home = directory.join(HOME);
        fs_err::create_dir(&home).map_err(|source| Error::Io { path: home.clone(), source })?;
        let mut environment: Vec<(String, String)> =
            request.environment.iter().filter(|(name, _)| is_passed(name)).cloned().collect();
        let own = [
            ("HOME", home.as_str()),
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
            ("PIP_NO_INPUT", "1"),
            ("PIP_ROOT_USER_ACTION", "ignore"),
            ("LC_ALL", "C.UTF-8"),
        ];
        environment.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        Ok(Manager { request, pypi: wanted, directory, python, version, environment })
    }

    fn run(&self, words: &[&str]) -> Result<(), Error> {
        let mut pip = command(&self.python, &self.environment);
        // Isolated: nothing of the working directory and of the user's own packages is imported.
        pip.args(["-I", "-m", "pip", "install", "--quiet", "--only-binary=:all:", "--no-cache-dir"]);
        pip.args(self.pypi.sources.iter().map(|package| format!("--no-binary={package}")));
        pip.args(["--target", self.directory.join(SITE).as_str()]).args(words);
        match super::run(pip, self.directory)? {
            None => Ok(()),
            Some((words, status)) => Err(self.failure(&words, &status)),
        }
    }

    /// Turns pip's sentences into what they mean: it has no codes.
    fn failure(&self, words: &str, status: &str) -> Error {
        let (package, version) = (self.pypi.package, self.request.version.clone());
        let said = summary(words);
        let has = |sentences: &[&str]| sentences.iter().any(|sentence| words.contains(sentence));
        if has(&["No module named pip"]) {
            Error::NoPip { package, python: self.python.clone(), said }
        } else if has(&[
            "NewConnectionError",
            "ConnectTimeoutError",
            "ReadTimeoutError",
            "ProxyError",
            "NameResolutionError",
            "CERTIFICATE_VERIFY_FAILED",
            "Max retries exceeded",
        ]) {
            // Before what follows from it: nothing was found.
            Error::Unreachable { package, said }
        } else if has(&["DO NOT MATCH THE HASHES"]) {
            Error::Corrupt { package, version, said }
        } else if has(&[&format!("No matching distribution found for {package}==")]) {
            Error::NoSuchVersion { package, version }
        } else {
            Error::Pip { package, version, status: status.to_owned(), said }
        }
    }

    fn plan(&self) -> Result<Plan, Error> {
        let path = self.directory.join(PLAN);
        let text = read_bounded(&path).map_err(|source| Error::Io { path, source })?;
        serde_json::from_str(&text).map_err(|_| self.request.unusable("pip's report is not what it was"))
    }
}

impl super::Manager for Manager<'_> {
    /// Writes pip's report, and the requirements that are made of it.
    fn resolve(&self) -> Result<Resolved, Error> {
        let plan = self.directory.join(PLAN);
        let wanted = format!("{}=={}", self.pypi.package, self.request.version);
        let report = ["--dry-run", "--ignore-installed", "--report", plan.as_str(), "--", &wanted];
        self.run(&[report.as_slice(), self.pypi.with].concat())?;
        let mut own = None;
        let mut requirements = String::new();
        for planned in self.plan()?.install {
            let Planned { metadata: Metadata { name, version }, download_info: Download { archive_info } } =
                planned;
            let hash = archive_info.hash.replacen('=', "-", 1);
            let hash = Integrity::parse(&hash)
                .map_err(|_| self.request.unusable("the index gives no SHA-256 of a package"))?;
            let name = normal(&name);
            let is_plain = |text: &str| {
                !text.is_empty()
                    && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._!+".contains(&byte))
            };
            if !lock::is_npm_package(&name) || !is_plain(&version) {
                return Err(self.request.unusable("a package of it has no proper name or version"));
            }
            let hex = hash.as_str().trim_start_matches("sha256-");
            requirements.push_str(&format!("{name}=={version} --hash=sha256:{hex}\n"));
            if name == self.pypi.package {
                if version != self.request.version.as_str() {
                    return Err(self.request.unusable("pip resolved another version"));
                }
                own = Some(hash);
            }
        }
        let integrity = own.ok_or_else(|| self.request.unusable("pip resolved another package"))?;
        let path = self.directory.join(REQUIREMENTS);
        fs_err::write(&path, requirements).map_err(|source| Error::Io { path, source })?;
        Ok(Resolved { integrity, node: None, python: Some(self.version.to_owned()) })
    }

    /// pip refuses a Python that is too old when it resolves.
    fn check(&self, _: &Resolved) -> Result<(), Error> {
        Ok(())
    }

    fn fetch(&self) -> Result<(), Error> {
        self.run(&["--require-hashes", "--no-deps", "--requirement", REQUIREMENTS])
    }

    /// Writes what starts the package's console script.
    fn program(&self) -> Result<Utf8PathBuf, Error> {
        let site = self.directory.join(SITE);
        let start = format!("{}-{}.dist-info", self.pypi.package.replace('-', "_"), self.request.version);
        let path = site.join(start).join("entry_points.txt");
        let text = read_bounded(&path)
            .map_err(|_| self.request.unusable("it has no list of the commands that it installs"))?;
        let entry = console_script(&text, self.pypi.script)
            .ok_or_else(|| self.request.unusable("its list of commands has no such command"))?;
        let program = Utf8Path::new("bin").join(self.pypi.script);
        let io = |source| Error::Io { path: program.clone(), source };
        fs_err::create_dir_all(self.directory.join("bin")).map_err(io)?;
        write_atomic(&self.directory.join(&program), script(self.version, entry).as_bytes(), 0o755)
            .map_err(io)?;
        Ok(program)
    }

    fn tidy(&self) {
        // The installation is whole without this: a failure only wastes space.
        drop(fs_err::remove_dir_all(self.directory.join(HOME)));
        drop(fs_err::remove_file(self.directory.join(PLAN)));
    }
}

/// Where a console script begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry<'a> {
    module: &'a str,
    object: &'a str,
}

/// Reads `NAME = MODULE:OBJECT` below `[console_scripts]`.
fn console_script<'a>(text: &'a str, name: &str) -> Option<Entry<'a>> {
    let mut lines = text.lines().map(str::trim).skip_while(|line| *line != "[console_scripts]").skip(1);
    let entry = lines
        .by_ref()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('='))
        .find(|(own, _)| own.trim() == name)?
        .1;
    let (module, object) = entry.split_once(':')?;
    let (module, object) = (module.trim(), object.split('[').next().unwrap_or_default().trim());
    // They are written into a program.
    let is_path = |text: &str| {
        text.split('.').all(|part| {
            !part.is_empty()
                && !part.starts_with(|first: char| first.is_ascii_digit())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        })
    };
    (is_path(module) && is_path(object)).then_some(Entry { module, object })
}

/// Returns a program that knows its packages by its own place, and no others.
fn script(version: &str, Entry { module, object }: Entry<'_>) -> String {
    format!(
        r#"#!/usr/bin/env python{version}
import importlib, operator, os, site, sys

home = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
others = ("site-packages", "dist-packages")
sys.path[:] = [path for path in sys.path[1:] if not path.rstrip("/").endswith(others)]
site.addsitedir(os.path.join(home, "{SITE}"))
sys.exit(operator.attrgetter("{object}")(importlib.import_module("{module}"))())
"#
    )
}

/// Returns a name as indexes compare them: lower case, one hyphen for each run of `-`, `_` and `.`.
fn normal(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}

/// Says whether pip is given a variable of the host: where the index is, how it is reached, whom to trust. Other settings
/// of pip could change what an install does.
fn is_passed(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    is_of_network(&lower)
        || matches!(
            lower.as_str(),
            "pip_index_url"
                | "pip_extra_index_url"
                | "pip_find_links"
                | "pip_no_index"
                | "pip_cert"
                | "pip_client_cert"
                | "pip_proxy"
                | "pip_trusted_host"
                | "pip_timeout"
                | "pip_default_timeout"
                | "pip_retries"
                | "pip_config_file"
                | "pip_keyring_provider"
                | "requests_ca_bundle"
                | "curl_ca_bundle"
        )
}

/// Returns pip's first sentences of what went wrong.
fn summary(words: &str) -> String {
    let errors: Vec<&str> = words.lines().filter_map(|line| line.strip_prefix("ERROR: ")).collect();
    let others: Vec<&str> =
        words.lines().map(str::trim).filter(|line| !line.is_empty()).rev().take(1).collect();
    told(if errors.is_empty() { others } else { errors }.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_way_to_the_index_is_passed() {
        for name in ["PIP_INDEX_URL", "PIP_CERT", "https_proxy", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"] {
            assert!(is_passed(name), "{name}");
        }
        for name in ["PIP_TARGET", "PIP_PRE", "PIP_REQUIRE_VIRTUALENV", "PYTHONPATH", "HOME", "LD_PRELOAD"] {
            assert!(!is_passed(name), "{name}");
        }
    }

    #[test]
    fn the_program_of_a_package_is_a_module_and_an_object() {
        let text = "[other]\nmini = x:y\n[console_scripts]\nmini-extra = a:b\nmini = minisweagent.run.mini:app.main [x]\n";
        let entry = console_script(text, "mini").unwrap();
        assert_eq!(entry, Entry { module: "minisweagent.run.mini", object: "app.main" });
        let text = script("3.12", entry);
        assert!(text.starts_with("#!/usr/bin/env python3.12\n"), "{text}");
        for bad in ["", "[console_scripts]\nx = a:b\n", "[console_scripts]\nmini = a\n[x]\nmini = a:b\n"] {
            assert_eq!(console_script(bad, "mini"), None, "{bad}");
        }
        for bad in ["a\");import os#:b", "a:", ":b", "a:b.0", "a..c:b", "a:b c"] {
            assert_eq!(console_script(&format!("[console_scripts]\nmini = {bad}\n"), "mini"), None, "{bad}");
        }
    }

    #[test]
    fn what_pip_says_is_shortened() {
        let words = "WARNING: x\nERROR: one\u{1b}[0m\nERROR: two\nERROR: three\n";
        assert_eq!(summary(words), "one[0m; two");
        assert_eq!(summary("Traceback\n  last: line\n\n"), "last: line");
        assert_eq!(summary(""), "it said nothing");
    }

    #[test]
    fn names_are_compared_as_indexes_do() {
        assert_eq!(normal("Jinja2"), "jinja2");
        assert_eq!(normal("ruamel.yaml__x"), "ruamel-yaml-x");
    }
}
