//! What a build reads of the project: every file of the context, held as it was read, so that what was approved is
//! what is built.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt as _;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

use super::ignore::Ignore;
use crate::plan::facts::Build;
use crate::plan::image::Place;
use crate::util::fs::{read_without_links, sha256};

/// The most that is read: of one Dockerfile, of everything in bytes, and in number.
const MOST_DOCKERFILE: u64 = 1 << 20;
const MOST_BYTES: u64 = 128 << 20;
const MOST_ENTRIES: usize = 20_000;

/// Directories are not followed deeper.
const MOST_DEPTH: usize = 64;

const IGNORE: &str = ".dockerignore";

/// The name of a Dockerfile that is not in its context.
const ASIDE: &str = ".dockerfile.pier";

#[derive(Debug, PartialEq, Eq)]
enum Entry {
    Directory,
    File { mode: u32, bytes: Vec<u8> },
    Link(Utf8PathBuf),
}

/// A context, and the Dockerfile for it.
#[derive(Debug)]
pub struct Context {
    entries: BTreeMap<Utf8PathBuf, Entry>,
    pub dockerfile: String,
    /// Where the Dockerfile is, relative to the context; elsewhere in the project otherwise.
    inside: Option<Utf8PathBuf>,
    place: Place,
}

impl Context {
    /// Reads it.
    ///
    /// # Errors
    /// The reason, as a fragment: a link that leads out, nothing there, too much.
    pub fn read(root: &Utf8Path, place: &Place) -> Result<Self, String> {
        let dockerfile = dockerfile(root, place)?;
        let top = root.join(&place.context);
        let ignore = match read_without_links(&top.join(IGNORE), MOST_DOCKERFILE) {
            Ok(text) => Ignore::parse(&String::from_utf8_lossy(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ignore::default(),
            Err(error) => return Err(format!("`{IGNORE}`: {error}")),
        };
        // A link in place of the directory would show another one.
        let real = top.canonicalize_utf8().map_err(|error| format!("`{}`: {error}", place.context))?;
        if real != root.join(&place.context) {
            return Err(format!("`{}` leads through a symbolic link", place.context));
        }
        let mut reader = Reader { top: &top, ignore, entries: BTreeMap::new(), bytes: 0 };
        reader.walk(Utf8Path::new(""), 0)?;
        let inside = place.file.strip_prefix(&place.context).ok().map(Utf8Path::to_owned);
        Ok(Context { entries: reader.entries, dockerfile, inside, place: place.clone() })
    }

    /// Returns what a plan says about it.
    pub fn facts(&self) -> Build {
        let Place { file, context } = self.place.clone();
        let files = self.entries.values().filter(|entry| matches!(entry, Entry::File { .. })).count();
        Build { file, context, files, digest: self.digest(), tag: None }
    }

    /// SHA-256 over the Dockerfile, and over all names, modes and contents.
    fn digest(&self) -> String {
        let mut text = format!("{} {:?}\n", sha256(self.dockerfile.as_bytes()), self.place.file.as_str());
        for (path, entry) in &self.entries {
            let line = match entry {
                Entry::Directory => "directory".to_owned(),
                Entry::File { mode, bytes } => format!("{mode:o} {}", sha256(bytes)),
                Entry::Link(to) => format!("link {:?}", to.as_str()),
            };
            text.push_str(&format!("{line} {:?}\n", path.as_str()));
        }
        sha256(text.as_bytes())
    }

    /// Packs it with the Dockerfile as it is to be built, and returns the archive and the Dockerfile's name in it.
    pub fn pack(&self, dockerfile: &str) -> io::Result<(Vec<u8>, String)> {
        let mut archive = tar::Builder::new(Vec::new());
        let name = match &self.inside {
            Some(path) if matches!(self.entries.get(path), Some(Entry::File { .. })) => path.clone(),
            _ => ASIDE.into(),
        };
        let is_aside = name == ASIDE;
        for (path, entry) in &self.entries {
            match entry {
                Entry::Directory => append(&mut archive, path, tar::EntryType::Directory, 0o755, &[])?,
                Entry::File { .. } if is_aside && path == ASIDE => {}
                Entry::File { mode, .. } if *path == name => {
                    append(&mut archive, path, tar::EntryType::Regular, *mode, dockerfile.as_bytes())?;
                }
                Entry::File { mode, bytes } if is_aside && path == IGNORE => {
                    // Docker's own client does it this way: what it adds is not copied into the image.
                    let text = [bytes.as_slice(), format!("\n{ASIDE}\n").as_bytes()].concat();
                    append(&mut archive, path, tar::EntryType::Regular, *mode, &text)?;
                }
                Entry::File { mode, bytes } => {
                    append(&mut archive, path, tar::EntryType::Regular, *mode, bytes)?;
                }
                Entry::Link(to) => {
                    let mut header = header(tar::EntryType::Symlink, 0o777);
                    archive.append_link(&mut header, path, to)?;
                }
            }
        }
        if is_aside {
            let regular = tar::EntryType::Regular;
            append(&mut archive, ASIDE.into(), regular, 0o600, dockerfile.as_bytes())?;
            if !self.entries.contains_key(Utf8Path::new(IGNORE)) {
                let text = format!("{ASIDE}\n{IGNORE}\n");
                append(&mut archive, IGNORE.into(), regular, 0o600, text.as_bytes())?;
            }
        }
        Ok((archive.into_inner()?, name.into_string()))
    }
}

/// Reads the Dockerfile alone.
pub fn dockerfile(root: &Utf8Path, place: &Place) -> Result<String, String> {
    let said = |error: &dyn std::fmt::Display| format!("`{}`: {error}", place.file);
    let bytes = read_without_links(&root.join(&place.file), MOST_DOCKERFILE).map_err(|error| said(&error))?;
    String::from_utf8(bytes).map_err(|error| said(&error))
}

fn header(kind: tar::EntryType, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(0);
    header
}

fn append(
    archive: &mut tar::Builder<Vec<u8>>,
    path: &Utf8Path,
    kind: tar::EntryType,
    mode: u32,
    bytes: &[u8],
) -> io::Result<()> {
    let mut header = header(kind, mode);
    header.set_size(bytes.len() as u64);
    archive.append_data(&mut header, path, bytes)
}

struct Reader<'a> {
    top: &'a Utf8Path,
    ignore: Ignore,
    entries: BTreeMap<Utf8PathBuf, Entry>,
    bytes: u64,
}

impl Reader<'_> {
    fn walk(&mut self, directory: &Utf8Path, depth: usize) -> Result<(), String> {
        let unreadable = |error: io::Error| format!("`{directory}`: {error}");
        if depth > MOST_DEPTH {
            return Err(format!("`{directory}` is too deep"));
        }
        for entry in self.top.join(directory).read_dir_utf8().map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let path = directory.join(entry.file_name());
            let said = |error: &dyn std::fmt::Display| format!("`{path}`: {error}");
            let meta = entry.path().symlink_metadata().map_err(|error| said(&error))?;
            let excluded = self.ignore.excludes(&path);
            if meta.is_dir() {
                if !excluded {
                    self.add(path.clone(), Entry::Directory)?;
                }
                if !excluded || !self.ignore.is_final() {
                    self.walk(&path, depth + 1)?;
                }
            } else if !excluded {
                self.add_file(directory, &path, &meta)?;
            }
        }
        Ok(())
    }

    fn add_file(
        &mut self,
        directory: &Utf8Path,
        path: &Utf8Path,
        meta: &std::fs::Metadata,
    ) -> Result<(), String> {
        let said = |error: &dyn std::fmt::Display| format!("`{path}`: {error}");
        let place = self.top.join(path);
        let entry = if meta.is_symlink() {
            let to = place.read_link_utf8().map_err(|error| said(&error))?;
            if leads_out(directory, &to) {
                return Err(said(
                    &"it is a link that leads out of the context; `.dockerignore` leaves it out",
                ));
            }
            Entry::Link(to)
        } else if meta.is_file() {
            let left = MOST_BYTES.saturating_sub(self.bytes);
            let bytes = read_without_links(&place, left).map_err(|error| match error.kind() {
                io::ErrorKind::FileTooLarge => too_much(),
                _ => said(&error),
            })?;
            self.bytes += bytes.len() as u64;
            Entry::File { mode: meta.permissions().mode() & 0o777, bytes }
        } else {
            return Err(said(&"it is no file, directory or link; `.dockerignore` leaves it out"));
        };
        self.add(path.to_owned(), entry)
    }

    fn add(&mut self, path: Utf8PathBuf, entry: Entry) -> Result<(), String> {
        if self.entries.len() >= MOST_ENTRIES {
            return Err(too_much());
        }
        self.entries.insert(path, entry);
        Ok(())
    }
}

fn too_much() -> String {
    format!(
        "the context has more than {MOST_ENTRIES} files, or more than {} MiB of them; `.dockerignore` leaves some out",
        MOST_BYTES >> 20
    )
}

/// Says whether a link in a directory of the context leads out of it, by name.
fn leads_out(directory: &Utf8Path, to: &Utf8Path) -> bool {
    let mut depth = 0_usize;
    for component in directory.join(to).components() {
        match component {
            Utf8Component::Normal(_) => depth += 1,
            Utf8Component::CurDir => {}
            Utf8Component::ParentDir if depth > 0 => depth -= 1,
            _ => return true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::util::fs::write_atomic;

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new(files: &[(&str, &str)]) -> Self {
            let tree = Tree(tempfile::tempdir().unwrap());
            for (path, text) in files {
                tree.write(path, text);
            }
            tree
        }

        fn root(&self) -> Utf8PathBuf {
            Utf8PathBuf::from_path_buf(self.0.path().canonicalize().unwrap()).unwrap()
        }

        fn write(&self, path: &str, text: &str) {
            write_atomic(&self.root().join(path), text.as_bytes(), 0o644).unwrap();
        }

        fn read(&self, file: &str, context: &str) -> Result<Context, String> {
            Context::read(&self.root(), &Place { file: file.into(), context: context.into() })
        }
    }

    fn names(context: &Context, dockerfile: &str) -> (Vec<String>, String) {
        let (bytes, name) = context.pack(dockerfile).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().unwrap();
        (entries.map(|entry| entry.unwrap().path().unwrap().to_str().unwrap().to_owned()).collect(), name)
    }

    #[test]
    fn a_context_is_what_is_not_ignored() {
        let tree = Tree::new(&[
            ("Dockerfile", "FROM a"),
            (".dockerignore", "*.log\nout\n!out/kept\n"),
            ("a.log", ""),
            ("out/x", ""),
            ("out/kept", ""),
            ("src/x", "1"),
        ]);
        let context = tree.read("Dockerfile", "").unwrap();
        let (found, name) = names(&context, "FROM b");
        assert_eq!(found, [".dockerignore", "Dockerfile", "out/kept", "src", "src/x"]);
        assert_eq!((name.as_str(), context.facts().files), ("Dockerfile", 4));
        let before = context.facts().digest;
        tree.write("a.log", "more");
        assert_eq!(tree.read("Dockerfile", "").unwrap().facts().digest, before);
        for change in ["mode", "content", "name"] {
            let before = tree.read("Dockerfile", "").unwrap().facts().digest;
            match change {
                "mode" => {
                    let mode = std::fs::Permissions::from_mode(0o755);
                    fs_err::set_permissions(tree.root().join("src/x"), mode).unwrap();
                }
                "content" => tree.write("src/x", "2"),
                _ => fs_err::rename(tree.root().join("src/x"), tree.root().join("src/y")).unwrap(),
            }
            assert_ne!(tree.read("Dockerfile", "").unwrap().facts().digest, before, "{change}");
        }
    }

    #[test]
    fn a_dockerfile_outside_of_its_context_goes_along_aside() {
        let tree = Tree::new(&[("docker/Dockerfile", "FROM a"), ("src/x", "")]);
        let context = tree.read("docker/Dockerfile", "src").unwrap();
        let expected = (vec!["x".to_owned(), ASIDE.to_owned(), IGNORE.to_owned()], ASIDE.to_owned());
        assert_eq!(names(&context, "FROM a"), expected);
        let before = context.facts().digest;
        tree.write("docker/Dockerfile", "FROM b");
        assert_ne!(tree.read("docker/Dockerfile", "src").unwrap().facts().digest, before);
    }

    #[test]
    fn nothing_leads_out() {
        let tree = Tree::new(&[("Dockerfile", "FROM a"), ("src/x", ""), ("src/in/y", "")]);
        symlink("../x", tree.root().join("src/in/link")).unwrap();
        tree.read("Dockerfile", "src").unwrap();
        symlink("src", tree.root().join("other")).unwrap();
        assert!(tree.read("Dockerfile", "other").unwrap_err().contains("symbolic link"));
        symlink("Dockerfile", tree.root().join("Linked")).unwrap();
        assert!(tree.read("Linked", "src").unwrap_err().contains("symbolic link"));
        for to in ["/etc/passwd", "../../outside", "in/../../x"] {
            let link = tree.root().join("src/link");
            symlink(to, &link).unwrap();
            assert!(tree.read("Dockerfile", "src").unwrap_err().contains("leads out"), "{to}");
            fs_err::remove_file(link).unwrap();
        }
        nix::unistd::mkfifo(tree.root().join("src/pipe").as_std_path(), nix::sys::stat::Mode::S_IRWXU)
            .unwrap();
        assert!(tree.read("Dockerfile", "src").unwrap_err().contains("no file"));
    }

    #[test]
    fn a_context_has_bounds() {
        let tree = Tree::new(&[("Dockerfile", "FROM a")]);
        let large = fs_err::File::create(tree.root().join("large")).unwrap();
        large.set_len(MOST_BYTES).unwrap();
        assert!(tree.read("Dockerfile", "").unwrap_err().contains("128 MiB"));
        assert!(tree.read("none", "").is_err());
    }
}
