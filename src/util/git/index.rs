//! Which entries of a git index are nested repositories ("gitlinks"): git runs inside of those on the host.

use std::io::BufRead;

/// The mode of an entry that is the commit of a nested repository.
const GITLINK: u32 = 0o160_000;

/// Bytes of the fixed fields before the object id: two times, device, inode, mode, user, group, size.
const BEFORE_ID: usize = 40;
const MODE_AT: usize = 24;

/// Of the flags: two more bytes of flags follow; the length of the name, or all ones for a longer one.
const EXTENDED: u16 = 0x4000;
const LENGTH: u16 = 0x0fff;

/// The longest name that is kept, in bytes: an agent can commit longer ones, of which no disk can hold a directory.
const MOST_NAME: usize = 64 * 1024;

/// The most that is kept of all gitlinks, in bytes.
const MOST_NAMES: usize = 16 << 20;

/// Returns the paths of all gitlinks that a disk can hold; `None` where this is no index of version 2 to 4, or names
/// more than can be kept: then nothing is known of what is nested.
///
/// `id` is the length of an object id in bytes: 20, or 32 in a SHA-256 repository. The format is described in
/// git's `Documentation/gitformat-index`. Nothing else of the file is kept, for it may be large.
pub fn gitlinks(mut input: impl BufRead, id: usize) -> Option<Vec<String>> {
    let mut header = [0; 12];
    input.read_exact(&mut header).ok()?;
    let number = |bytes: &[u8], at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (version, count) = (number(&header, 4)?, number(&header, 8)?);
    if !header.starts_with(b"DIRC") || !(2..=4).contains(&version) {
        return None;
    }
    let mut fixed = vec![0; BEFORE_ID + id + 2];
    let (mut name, mut found, mut kept) = (Vec::new(), Vec::new(), 0);
    for _ in 0..count {
        input.read_exact(&mut fixed).ok()?;
        let is_link = number(&fixed, MODE_AT)? == GITLINK;
        let flags = u16::from_be_bytes(fixed.last_chunk().copied()?);
        let mut read = fixed.len();
        if version > 2 && flags & EXTENDED != 0 {
            input.read_exact(&mut [0; 2]).ok()?;
            read += 2;
        }
        let length = usize::from(flags & LENGTH);
        let whole = if version == 4 {
            let strip = offset(&mut input)?;
            name.truncate(name.len().checked_sub(strip)?);
            let before = name.len();
            let added = end_of_name(&mut input, &mut name)?;
            // The next name may begin with any part of this one, so that all of it has to be known.
            if name.len() != before + added {
                return None;
            }
            true
        } else if length < usize::from(LENGTH) {
            name.resize(length, 0);
            input.read_exact(&mut name).ok()?;
            skip(&mut input, padding(read + length))?;
            true
        } else {
            name.clear();
            let length = end_of_name(&mut input, &mut name)?;
            skip(&mut input, padding(read + length) - 1)?;
            length == name.len()
        };
        if is_link && whole {
            kept += name.len();
            if kept > MOST_NAMES {
                return None;
            }
            found.push(String::from_utf8(name.clone()).ok()?);
        }
    }
    Some(found)
}

/// Versions 2 and 3 pad an entry with 1 to 8 zero bytes to a multiple of eight.
fn padding(length: usize) -> usize {
    8 - length % 8
}

fn skip(input: &mut impl BufRead, count: usize) -> Option<()> {
    input.read_exact(&mut [0; 8][..count]).ok()
}

/// Adds what comes before the next zero byte, as far as there is room; returns how much that is.
fn end_of_name(input: &mut impl BufRead, name: &mut Vec<u8>) -> Option<usize> {
    let mut count = 0;
    loop {
        let bytes = input.fill_buf().ok()?;
        let end = bytes.iter().position(|byte| *byte == 0);
        let part = bytes.get(..end.unwrap_or(bytes.len()))?;
        if bytes.is_empty() {
            return None;
        }
        let room = MOST_NAME.saturating_sub(name.len());
        name.extend_from_slice(part.get(..room.min(part.len()))?);
        let length = part.len();
        count += length;
        input.consume(length + usize::from(end.is_some()));
        if end.is_some() {
            return Some(count);
        }
    }
}

/// Reads the variable-width number of a version 4 entry.
fn offset(input: &mut impl BufRead) -> Option<usize> {
    let mut value = 0_usize;
    loop {
        let mut byte = [0];
        input.read_exact(&mut byte).ok()?;
        value = value.checked_mul(128)?.checked_add(usize::from(byte[0] & 127))?;
        if byte[0] & 128 == 0 {
            return Some(value);
        }
        value = value.checked_add(1)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(out: &mut Vec<u8>, mode: u32, name: &str) {
        let start = out.len();
        out.extend([0; MODE_AT]);
        out.extend(mode.to_be_bytes());
        out.extend([0; 12 + 20]);
        out.extend(u16::try_from(name.len().min(0xfff)).unwrap().to_be_bytes());
        out.extend(name.as_bytes());
        let length = out.len() - start;
        out.resize(start + (length + 8) / 8 * 8, 0);
    }

    #[test]
    fn gitlinks_are_found_among_files() {
        let mut bytes = b"DIRC\0\0\0\x02\0\0\0\x03".to_vec();
        entry(&mut bytes, 0o100_644, "README");
        entry(&mut bytes, GITLINK, "libs/one");
        entry(&mut bytes, 0o120_000, "link-of-some-length");
        let long = "d/".repeat(2048) + "two";
        entry(&mut bytes, GITLINK, &long);
        // What no disk can hold is not asked for, and what comes behind it is found.
        entry(&mut bytes, GITLINK, &"e/".repeat(40_000));
        entry(&mut bytes, 0o100_644, &"f/".repeat(50_000));
        entry(&mut bytes, GITLINK, "three");
        bytes[11] = 7;
        assert_eq!(gitlinks(&bytes[..], 20), Some(vec!["libs/one".to_owned(), long, "three".to_owned()]));
        assert_eq!(gitlinks(&bytes[..bytes.len() - 30], 20), None);
    }

    proptest::proptest! {
        #[test]
        fn nonsense_is_no_index_and_no_panic(bytes: Vec<u8>, version in 1_u8..6) {
            let mut text = vec![b'D', b'I', b'R', b'C', 0, 0, 0, version, 0, 0, 0, 9];
            text.extend(bytes);
            let _answer = gitlinks(&text[..], 20);
        }
    }
}
