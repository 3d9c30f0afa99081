//! Role files of a directory, with bounds on what is read of it.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};

use super::{Document, Source};
use crate::util::fs::{read_bounded, read_without_links};

/// The largest role file, in bytes.
const MOST_BYTES: u64 = 256 * 1024;

/// How many files, and how many levels of directories, one place may have.
const MOST_FILES: usize = 256;
/// How many names of one directory are looked at.
const MOST_ENTRIES: usize = 4096;
const MOST_DEPTH: usize = 8;

/// Whether links are followed. A repository's may lead to anything that its author wants to have read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    Followed,
    Refused,
}

/// A directory that may hold roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub source: Source,
    pub directory: Utf8PathBuf,
    pub links: Links,
}

/// Reads the places in their order; one that is not there is empty, and one that is named twice is read once.
pub fn documents(places: &[Place]) -> Vec<Document> {
    let mut found = Vec::new();
    let mut seen: Vec<Utf8PathBuf> = Vec::new();
    for place in places {
        let Ok(real) = place.directory.canonicalize_utf8() else { continue };
        if seen.contains(&real) {
            continue;
        }
        seen.push(real);
        let mut files = Vec::new();
        list(place, &place.directory, 1, &mut files, &mut found);
        if files.len() > MOST_FILES {
            files.truncate(MOST_FILES);
            let text = Err(format!("only the first {MOST_FILES} files are read"));
            found.push(Document { source: place.source, path: place.directory.clone(), text });
        }
        found.extend(files.iter().map(|path| document(place.source, path, place.links)));
    }
    found
}

/// Reads one file.
pub fn document(source: Source, path: &Utf8Path, links: Links) -> Document {
    let read = if links == Links::Followed { read_bounded } else { read_without_links };
    let text = read(path, MOST_BYTES).map_err(|error| error.to_string());
    let text = text.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned()));
    Document { source, path: path.to_owned(), text }
}

/// Lists the Markdown files of a directory and of those below it, by name; adds what is not read to `refused`.
fn list(
    place: &Place,
    directory: &Utf8Path,
    depth: usize,
    files: &mut Vec<Utf8PathBuf>,
    refused: &mut Vec<Document>,
) {
    let why = |path: &Utf8Path, why: String| Document {
        source: place.source,
        path: path.to_owned(),
        text: Err(why),
    };
    let entries = || -> io::Result<Vec<Utf8PathBuf>> {
        let entries = directory.read_dir_utf8()?.map(|entry| Ok(entry?.path().to_owned()));
        entries.take(MOST_ENTRIES).collect()
    };
    let mut entries = match entries() {
        Ok(entries) => entries,
        Err(error) => return refused.push(why(directory, error.to_string())),
    };
    entries.sort();
    for path in entries {
        if files.len() > MOST_FILES {
            return;
        }
        let meta = match place.links {
            Links::Followed => path.metadata(),
            Links::Refused => path.symlink_metadata(),
        };
        let is_directory = meta.is_ok_and(|meta| meta.is_dir());
        if is_directory && depth >= MOST_DEPTH {
            refused.push(why(&path, format!("directories of roles are at most {MOST_DEPTH} deep")));
        } else if is_directory {
            list(place, &path, depth + 1, files, refused);
        } else if path.extension() == Some("md") {
            files.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(directory: &Utf8Path, links: Links) -> Place {
        Place { source: Source::Project, directory: directory.to_owned(), links }
    }

    #[test]
    fn files_are_read_by_name_and_with_bounds() {
        let base = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(base.path()).unwrap().canonicalize_utf8().unwrap();
        let roles = base.join("roles");
        fs_err::create_dir_all(roles.join("below")).unwrap();
        fs_err::write(base.join("secret.md"), "secret").unwrap();
        fs_err::write(roles.join("b.md"), "b").unwrap();
        fs_err::write(roles.join("below/a.md"), "a").unwrap();
        fs_err::write(roles.join("notes.txt"), "no role").unwrap();
        fs_err::write(roles.join("large.md"), vec![b'x'; 300 * 1024]).unwrap();
        fs_err::write(roles.join("bytes.md"), [0xff]).unwrap();
        std::os::unix::fs::symlink("../secret.md", roles.join("link.md")).unwrap();
        let read = |links| {
            let places = [place(&roles, links), place(&base.join("roles/../roles"), links)];
            let shown = |document: Document| {
                let name = document.path.strip_prefix(&roles).unwrap().to_string();
                (name, document.text.unwrap_or_else(|why| format!("! {why}")))
            };
            documents(&places).into_iter().map(shown).collect::<Vec<_>>()
        };
        let refused = read(Links::Refused);
        let names: Vec<&str> = refused.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["b.md", "below/a.md", "bytes.md", "large.md", "link.md"]);
        let texts: Vec<&str> = refused.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts[..3], ["b", "a", "! it is not UTF-8"]);
        assert!(texts[3].starts_with("! it is larger than") && texts[4].starts_with("! "), "{texts:?}");
        assert_eq!(read(Links::Followed)[4].1, "secret");
        assert_eq!(documents(&[place(&base.join("none"), Links::Refused)]), []);
    }

    #[test]
    fn a_directory_without_end_is_read_in_part() {
        let base = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(base.path()).unwrap().canonicalize_utf8().unwrap();
        let many = base.join("many");
        fs_err::create_dir(&many).unwrap();
        for number in 0..300 {
            fs_err::write(many.join(format!("{number:03}.md")), "x").unwrap();
        }
        let read = documents(&[place(&many, Links::Refused)]);
        assert_eq!(read.iter().filter(|document| document.text.is_ok()).count(), MOST_FILES);
        assert!(read[0].text.as_ref().unwrap_err().contains("only the first"));
        let deep = base.join("deep");
        fs_err::create_dir_all(deep.join("a/b/c/d/e/f/g/h/i")).unwrap();
        fs_err::write(deep.join("a/b/c/d/e/f/g/h/i/x.md"), "x").unwrap();
        let read = documents(&[place(&deep, Links::Refused)]);
        assert!(read.len() == 1 && read[0].text.as_ref().unwrap_err().contains("deep"), "{read:?}");
    }
}
