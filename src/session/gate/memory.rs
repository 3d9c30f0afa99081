//! What is remembered of a project's directories from one session to the next, so that the first look is as fast as
//! the last one. Kept in the project's state directory, where no sandbox sees it.
//!
//! One binary file: JSON would take longer to read than the directories. Numbers are little-endian.
//!
//! ```text
//! header   "pier gate 1\n", key (8 bytes), sum of all that follows (8)
//! record   path, stamp (6 x 8), node (4), flags (1), number of entries (4), entries
//! entry    kind (1), inode (8), name
//! path     length (4), bytes; a name is the same
//! ```

use std::collections::HashMap;
use std::hash::Hasher as _;
use std::io::{self, Write as _};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::OpenOptionsExt as _;

use camino::Utf8Path;
use nix::sys::stat::fstat;

use super::mark::Stamp;
use super::rules::{self, Place};
use super::walk::{Known, Visited};
use crate::sys::directory::Kind;
use crate::util::fs::read_bounded;

const MAGIC: &[u8] = b"pier gate 1\n";
const HEADER: usize = MAGIC.len() + 16;

/// The largest file that is read or written, in bytes: some 200,000 directories.
const MOST_BYTES: u64 = 32 << 20;

/// Fewer directories are read faster than remembered.
const LEAST_DIRECTORIES: usize = 100;

pub type Directories = HashMap<Vec<u8>, Known>;

/// Reads what was remembered; nothing if it is damaged, or of another pier, rule table or file system.
pub fn load(file: &Utf8Path, root: BorrowedFd<'_>) -> Directories {
    let read = || {
        let bytes = read_bounded(file, MOST_BYTES).ok()?;
        let rest = bytes.strip_prefix(MAGIC)?;
        let (key, rest) = rest.split_first_chunk()?;
        let (sum, rest) = rest.split_first_chunk()?;
        let fits = u64::from_le_bytes(*key) == key_of(root)? && u64::from_le_bytes(*sum) == hash(&[rest]);
        if fits { parse(rest) } else { None }
    };
    read().unwrap_or_default()
}

/// Writes what the first look knows, unless almost all of it was remembered already.
pub fn save(file: &Utf8Path, root: BorrowedFd<'_>, known: &Directories, read_again: usize) -> io::Result<()> {
    if known.len() < LEAST_DIRECTORIES || read_again <= known.len() / 50 {
        return Ok(());
    }
    let mut bytes = vec![0; HEADER];
    for (path, known) in known {
        write(&mut bytes, path, known);
    }
    let Some(key) = key_of(root).filter(|_| bytes.len() as u64 <= MOST_BYTES) else { return Ok(()) };
    let sum = hash(&[bytes.get(HEADER..).unwrap_or_default()]);
    let header = [MAGIC, &key.to_le_bytes(), &sum.to_le_bytes()].concat();
    if let Some(place) = bytes.get_mut(..HEADER) {
        place.copy_from_slice(&header);
    }
    // Not synced, for that takes longer than a whole session: the sum tells a file that a power cut has damaged.
    let temporary = file.with_extension(format!("{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let mut open = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    open.write_all(&bytes)?;
    std::fs::rename(&temporary, file)
}

/// Differs where a remembered directory could mean something else.
fn key_of(root: BorrowedFd<'_>) -> Option<u64> {
    let stat = fstat(root).ok()?;
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    let parts =
        [version, &stat.st_dev.to_le_bytes(), &stat.st_ino.to_le_bytes(), &rules::version().to_le_bytes()];
    Some(hash(&parts))
}

/// A sum against accidents; nobody else can write the file. The algorithm may change with the compiler.
fn hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    for part in parts {
        hasher.write(part);
    }
    hasher.finish()
}

const REPOSITORY: u8 = 1;
const HEAVY: u8 = 2;
const GIT: u8 = 4;
const OF_GIT: u8 = 8;

const KINDS: [Kind; 7] =
    [Kind::File, Kind::Directory, Kind::Link, Kind::Fifo, Kind::Socket, Kind::Device, Kind::Unknown];

fn write(bytes: &mut Vec<u8>, path: &[u8], known: &Known) {
    let Known { stamp, place, is_repository, entries, visited: _ } = known;
    let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    bytes.extend(count(path.len()));
    bytes.extend(path);
    for number in stamp.numbers() {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(count(place.node));
    let flags =
        [(*is_repository, REPOSITORY), (place.heavy, HEAVY), (place.git, GIT), (place.of_git, OF_GIT)];
    bytes.push(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum());
    bytes.extend(count(entries.len()));
    for (kind, inode, name) in entries {
        let kind = KINDS.iter().position(|known| known == kind).and_then(|kind| u8::try_from(kind).ok());
        bytes.push(kind.unwrap_or_default());
        bytes.extend(inode.to_le_bytes());
        bytes.extend(count(name.len()));
        bytes.extend(&**name);
    }
}

fn parse(bytes: &[u8]) -> Option<Directories> {
    let mut input = Input(bytes);
    let mut found = HashMap::new();
    while !input.0.is_empty() {
        let path = input.text()?.to_vec();
        let mut numbers = [0; 6];
        for number in &mut numbers {
            *number = i64::from_le_bytes(input.array()?);
        }
        let node = input.count()?;
        let [flags] = input.array()?;
        let has = |flag| flags & flag != 0;
        let place = Place { heavy: has(HEAVY), node, git: has(GIT), of_git: has(OF_GIT) };
        let mut entries = Vec::new();
        for _ in 0..input.count()? {
            let [kind] = input.array()?;
            let inode = u64::from_le_bytes(input.array()?);
            entries.push((*KINDS.get(usize::from(kind))?, inode, input.text()?.into()));
        }
        let (stamp, is_repository) = (Stamp::from_numbers(numbers), has(REPOSITORY));
        found.insert(path, Known { stamp, place, is_repository, entries, visited: Visited::default() });
    }
    Some(found)
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn array<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        let (found, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*found)
    }

    fn count(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.array()?)).ok()
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.count()?;
        let (found, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    fn directories() -> Directories {
        let known = |number: i64| Known {
            stamp: Stamp::from_numbers([number, 1, -2, 3, i64::MAX, 5]),
            place: Place { heavy: number % 2 == 0, node: 7, git: number % 3 == 0, of_git: number % 5 == 0 },
            is_repository: number % 7 == 0,
            visited: Visited::default(),
            entries: vec![(Kind::Link, 9, b"\xff\n"[..].into()), (Kind::File, u64::MAX, b""[..].into())],
        };
        (0..200).map(|number| (format!("d{number}").into_bytes(), known(number))).collect()
    }

    #[test]
    fn what_is_saved_is_loaded_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let file = Utf8Path::from_path(place.path()).unwrap().join("gate");
        let root = std::fs::File::open(place.path()).unwrap();
        let loaded = || load(&file, root.as_fd());
        assert!(loaded().is_empty());
        save(&file, root.as_fd(), &directories(), 4).unwrap();
        assert!(loaded().is_empty(), "too few were read again");
        save(&file, root.as_fd(), &directories(), 5).unwrap();
        assert_eq!(loaded(), directories());
        assert!(load(&file, std::fs::File::open("/").unwrap().as_fd()).is_empty(), "another root");
        let bytes = fs_err::read(&file).unwrap();
        for cut in [0, 5, HEADER, HEADER + 1, bytes.len() - 1] {
            fs_err::write(&file, &bytes[..cut]).unwrap();
            assert!(loaded().is_empty(), "{cut}");
        }
        for at in [0, MAGIC.len(), MAGIC.len() + 8, HEADER, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            fs_err::write(&file, &damaged).unwrap();
            assert!(loaded().is_empty(), "{at}");
        }
        assert_eq!(fs_err::read_dir(place.path()).unwrap().count(), 1, "no temporary file is left");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic_the_parser(bytes: Vec<u8>, cut in 0_usize..2000) {
            let _any = parse(&bytes);
            let mut made = Vec::new();
            write(&mut made, b"path", &directories()[&b"d7"[..]]);
            made.extend(&bytes);
            let _any = parse(&made[..cut.min(made.len())]);
        }
    }
}
