//! The manifest of an installation: what pier wrote into a prefix, so that nothing else is ever replaced or removed.
//!
//! It is JSON at [`FILE`] below the prefix. Paths in it are relative to the prefix, which may be moved. Everything in it
//! is checked: whoever can write the prefix can write it too.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use crate::util::text::is_unsafe_char;

/// Where the manifest is, below the prefix.
pub const FILE: &str = "share/pier/manifest.json";

/// Bumped when a field changes its meaning; a reader refuses a number that it does not know.
pub const FORMAT: u32 = 1;

/// More than any manifest needs, in bytes.
pub const MOST_BYTES: u64 = 1 << 20;

/// More than any file that pier writes has, in bytes.
pub const MOST_FILE_BYTES: u64 = 1 << 30;

/// A path below the prefix: names alone, at least one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Utf8PathBuf", into = "Utf8PathBuf")]
pub struct Place(Utf8PathBuf);

impl Place {
    pub fn parse(path: impl AsRef<Utf8Path>) -> Option<Self> {
        let path = path.as_ref();
        let names = path.components().all(|part| matches!(part, Utf8Component::Normal(_)));
        // Components leave out what is doubled: one thing has one name here.
        let same = path.components().collect::<Utf8PathBuf>().as_str() == path.as_str();
        let plain = names && same && !path.as_str().is_empty() && !path.as_str().chars().any(is_unsafe_char);
        plain.then(|| Place(path.to_owned()))
    }

    pub fn path(&self) -> &Utf8Path {
        &self.0
    }

    pub fn name(&self) -> &str {
        self.0.file_name().unwrap_or_default()
    }

    /// The directories above, the outermost first.
    pub fn directories(&self) -> impl Iterator<Item = Place> {
        let above: Vec<&Utf8Path> =
            self.0.ancestors().skip(1).filter(|path| !path.as_str().is_empty()).collect();
        above.into_iter().rev().map(|path| Place(path.to_owned()))
    }
}

impl TryFrom<Utf8PathBuf> for Place {
    type Error = String;

    fn try_from(path: Utf8PathBuf) -> Result<Self, Self::Error> {
        Place::parse(&path).ok_or_else(|| format!("`{path}` is no path below the prefix"))
    }
}

impl From<Place> for Utf8PathBuf {
    fn from(place: Place) -> Self {
        place.0
    }
}

/// The SHA-256 of a file: 64 lower-case hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256(String);

impl TryFrom<String> for Sha256 {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digits = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if digits { Ok(Sha256(text)) } else { Err(format!("`{text}` is no SHA-256")) }
    }
}

impl From<Sha256> for String {
    fn from(digest: Sha256) -> Self {
        digest.0
    }
}

impl Sha256 {
    pub fn of(bytes: &[u8]) -> Self {
        Sha256(crate::util::fs::sha256(bytes))
    }
}

/// What a file is called until it is whole: `.pier-` and 16 lower-case hex digits. Chosen by chance, so that nobody else
/// has a file of that name, and kept in the manifest, so that what a killed pier left is found again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Temporary(String);

impl Temporary {
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 8];
        crate::sys::process::random(&mut bytes)?;
        Ok(Temporary(format!(".pier-{}", crate::util::fs::hex(&bytes))))
    }

    pub fn name(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Temporary {
    type Error = String;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        let digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let digits = name.strip_prefix(".pier-").unwrap_or_default();
        let ours = digits.len() == 16 && digits.bytes().all(digit);
        if ours { Ok(Temporary(name)) } else { Err(format!("`{name}` is no name of an unfinished file")) }
    }
}

impl From<Temporary> for String {
    fn from(temporary: Temporary) -> Self {
        temporary.0
    }
}

/// Something that pier wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Entry {
    File {
        sha256: Sha256,
        /// What it may be until the installation that is going on has replaced it: one that ended half way leaves
        /// either, and so does the next.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        before: BTreeSet<Sha256>,
        /// In bytes; of the largest one where there are several. A larger file is another one, whatever is in it.
        #[serde(default = "most_file_bytes")]
        size: u64,
    },
    Link {
        target: Utf8PathBuf,
    },
}

fn most_file_bytes() -> u64 {
    MOST_FILE_BYTES
}

impl Entry {
    /// Returns how much of a file has to be read to know whether it is this one, in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Entry::File { size, .. } => MOST_FILE_BYTES.min(*size),
            Entry::Link { .. } => 0,
        }
    }
}

/// A whole manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Manifest {
    format: u32,
    /// The version that wrote it.
    pier: String,
    pub entries: BTreeMap<Place, Entry>,
    /// Directories that were not there before.
    pub directories: BTreeSet<Place>,
    /// The prefix itself was not there before.
    pub made_prefix: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temporary: Option<Temporary>,
}

/// Read first, so that a newer manifest is told from a broken one.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

impl Default for Manifest {
    fn default() -> Self {
        let pier = env!("CARGO_PKG_VERSION").to_owned();
        let (entries, directories) = (BTreeMap::new(), BTreeSet::new());
        Manifest { format: FORMAT, pier, entries, directories, made_prefix: false, temporary: None }
    }
}

impl Manifest {
    /// Parses a manifest; the error is a fragment that says what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let head: Head = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if head.format != FORMAT {
            return Err(format!("it has format {}, this pier knows {FORMAT}", head.format));
        }
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    pub fn render(&self) -> String {
        // Our own types have string keys only, so this cannot fail.
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        text + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_below_the_prefix() {
        for path in ["", ".", "..", "/etc/passwd", "bin/../../x", "./bin", "bin//pier", "bin/", "a\nb"] {
            assert_eq!(Place::parse(path), None, "{path:?}");
        }
        let place = Place::parse("share/man/man1/pier.1").unwrap();
        let above: Vec<String> = place.directories().map(|place| place.path().to_string()).collect();
        assert_eq!(above, ["share", "share/man", "share/man/man1"]);
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written() {
        let mut manifest = Manifest::default();
        let entry = Entry::File { sha256: Sha256::of(b"x"), before: [Sha256::of(b"y")].into(), size: 1 };
        manifest.entries.insert(Place::parse("bin/pier").unwrap(), entry);
        manifest.entries.insert(Place::parse("bin/pi-env").unwrap(), Entry::Link { target: "pier".into() });
        manifest.directories.insert(Place::parse("bin").unwrap());
        manifest.temporary = Some(Temporary::random().unwrap());
        assert_eq!(Manifest::parse(manifest.render().as_bytes()), Ok(manifest));
    }

    #[test]
    fn the_name_of_an_unfinished_file_is_one_that_pier_made_up() {
        let name = Temporary::random().unwrap();
        assert_ne!(name, Temporary::random().unwrap());
        assert_eq!(Temporary::try_from(name.name().to_owned()), Ok(name));
        for name in [
            "",
            ".pier-",
            "bin",
            ".pier-../../../../etc/x",
            ".pier-0123456789abcdeF",
            ".pier-0123456789abcde",
        ] {
            assert!(Temporary::try_from(name.to_owned()).is_err(), "{name}");
        }
    }

    #[test]
    fn a_manifest_that_leaves_the_prefix_or_is_newer_is_refused() {
        let text = |path: &str, digest: &str| {
            format!(
                r#"{{"format":1,"pier":"0","entries":{{"{path}":{{"kind":"file","sha256":"{digest}"}}}},"directories":[],"made-prefix":false}}"#
            )
        };
        let digest = Sha256::of(b"").0;
        assert!(Manifest::parse(text("bin/pier", &digest).as_bytes()).is_ok());
        for (path, digest) in [("../x", &*digest), ("/x", &digest), ("bin/pier", "00")] {
            assert!(Manifest::parse(text(path, digest).as_bytes()).is_err(), "{path} {digest}");
        }
        let newer = Manifest::parse(br#"{"format":2,"other":[]}"#).unwrap_err();
        assert!(newer.contains("format 2"), "{newer}");
    }
}
