//! Tasks of repositories that are elsewhere: `URL#path[@ref]`, kept by commit.

use std::fs::File;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

use crate::backend::cache;
use crate::backend::git::Git;
use crate::backend::git::remote::Wanted;
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::task;
use crate::ui;
use crate::util::fs::{create_private, sha256};
use crate::util::text::escape;

/// A task in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    pub url: String,
    /// Relative, and below the repository by name.
    pub path: Utf8PathBuf,
    pub reference: Option<String>,
}

fn wrong(text: &str, why: &str) -> Failure {
    let message = format!("`{}` names no task of a repository: {why}", escape(text));
    Failure::new(Exit::Usage, "workspace::task", message)
        .help("write `URL#path` or `URL#path@ref`, as in `https://example.com/team/tasks#hello-world@v1`")
}

fn cannot_keep(error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, "workspace::files", format!("cannot keep the task: {error}"))
        .help("check the space and the permissions of the cache directory")
}

impl Remote {
    /// Says whether a text is meant as one.
    pub fn is_meant(text: &str) -> bool {
        text.contains("://") || text.starts_with("git@")
    }

    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let Some((url, rest)) = text.rsplit_once('#') else {
            return Err(wrong(text, "it has no `#` before the path"));
        };
        let (path, reference) = match rest.rsplit_once('@') {
            Some((path, reference)) => (path, Some(reference)),
            None => (rest, None),
        };
        let known = ["https://", "http://", "ssh://", "file://", "git@"];
        if !known.iter().any(|start| url.starts_with(start)) || url.contains(char::is_control) {
            return Err(wrong(
                text,
                "the URL begins with none of `https://`, `http://`, `ssh://`, `file://` and `git@`",
            ));
        }
        let of_path = Utf8Path::new(path);
        let below = !path.is_empty()
            && of_path.components().all(|part| matches!(part, Utf8Component::Normal(_)))
            && !path.contains(['*', '?', '[', '\\', '!'])
            && !path.contains(char::is_control);
        if !below {
            return Err(wrong(text, "the path is not one below the repository"));
        }
        let is_plain = |name: &str| {
            !name.is_empty()
                && !name.starts_with('-')
                && !name.contains("..")
                && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c))
        };
        if reference.is_some_and(|reference| !is_plain(reference)) {
            return Err(wrong(text, "what follows `@` is no branch, tag or commit"));
        }
        Ok(Remote { url: url.to_owned(), path: of_path.to_owned(), reference: reference.map(str::to_owned) })
    }

    /// The name of the task.
    pub fn name(&self) -> &str {
        self.path.file_name().unwrap_or("task")
    }

    /// Returns it without what may be a login.
    pub fn text(&self) -> String {
        let url = match self.url.split_once("://") {
            Some((scheme, rest)) => {
                let end = rest.find('/').unwrap_or(rest.len());
                let (host, path) = rest.split_at(end);
                format!("{scheme}://{}{path}", host.rsplit('@').next().unwrap_or(host))
            }
            None => self.url.clone(),
        };
        let reference = self.reference.as_ref().map(|name| format!("@{name}")).unwrap_or_default();
        format!("{url}#{}{reference}", self.path)
    }

    /// Where it is kept.
    fn place(&self, kept: &Utf8Path, commit: &str) -> Utf8PathBuf {
        let text = format!("{}\0{commit}\0{}", self.url, self.path);
        cache::tasks(kept).join(&sha256(text.as_bytes())[..22]).join(self.name())
    }

    /// Keeps fetched tasks from being removed, until it is known which workspace one of them is of.
    pub fn keep(environment: &Environment) -> Result<File, Failure> {
        cache::keep_tasks(&environment.cache).map_err(|error| cannot_keep(&error))
    }

    /// Returns what to do where it cannot be fetched.
    fn advice(&self, said: &str) -> String {
        let is_short = |name: &&String| {
            (4..40).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        match self.reference.as_ref().filter(is_short) {
            Some(name) => format!(
                "if `{name}` is a commit, write all of it, for a repository elsewhere is asked for a whole one: 40 digits, or 64"
            ),
            None if said.contains("couldn't find remote ref") || said.contains("not our ref") => {
                "check what is behind `@`: a branch, a tag, or a whole commit".to_owned()
            }
            None => "check the URL, and that `git` reaches it from here".to_owned(),
        }
    }

    /// Refuses a directory that is no task; perhaps there are some below.
    fn no_task(&self, found: &Utf8Path, is_task: &dyn Fn(&Utf8Path) -> bool) -> Failure {
        let below = found.read_dir_utf8().into_iter().flatten().flatten();
        let below =
            below.filter(|entry| is_task(entry.path())).map(|entry| entry.file_name().to_owned()).min();
        let path = escape(self.path.as_str());
        let message =
            format!("the directory `{path}` of the repository is no task: it has no `{}`", task::FILE);
        let help = match below {
            Some(name) => format!("name one of those below, such as `#{path}/{}`", escape(&name)),
            None => format!("name the directory that has the `{}` behind `#`", task::FILE),
        };
        Failure::new(Exit::Failed, "workspace::fetch", message).help(help)
    }

    /// Fetches it, and returns its directory; one that is known by its commit is not fetched again.
    pub fn fetch(&self, environment: &Environment) -> Result<Utf8PathBuf, Failure> {
        let is_commit = |name: &&String| {
            matches!(name.len(), 40 | 64) && name.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        if let Some(commit) = self.reference.as_ref().filter(is_commit) {
            let place = self.place(&environment.cache, commit);
            if place.is_dir() {
                cache::touch(&place);
                return Ok(place);
            }
        }
        let failed = |error: std::io::Error| cannot_keep(&error);
        ui::say(&format!("fetching the task {} of {}", escape(self.path.as_str()), escape(&self.url)));
        let all = cache::tasks(&environment.cache);
        create_private(&all).map_err(failed)?;
        let work = tempfile::tempdir_in(&all).map_err(failed)?;
        let into =
            Utf8Path::from_path(work.path()).ok_or_else(|| failed(std::io::ErrorKind::InvalidData.into()))?;
        let wanted = Wanted { url: &self.url, reference: self.reference.as_deref(), path: &self.path };
        let git = Git::find(&environment.home)?;
        let variable = |name: &str| environment.get(name).map(str::to_owned);
        let commit = git.fetch(wanted, into, &variable).map_err(|error| {
            Failure::new(
                Exit::Failed,
                "workspace::fetch",
                format!("the task cannot be fetched: {}", escape(&error.to_string())),
            )
            .help(self.advice(&error.to_string()))
        })?;
        let place = self.place(&environment.cache, &commit);
        if place.is_dir() {
            cache::touch(&place);
            return Ok(place);
        }
        let found = into.join(&self.path);
        // No link of the repository leads elsewhere.
        let is_there = found.canonicalize_utf8().is_ok_and(|real| {
            real.is_dir() && into.canonicalize_utf8().is_ok_and(|into| real == into.join(&self.path))
        });
        if !is_there {
            let message = format!("the repository has no directory `{}`", escape(self.path.as_str()));
            return Err(
                Failure::new(Exit::Failed, "workspace::fetch", message).help("check the path behind `#`")
            );
        }
        let is_task =
            |path: &Utf8Path| path.join(task::FILE).symlink_metadata().is_ok_and(|meta| meta.is_file());
        if !is_task(&found) {
            return Err(self.no_task(&found, &is_task));
        }
        let parent = place.parent().unwrap_or(&all);
        create_private(parent).map_err(failed)?;
        match std::fs::rename(&found, &place) {
            // Another one was faster.
            Err(_) if place.is_dir() => {}
            moved => moved.map_err(failed)?,
        }
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_nothing_climbs_out() {
        let of = |text: &str| {
            let Remote { url, path, reference } = Remote::parse(text).unwrap();
            (url, path.into_string(), reference.unwrap_or_default())
        };
        let triple =
            |url: &str, path: &str, reference: &str| (url.to_owned(), path.to_owned(), reference.to_owned());
        assert_eq!(of("https://example.com/a/b#tasks/x"), triple("https://example.com/a/b", "tasks/x", ""));
        assert_eq!(of("git@example.com:a/b#x@v1.0"), triple("git@example.com:a/b", "x", "v1.0"));
        assert_eq!(of("file:///r#x@feature/y"), triple("file:///r", "x", "feature/y"));
        for text in [
            "https://example.com/a",
            "https://example.com/a#",
            "https://example.com/a#/etc",
            "https://example.com/a#../x",
            "https://example.com/a#a/../x",
            "https://example.com/a#a*",
            "https://example.com/a#x@",
            "https://example.com/a#x@-q",
            "https://example.com/a#x@a..b",
            "ext::sh -c id://#x",
            "git://example.com/a#x",
        ] {
            assert!(Remote::parse(text).is_err(), "{text}");
        }
    }
}
