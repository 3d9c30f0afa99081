//! What an evaluation may read of a flake's directory: `flake.nix`, `flake.lock`, and the files that they name.
//!
//! Nix would copy the whole directory, and read of it whatever the flake asks for. These files alone are read here,
//! once, so that what was approved is what is evaluated: a token that starts with `./`, `../` or the flake itself
//! names a file, or a directory whose `.nix` files are taken along.

use std::collections::BTreeMap;
use std::io;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use serde_json::Value;

use crate::util::fs::{create_private, read_without_links, sha256, write_atomic};

/// The most bytes of one file, and of all of them; and the most files.
const MOST_FILE: u64 = 4 << 20;
const MOST_BYTES: usize = 32 << 20;
const MOST_FILES: usize = 1000;

/// Directories below the flake are not followed deeper.
const MOST_DEPTH: usize = 16;

/// Files by their path below the flake's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs(BTreeMap<Utf8PathBuf, Vec<u8>>);

impl Inputs {
    /// Reads them.
    ///
    /// # Errors
    /// The reason, as a fragment: no `flake.nix`, a link, too much.
    pub fn read(directory: &Utf8Path) -> Result<Self, String> {
        let mut reader = Reader { directory, found: BTreeMap::new(), bytes: 0 };
        if !reader.take(Utf8Path::new("flake.nix"))? {
            return Err("there is no `flake.nix`".to_owned());
        }
        reader.take(Utf8Path::new("flake.lock"))?;
        Ok(Inputs(reader.found))
    }

    /// Each file with its SHA-256, in order.
    pub fn hashes(&self) -> Vec<(Utf8PathBuf, String)> {
        self.0.iter().map(|(path, bytes)| (path.clone(), sha256(bytes))).collect()
    }

    /// SHA-256 over all names and contents.
    pub fn digest(&self) -> String {
        let line = |(path, hash): (Utf8PathBuf, String)| format!("{hash} {:?}\n", path.as_str());
        sha256(self.hashes().into_iter().map(line).collect::<String>().as_bytes())
    }

    /// Revisions of the flake's own inputs, or their content hashes, out of `flake.lock`.
    pub fn revisions(&self) -> BTreeMap<String, String> {
        let lock = self.0.get(Utf8Path::new("flake.lock"));
        lock.and_then(|bytes| revisions(&serde_json::from_slice(bytes).ok()?)).unwrap_or_default()
    }

    /// Writes the files into an empty directory.
    pub fn write(&self, directory: &Utf8Path) -> io::Result<()> {
        create_private(directory)?;
        for (path, bytes) in &self.0 {
            write_atomic(&directory.join(path), bytes, 0o600)?;
        }
        Ok(())
    }
}

fn revisions(lock: &Value) -> Option<BTreeMap<String, String>> {
    let nodes = lock.get("nodes")?;
    let root = nodes.get(lock.get("root")?.as_str()?)?;
    let locked = |node: &Value| {
        let locked = nodes.get(node.as_str()?)?.get("locked")?;
        let text = locked.get("rev").or_else(|| locked.get("narHash"))?.as_str()?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-+/=".contains(c);
        (text.len() <= 128 && text.chars().all(plain)).then(|| text.to_owned())
    };
    let inputs = root.get("inputs")?.as_object()?.iter();
    Some(inputs.filter_map(|(name, node)| Some((name.clone(), locked(node)?))).collect())
}

struct Reader<'a> {
    directory: &'a Utf8Path,
    found: BTreeMap<Utf8PathBuf, Vec<u8>>,
    bytes: usize,
}

impl Reader<'_> {
    /// Reads a file and, out of a `.nix` file, those that it names; false where it is not there.
    fn take(&mut self, path: &Utf8Path) -> Result<bool, String> {
        let mut pending = vec![path.to_owned()];
        let mut there = false;
        while let Some(path) = pending.pop() {
            if self.found.contains_key(&path) {
                continue;
            }
            let bytes = match read_without_links(&self.directory.join(&path), MOST_FILE) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(format!("`{path}`: {error}")),
            };
            there = true;
            self.bytes += bytes.len();
            if self.bytes > MOST_BYTES || self.found.len() >= MOST_FILES {
                return Err(format!("it names more than {MOST_FILES} files, or more than 32 MiB of them"));
            }
            if path.extension() == Some("nix") {
                for named in named(&String::from_utf8_lossy(&bytes), path.parent().unwrap_or("".into())) {
                    self.add(named, &mut pending)?;
                }
            }
            self.found.insert(path, bytes);
        }
        Ok(there)
    }

    /// Adds a named file, or the `.nix` files of a named directory, to those that are still to be read.
    fn add(&self, named: Utf8PathBuf, pending: &mut Vec<Utf8PathBuf>) -> Result<(), String> {
        // The flake's own directory, `./.`: what of it matters is named by itself.
        if named.as_str().is_empty() {
            return Ok(());
        }
        // A link is looked at when it is read, which refuses it.
        match self.directory.join(&named).symlink_metadata() {
            Ok(meta) if meta.is_dir() => self.walk(&named, pending),
            Ok(_) => {
                pending.push(named);
                Ok(())
            }
            // Not there: it was no path, or Nix says so.
            Err(_) => Ok(()),
        }
    }

    fn walk(&self, top: &Utf8Path, pending: &mut Vec<Utf8PathBuf>) -> Result<(), String> {
        let mut directories = vec![(top.to_owned(), 0)];
        let mut seen = 0;
        while let Some((directory, depth)) = directories.pop() {
            let unreadable = |error: io::Error| format!("`{directory}`: {error}");
            for entry in self.directory.join(&directory).read_dir_utf8().map_err(unreadable)? {
                let entry = entry.map_err(unreadable)?;
                let (name, kind) = (entry.file_name(), entry.file_type().map_err(unreadable)?);
                seen += 1;
                if seen > 20 * MOST_FILES {
                    return Err(format!("`{top}` holds too many files"));
                }
                if kind.is_dir() && depth < MOST_DEPTH && !name.starts_with('.') {
                    directories.push((directory.join(name), depth + 1));
                } else if !kind.is_dir() && (entry.path().extension() == Some("nix") || name == "flake.lock")
                {
                    pending.push(directory.join(name));
                }
            }
        }
        Ok(())
    }
}

/// Returns the paths that the text of a `.nix` file in `directory` names, relative to the flake; none outside of it.
fn named(text: &str, directory: &Utf8Path) -> Vec<Utf8PathBuf> {
    let letter = |c: char| c.is_ascii_alphanumeric() || "._/+-".contains(c);
    let token = |rest: &str| rest.chars().take_while(|c| letter(*c)).collect::<String>();
    let mut found = Vec::new();
    for (start, _) in text.match_indices("./") {
        // `../x` starts one earlier, and `a/../b` or `x./` is no start at all.
        let before = &text[..start];
        let (start, before) = match before.strip_suffix('.') {
            Some(shorter) => (start - 1, shorter),
            None => (start, before),
        };
        if !before.chars().next_back().is_some_and(letter) {
            found.extend(below(directory, &token(&text[start..])));
        }
    }
    // `${self}/x`, `self + "/x"` and `inputs.self.outPath + "/x"`.
    for (start, _) in text.match_indices("self") {
        let rest = text[start + 4..].trim_start_matches(".outPath").trim_start_matches('}');
        let rest = rest.trim_start().trim_start_matches('+').trim_start().trim_start_matches('"');
        if rest.starts_with('/') {
            found.extend(below(Utf8Path::new(""), token(rest).trim_start_matches('/')));
        }
    }
    found
}

/// Joins without leaving the flake; `None` where the path would.
fn below(directory: &Utf8Path, path: &str) -> Option<Utf8PathBuf> {
    let mut out = Utf8PathBuf::new();
    for component in directory.join(path).components() {
        match component {
            Utf8Component::Normal(name) => out.push(name),
            Utf8Component::CurDir => {}
            Utf8Component::ParentDir => {
                if !out.pop() {
                    return None;
                }
            }
            Utf8Component::RootDir | Utf8Component::Prefix(_) => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_files_are_found_in_the_text() {
        let text = r#"
            inputs.sub.url = "path:./sub";
            a = import ./nix/a.nix { }; b = builtins.readFile ../rust-toolchain.toml;
            c = "${self}/c.toml"; d = builtins.readFile (self + "/d/e"); e = self.outPath + "/f";
            src = ./.; up = ../../outside; url = "https://example.org/./x"; f = x./y;
        "#;
        let found: Vec<String> = named(text, "deep".into()).into_iter().map(String::from).collect();
        let expected = ["deep/sub", "deep/nix/a.nix", "rust-toolchain.toml", "deep", "c.toml", "d/e", "f"];
        assert_eq!(found, expected);
    }

    fn flake(files: &[(&str, &str)]) -> (tempfile::TempDir, Utf8PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let top = Utf8PathBuf::from_path_buf(place.path().canonicalize().unwrap()).unwrap();
        for (path, text) in files {
            write_atomic(&top.join(path), text.as_bytes(), 0o600).unwrap();
        }
        (place, top)
    }

    #[test]
    fn only_what_the_flake_names_is_read() {
        let (_place, top) = flake(&[
            ("flake.nix", "import ./nix"),
            ("flake.lock", "{}"),
            ("nix/default.nix", "import ./more.nix"),
            ("nix/more.nix", "../tool.toml"),
            ("nix/data.json", ""),
            ("tool.toml", ""),
            ("secret", ""),
        ]);
        let found = Inputs::read(&top).unwrap();
        let names: Vec<String> = found.hashes().into_iter().map(|(path, _)| path.into()).collect();
        assert_eq!(names, ["flake.lock", "flake.nix", "nix/default.nix", "nix/more.nix", "tool.toml"]);
        let before = found.digest();
        write_atomic(&top.join("secret"), b"changed", 0o600).unwrap();
        assert_eq!(Inputs::read(&top).unwrap().digest(), before);
        write_atomic(&top.join("tool.toml"), b"changed", 0o600).unwrap();
        assert_ne!(Inputs::read(&top).unwrap().digest(), before);
    }

    #[test]
    fn the_flake_of_this_repository_is_read() {
        let found = Inputs::read(env!("CARGO_MANIFEST_DIR").into()).unwrap();
        let names: Vec<String> = found.hashes().into_iter().map(|(path, _)| path.into()).collect();
        for name in
            ["Cargo.lock", "Cargo.toml", "flake.lock", "flake.nix", "nix/package.nix", "nix/shells.nix"]
        {
            assert!(names.iter().any(|there| there == name), "{name}: {names:?}");
        }
        let is_read = |name: &String| !name.contains('/') || name.starts_with("nix/");
        assert!(names.iter().all(is_read), "{names:?}");
        assert!(found.revisions().contains_key("nixpkgs"));
    }

    #[test]
    fn links_and_missing_flakes_are_refused() {
        let (_place, top) = flake(&[("flake.nix", "import ./link.nix"), ("real", "1")]);
        std::os::unix::fs::symlink("/etc/passwd", top.join("link.nix")).unwrap();
        assert!(Inputs::read(&top).unwrap_err().contains("symbolic link"));
        assert!(Inputs::read(&top.join("none")).unwrap_err().contains("no `flake.nix`"));
    }

    #[test]
    fn revisions_come_from_the_lock() {
        let lock = r#"{"root":"root","nodes":{"root":{"inputs":{"nixpkgs":"n","other":["n"],"evil":"e"}},
            "n":{"locked":{"rev":"abc","narHash":"sha256-x="}},"e":{"locked":{"rev":"\u001b[2J"}}}}"#;
        let (_place, top) = flake(&[("flake.nix", ""), ("flake.lock", lock)]);
        let expected: BTreeMap<String, String> = [("nixpkgs".to_owned(), "abc".to_owned())].into();
        assert_eq!(Inputs::read(&top).unwrap().revisions(), expected);
    }
}
