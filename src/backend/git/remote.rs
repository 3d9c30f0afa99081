//! Fetches one directory of a repository that is elsewhere, with the user's own ways in: keys, helpers, proxies.

use std::time::Duration;

use camino::Utf8Path;

use super::shared::Call;
use super::{Error, Git, failed};

/// How long one step may take.
const TIME: Duration = Duration::from_mins(15);

/// Settings of every call: nothing of the repository's is run, and it leads nowhere else.
pub(super) const SETTINGS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "transfer.fsckObjects=true",
    "protocol.allow=never",
    "protocol.https.allow=always",
    "protocol.http.allow=always",
    "protocol.ssh.allow=always",
    "protocol.file.allow=always",
];

/// Variables of the user that say how a host is reached.
pub(super) const PASSED: &[&str] = &[
    "ALL_PROXY",
    "all_proxy",
    "GIT_ASKPASS",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSL_CAINFO",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "http_proxy",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "PATH",
    "SSH_ASKPASS",
    "SSH_AUTH_SOCK",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "XDG_CONFIG_HOME",
];

/// What is fetched.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub url: &'a str,
    /// A branch, a tag or a whole commit; the repository's own first branch otherwise.
    pub reference: Option<&'a str>,
    /// Relative, below the repository by name.
    pub path: &'a Utf8Path,
}

impl Git {
    /// Fetches the newest state into an empty directory, and returns its commit.
    pub fn fetch(
        &self,
        wanted: Wanted<'_>,
        into: &Utf8Path,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<String, Error> {
        let run = |words: &[&str]| -> Result<Vec<u8>, Error> {
            let answer = self.ask_in(into, variable, Call { words, time: Some(TIME), ..Call::default() })?;
            if answer.code == Some(0) { Ok(answer.stdout) } else { Err(failed(words, &answer)) }
        };
        run(&["init", "--quiet"])?;
        run(&["remote", "add", "origin", "--", wanted.url])?;
        run(&[
            "fetch",
            "--quiet",
            "--no-tags",
            "--depth=1",
            "--filter=blob:none",
            "origin",
            "--end-of-options",
            wanted.reference.unwrap_or("HEAD"),
        ])?;
        let commit = run(&["rev-parse", "--verify", "FETCH_HEAD^{commit}"])?;
        run(&["sparse-checkout", "set", "--no-cone", "--end-of-options", &format!("/{}/", wanted.path)])?;
        run(&["checkout", "--quiet", "--detach", "FETCH_HEAD"])?;
        Ok(String::from_utf8_lossy(&commit).trim().to_owned())
    }
}
