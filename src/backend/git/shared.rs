//! Git in a clone that sandboxes write into, too, and that leads elsewhere by the user's own ways.
//!
//! Nothing that the clone's configuration names is run: what it may say is a short list, and a clone that says more is
//! refused. Hooks are off in the clone, and in a remote that a sandbox can write.

use std::process::{Command, Stdio};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::remote::{PASSED, SETTINGS};
use super::{Answer, Error, Git, failed, wait};
use crate::sys::process;
use crate::util::fs::{read_bounded, read_without_links};
use crate::util::git::config::{self, Entry};
use crate::util::git::remote::local;

/// How long one step may take.
const TIME: Duration = Duration::from_mins(2);

/// The most that a configuration holds, in bytes.
const MOST: u64 = 1 << 20;

/// What the configuration of a clone may say: section, and keys; a section with any name in quotes where `true`.
const MAY: &[(&str, bool, &[&str])] = &[
    (
        "core",
        false,
        &[
            "autocrlf",
            "bare",
            "eol",
            "filemode",
            "ignorecase",
            "logallrefupdates",
            "precomposeunicode",
            "quotepath",
            "repositoryformatversion",
            "sharedrepository",
            "symlinks",
        ],
    ),
    ("remote", true, &["url", "pushurl", "fetch", "push", "mirror", "prune", "tagopt"]),
    ("branch", true, &["remote", "merge", "rebase", "description"]),
    ("pull", false, &["rebase", "ff"]),
    ("push", false, &["default", "autosetupremote", "followtags"]),
    ("fetch", false, &["prune"]),
    ("rebase", false, &["autostash", "autosquash", "updaterefs"]),
    ("merge", false, &["conflictstyle", "ff"]),
    ("user", false, &["name", "email", "useconfigonly"]),
    ("init", false, &["defaultbranch"]),
    ("commit", false, &["gpgsign"]),
    ("tag", false, &["gpgsign"]),
    ("gc", false, &["auto", "autodetach"]),
    ("maintenance", false, &["auto"]),
    ("extensions", false, &["objectformat", "refstorage"]),
    ("receive", false, &["denycurrentbranch", "denydeletes", "denynonfastforwards", "fsckobjects"]),
    ("transfer", false, &["fsckobjects"]),
    ("advice", false, &["detachedhead", "pushupdaterejected"]),
    ("color", false, &["ui"]),
    ("http", false, &["receivepack"]),
];

/// Who makes a commit.
#[derive(Clone, Copy, Debug)]
pub struct Author<'a> {
    pub name: &'a str,
    pub address: &'a str,
}

/// One run of git.
#[derive(Clone, Copy, Debug, Default)]
pub struct Call<'a> {
    pub words: &'a [&'a str],
    pub input: &'a [u8],
    pub author: Option<Author<'a>>,
    pub time: Option<Duration>,
}

/// A clone, and how the user reaches its remote.
pub struct Shared<'a> {
    git: &'a Git,
    root: &'a Utf8Path,
    variable: &'a dyn Fn(&str) -> Option<String>,
    /// What the clone says about itself.
    config: Vec<Entry>,
    /// A remote on this host, and whether a sandbox can write there.
    local: Option<(Utf8PathBuf, bool)>,
}

impl<'a> Shared<'a> {
    /// Opens a clone; `project` is what sandboxes can write, with the clone in it or without.
    ///
    /// # Errors
    /// Its configuration says something that would run a program, or lead elsewhere.
    pub fn open(
        git: &'a Git,
        root: &'a Utf8Path,
        project: Option<&Utf8Path>,
        variable: &'a dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let config = checked(&root.join(".git"))?;
        let local = url_of(&config, "origin").and_then(|url| local(root, url));
        let local = match local {
            None => None,
            Some(path) => {
                // Also from elsewhere: what is below a project's own directory for this is open to its sandboxes.
                let open = project.is_some_and(|project| path.starts_with(project))
                    || path.components().any(|part| part.as_str() == ".pi-env");
                if open && path.exists() {
                    checked(&path)?;
                } else {
                    // A sandbox that pushes there leaves settings and hooks as they are, and could name others.
                    whole(&path)?;
                }
                Some((path, open))
            }
        };
        Ok(Shared { git, root, variable, config, local })
    }

    /// Returns where it comes from, as the clone has it.
    pub fn origin(&self) -> Option<&str> {
        url_of(&self.config, "origin")
    }

    /// Returns its remote, where that is on this host.
    pub fn local(&self) -> Option<&Utf8Path> {
        self.local.as_ref().map(|(path, _)| path.as_path())
    }

    /// Runs git and returns what it printed.
    pub fn run(&self, words: &[&str]) -> Result<String, Error> {
        let answer = self.ask(Call { words, ..Call::default() })?;
        if answer.code == Some(0) {
            return Ok(String::from_utf8_lossy(&answer.stdout).into_owned());
        }
        Err(failed(words, &answer))
    }

    /// Runs git, and returns how it ended.
    pub fn ask(&self, call: Call<'_>) -> Result<Answer, Error> {
        self.git.ask_in(self.root, self.variable, call)
    }

    /// Fetches from the remote; how it ended is the caller's to read.
    pub fn fetch(&self) -> Result<Answer, Error> {
        let mut words = vec!["fetch", "--quiet", "--no-tags", "--no-write-fetch-head"];
        if self.is_open() {
            words.push("--upload-pack=git -c core.hooksPath=/dev/null upload-pack");
        }
        words.push("origin");
        self.ask(Call { words: &words, ..Call::default() })
    }

    /// Pushes a commit to a branch; how it ended is the caller's to read.
    pub fn push(&self, commit: &str, branch: &str, more: &[&str]) -> Result<Answer, Error> {
        let reference = format!("{commit}:refs/heads/{branch}");
        let mut words = vec!["push", "--porcelain"];
        if self.is_open() {
            words.push("--receive-pack=git -c core.hooksPath=/dev/null -c core.alternateRefsCommand=true receive-pack");
        }
        words.extend_from_slice(more);
        words.extend(["origin", &reference]);
        self.ask(Call { words: &words, ..Call::default() })
    }

    fn is_open(&self) -> bool {
        self.local.as_ref().is_some_and(|(_, open)| *open)
    }
}

impl Git {
    /// Runs git in a directory with the user's own ways to other hosts, and returns how it ended.
    pub fn ask_in(
        &self,
        directory: &Utf8Path,
        variable: &dyn Fn(&str) -> Option<String>,
        call: Call<'_>,
    ) -> Result<Answer, Error> {
        let Call { words, input, author, time } = call;
        let mut command = Command::new(&self.program);
        command.env_clear().env("HOME", &self.home).env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0");
        command.env("GIT_OPTIONAL_LOCKS", "0").env("GIT_EDITOR", "true");
        for name in PASSED {
            command.envs(variable(name).map(|value| (name, value)));
        }
        for setting in SETTINGS.iter().chain(&["commit.gpgSign=false", "advice.detachedHead=false"]) {
            command.args(["-c", setting]);
        }
        for role in ["AUTHOR", "COMMITTER"] {
            if let Some(Author { name, address }) = author {
                command.env(format!("GIT_{role}_NAME"), name).env(format!("GIT_{role}_EMAIL"), address);
            }
        }
        command.args(words).current_dir(directory);
        // What is broken is not the repository around it.
        if let Some(above) = directory.parent().filter(|_| directory.join(".git").exists()) {
            command.env("GIT_CEILING_DIRECTORIES", above);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // The terminal's Ctrl-C is not for it.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        process::end_together(&mut command);
        wait(command, words, input, time.unwrap_or(TIME))
    }
}

/// What names another directory in place of parts of a Git directory: its configuration and hooks, or its objects, which
/// somebody could have sent from here who cannot read them.
const ELSEWHERE: [&str; 2] = ["commondir", "objects/info/alternates"];

/// Refuses a Git directory that leads to others.
fn whole(directory: &Utf8Path) -> Result<(), Error> {
    let named = ELSEWHERE.iter().map(|name| directory.join(name));
    match named.into_iter().find(|path| std::fs::symlink_metadata(path).is_ok()) {
        Some(path) => Err(Error::Place { path, reason: "it leads to another directory" }),
        None => Ok(()),
    }
}

/// Reads the configuration of a Git directory, which says nothing but what it may and is all that counts.
fn checked(directory: &Utf8Path) -> Result<Vec<Entry>, Error> {
    whole(directory)?;
    let path = &directory.join("config");
    let refused = |reason| Error::Place { path: path.clone(), reason };
    let meta = std::fs::symlink_metadata(path).map_err(|_| refused("it cannot be read"))?;
    if !meta.is_file() {
        return Err(refused("it is no file"));
    }
    let text = read_bounded(path, MOST).map_err(|_| refused("it cannot be read"))?;
    let text = String::from_utf8(text).map_err(|_| refused("it is no text"))?;
    let entries = config::parse(&text).ok_or_else(|| refused("git cannot read it"))?;
    match entries.iter().find(|entry| !may(entry)) {
        None => Ok(entries),
        Some(entry) => {
            let sub = entry.subsection.as_ref().map_or(String::new(), |sub| format!(".{sub}"));
            let key = crate::util::text::escape(&format!("{}{sub}.{}", entry.section, entry.key));
            Err(Error::Says { path: path.clone(), key })
        }
    }
}

fn may(entry: &Entry) -> bool {
    MAY.iter().any(|(section, named, keys)| {
        entry.section == *section
            && entry.subsection.is_some() == *named
            && keys.contains(&entry.key.as_str())
    })
}

fn url_of<'a>(config: &'a [Entry], remote: &str) -> Option<&'a str> {
    let is_url = |entry: &&Entry| {
        entry.section == "remote" && entry.subsection.as_deref() == Some(remote) && entry.key == "url"
    };
    config.iter().rfind(is_url).map(|entry| entry.value.as_str())
}

/// Returns where a clone says that it comes from; no link leads there, for a sandbox may have made it.
pub fn origin_of(root: &Utf8Path) -> Option<String> {
    let text = String::from_utf8(read_without_links(&root.join(".git/config"), MOST).ok()?).ok()?;
    url_of(&config::parse(&text)?, "origin").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_says_nothing_that_runs() {
        let directory = tempfile::tempdir().unwrap();
        let directory = Utf8Path::from_path(directory.path()).unwrap();
        let path = directory.join("config");
        let check = |text: &str| {
            fs_err::write(&path, text).unwrap();
            checked(directory)
        };
        let usual = "[core]\n\tbare = false\n[remote \"origin\"]\n\turl = ../x.git\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n\
                     [branch \"main\"]\n\tremote = origin\n[pull]\n\trebase = true\n[rebase]\n\tautoStash = true\n";
        assert_eq!(url_of(&check(usual).unwrap(), "origin"), Some("../x.git"));
        for text in [
            "[core]\nfsmonitor = /evil\n",
            "[core]\nhooksPath = hooks\n",
            "[core]\nsshCommand = evil\n",
            "[core]\nworktree = /\n",
            "[include]\npath = x\n",
            "[includeIf \"gitdir:/\"]\npath = x\n",
            "[filter \"x\"]\nclean = evil\n",
            "[credential]\nhelper = !evil\n",
            "[remote \"origin\"]\nuploadpack = evil\n",
            "[remote \"origin\"]\nproxy = x\n",
            "[url \"ext::evil\"]\ninsteadOf = https://\n",
            "[alias]\npush = !evil\n",
            "[extensions]\nworktreeConfig = true\n",
            "[merge \"x\"]\ndriver = evil\n",
            "[diff]\nexternal = evil\n",
            "[sequence]\neditor = evil\n",
            "[core \"x\"]\nbare = true\n",
            "[http]\nproxy = x\n",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
        fs_err::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        checked(directory).unwrap_err();
        fs_err::remove_file(&path).unwrap();
        check("[core]\n\tbare = false\n").unwrap();
        fs_err::create_dir_all(directory.join("objects/info")).unwrap();
        for name in ELSEWHERE {
            checked(directory).unwrap();
            fs_err::write(directory.join(name), "../evil").unwrap();
            checked(directory).unwrap_err();
            fs_err::remove_file(directory.join(name)).unwrap();
        }
    }
}
