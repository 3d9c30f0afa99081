//! The objects that references lead to by paths that are not hidden: git lists them, pier looks at the list once
//! more, and git packs what is new.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};

use super::{Error, SCHEMA, Store, repository, store};
use crate::backend::git::{self, Answer, Git, Settings};
use crate::util::pattern::{covers, render_sparse};

/// What git listed.
#[derive(Default)]
struct Listed {
    shown: Vec<String>,
    /// Shown at a path that is hidden: trees, which stay, and what git understands differently, which does not.
    doubtful: HashSet<String>,
    left_out: BTreeSet<String>,
}

impl Store<'_> {
    /// Packs what is new in the history.
    ///
    /// What the last history held already is not listed again, unless it held something hidden: the same content may
    /// have come to a path that is not.
    pub fn read_history(&mut self, git: &Git, tips: BTreeSet<String>, shallow: String) -> Result<(), Error> {
        let grows =
            self.known.schema == SCHEMA && self.known.hidden.is_empty() && self.known.shallow == shallow;
        let commits = self.types(git, tips.iter().map(|id| format!("{id}^{{commit}}")))?;
        let is_commit = |kind: &String| kind == "commit";
        let dropped: BTreeSet<String> = tips
            .iter()
            .zip(&commits)
            .filter(|(_, kind)| !is_commit(kind))
            .map(|(id, _)| id.clone())
            .collect();
        let mut input: String = tips.difference(&dropped).flat_map(|id| [id, "\n"]).collect();
        if grows {
            input.extend(self.known.tips.difference(&self.known.dropped).flat_map(|id| ["^", id, "\n"]));
        }
        let listed = self.list(git, &input)?;
        self.known.hidden.extend(listed.left_out);
        let doubtful: Vec<String> = listed.doubtful.into_iter().collect();
        let kinds = self.types(git, doubtful.iter().cloned())?;
        let refused: HashSet<String> =
            doubtful.into_iter().zip(kinds).filter(|(_, kind)| kind != "tree").map(|(id, _)| id).collect();
        self.known.hidden.extend(refused.iter().cloned());
        let shown = listed.shown.into_iter().filter(|id| !refused.contains(id));
        self.pack(git, shown)?;
        self.known.tips = tips;
        self.known.shallow = shallow;
        self.known.dropped = dropped;
        Ok(())
    }

    /// Returns what each of some objects is; a word that is no type for one that is missing.
    pub fn types(&self, git: &Git, names: impl Iterator<Item = String>) -> Result<Vec<String>, Error> {
        let input: String = names.flat_map(|name| [name, "\n".into()]).collect();
        if input.is_empty() {
            return Ok(Vec::new());
        }
        let view = self.view();
        let words = ["cat-file", "--batch-check=%(objecttype)"];
        let answer = git
            .ask(repository(&view), Settings::None, &words, input.as_bytes())
            .map_err(|source| self.failed(source))?;
        self.demand(&words, &answer)?;
        let text = String::from_utf8_lossy(&answer.stdout);
        let mut found: Vec<String> = text.lines().map(str::to_owned).collect();
        // An answer that was cut off is no type either.
        found.resize(input.lines().count(), String::new());
        Ok(found)
    }

    fn list(&self, git: &Git, tips: &str) -> Result<Listed, Error> {
        if tips.is_empty() {
            return Ok(Listed::default());
        }
        let view = self.view();
        let from_host = repository(&view);
        let spec = format!("/*\n{}", render_sparse(self.patterns));
        let words = ["hash-object", "-w", "--stdin"];
        let answer = git
            .ask(from_host, Settings::None, &words, spec.as_bytes())
            .map_err(|source| self.failed(source))?;
        self.demand(&words, &answer)?;
        let filter = format!("--filter=sparse:oid={}", String::from_utf8_lossy(&answer.stdout).trim());
        let words = [
            "rev-list",
            "--objects",
            "--stdin",
            "--ignore-missing",
            "--missing=allow-any",
            &filter,
            "--filter-print-omitted",
        ];
        let (from, to) = (view.join("tips"), view.join("listed"));
        let io = |source| self.failed_io(source);
        fs_err::write(&from, tips).map_err(io)?;
        let files = (open(&from).map_err(io)?, create(&to).map_err(io)?);
        git.carry(from_host, &words, files, self.slow).map_err(|source| self.failed(source))?;
        self.read_list(&to).map_err(io)
    }

    fn read_list(&self, path: &camino::Utf8Path) -> io::Result<Listed> {
        let mut listed = Listed::default();
        for line in BufReader::new(open(path)?).split(b'\n') {
            let line = line?;
            let id = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            if let Some(left_out) = line.strip_prefix(b"~") {
                listed.left_out.insert(id(left_out));
                continue;
            }
            let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
            let path = line.get(end + 1..).unwrap_or_default();
            if !path.is_empty() && covers(self.patterns, path) {
                listed.doubtful.insert(id(&line[..end]));
            }
            listed.shown.push(id(&line[..end]));
        }
        Ok(listed)
    }

    /// Packs those objects of the host that the store does not have.
    pub fn pack(&self, git: &Git, ids: impl Iterator<Item = String>) -> Result<(), Error> {
        let io = |source| self.failed_io(source);
        let have = store::packed(&self.objects(), self.sha256).map_err(io)?;
        let view = self.view();
        let (from, to) = (view.join("wanted"), view.join("packed"));
        let mut wanted = BufWriter::new(create(&from).map_err(io)?);
        let mut any = false;
        for id in ids.filter(|id| store::parse(id).is_some_and(|id| !have.contains(&id))) {
            writeln!(wanted, "{id}").map_err(io)?;
            any = true;
        }
        wanted.flush().map_err(io)?;
        if !any {
            return Ok(());
        }
        let name = self.objects().join("pack/pack");
        // What the host's packs have as differences stays so; to look for more takes longest of all.
        let words = ["pack-objects", "-q", "--window=0", name.as_str()];
        let files = (open(&from).map_err(io)?, create(&to).map_err(io)?);
        git.carry(repository(&view), &words, files, self.slow).map_err(|source| self.failed(source))
    }

    /// Takes no silence for an answer.
    pub fn demand(&self, words: &[&str], answer: &Answer) -> Result<(), Error> {
        if answer.code == Some(0) {
            return Ok(());
        }
        Err(self.failed(git::failed(words, answer)))
    }

    pub fn failed_io(&self, source: io::Error) -> Error {
        Error::Prepare { directory: self.shadow.record.directory.clone(), source }
    }
}

fn open(path: &camino::Utf8Path) -> io::Result<File> {
    Ok(fs_err::File::open(path)?.into_parts().0)
}

fn create(path: &camino::Utf8Path) -> io::Result<File> {
    Ok(fs_err::File::create(path)?.into_parts().0)
}
