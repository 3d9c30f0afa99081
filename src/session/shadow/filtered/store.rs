//! Packs and single objects of the store, without git.

use std::collections::HashSet;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};

/// An object without content as git stores it: `blob 0` and a zero byte, in zlib's own frame, uncompressed.
const EMPTY: &[u8] = b"\x78\x01\x01\x07\x00\xf8\xffblob 0\0\x09\xb0\x01\xf0";

/// Bytes of an index of a pack before the names: magic, version, and 256 counts.
const BEFORE_NAMES: usize = 8 + 256 * 4;

/// An object's id; a short one is followed by zeros.
pub type Id = [u8; 32];

/// Reads an id in hexadecimal.
pub fn parse(text: &str) -> Option<Id> {
    let mut id = [0; 32];
    for (at, byte) in text.as_bytes().chunks(2).enumerate() {
        *id.get_mut(at)? = u8::from_str_radix(std::str::from_utf8(byte).ok()?, 16).ok()?;
    }
    Some(id)
}

/// Returns the indexes of all packs.
pub fn packs(objects: &Utf8Path) -> io::Result<Vec<Utf8PathBuf>> {
    let directory = objects.join("pack");
    let entries = match directory.read_dir_utf8() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path().to_owned()));
    paths.filter(|path| path.as_ref().map_or(true, |path| path.extension() == Some("idx"))).collect()
}

/// Returns the ids of all objects in packs, which pier had git write.
pub fn packed(objects: &Utf8Path, sha256: bool) -> io::Result<HashSet<Id>> {
    let length = if sha256 { 32 } else { 20 };
    let mut found = HashSet::new();
    for path in packs(objects)? {
        let bytes = fs_err::read(&path)?;
        let broken = || io::Error::other(format!("`{path}` is no index of a pack"));
        let count = bytes.get(BEFORE_NAMES - 4..BEFORE_NAMES).ok_or_else(broken)?;
        let count = u32::from_be_bytes(count.try_into().map_err(|_| broken())?) as usize;
        let names = bytes.get(BEFORE_NAMES..BEFORE_NAMES + count * length).ok_or_else(broken)?;
        if !bytes.starts_with(b"\xfftOc\0\0\0\x02") {
            return Err(broken());
        }
        found.extend(names.chunks_exact(length).map(|name| {
            let mut id = [0; 32];
            id[..length].copy_from_slice(name);
            id
        }));
    }
    Ok(found)
}

fn loose(objects: &Utf8Path, id: &str) -> Utf8PathBuf {
    let (directory, name) = id.split_at(2);
    objects.join(directory).join(name)
}

/// Lets an id read as an object without content; git compares ids with contents in `git fsck` alone.
pub fn stand_in(objects: &Utf8Path, id: &str) -> io::Result<()> {
    let path = loose(objects, id);
    if path.exists() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs_err::create_dir_all(parent)?;
    }
    fs_err::write(path, EMPTY)
}

/// Takes away what stands in for an object.
pub fn remove(objects: &Utf8Path, id: &str) -> io::Result<()> {
    match fs_err::remove_file(loose(objects, id)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
