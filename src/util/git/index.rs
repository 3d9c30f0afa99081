//! Which entries of a git index are nested repositories ("gitlinks"): git runs inside of those on the host.

/// The mode of an entry that is the commit of a nested repository.
const GITLINK: u32 = 0o160_000;

/// Bytes of the fixed fields before the object id: two times, device, inode, mode, user, group, size.
const BEFORE_ID: usize = 40;
const MODE_AT: usize = 24;

/// Of the flags: two more bytes of flags follow; the length of the name, or all ones for a longer one.
const EXTENDED: u16 = 0x4000;
const LENGTH: u16 = 0x0fff;

/// Returns the paths of all gitlinks; `None` where this is no index of version 2 to 4.
///
/// `id` is the length of an object id in bytes: 20, or 32 in a SHA-256 repository. The format is described in
/// git's `Documentation/gitformat-index`.
pub fn gitlinks(bytes: &[u8], id: usize) -> Option<Vec<String>> {
    if bytes.get(..4)? != b"DIRC" {
        return None;
    }
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (version, count) = (number(4)?, number(8)?);
    if !(2..=4).contains(&version) {
        return None;
    }
    let (mut at, mut name, mut found) = (12, Vec::new(), Vec::new());
    for _ in 0..count {
        let start = at;
        let mode = number(start + MODE_AT)?;
        let flags_at = start + BEFORE_ID + id;
        let flags = u16::from_be_bytes(bytes.get(flags_at..flags_at + 2)?.try_into().ok()?);
        let extended = if version > 2 && flags & EXTENDED != 0 { 2 } else { 0 };
        let mut text = flags_at + 2 + extended;
        if version == 4 {
            let (strip, next) = offset(bytes, text)?;
            name.truncate(name.len().checked_sub(strip)?);
            text = next;
        } else {
            name.clear();
        }
        // A length that the flags can hold saves looking for the end of the name.
        let length = match usize::from(flags & LENGTH) {
            length if version < 4 && length < usize::from(LENGTH) => length,
            _ => bytes.get(text..)?.iter().position(|byte| *byte == 0)?,
        };
        let end = text.checked_add(length)?;
        if version == 4 || mode == GITLINK {
            name.extend_from_slice(bytes.get(text..end)?);
        }
        // Versions 2 and 3 pad an entry with 1 to 8 zero bytes to a multiple of eight.
        at = if version == 4 { end + 1 } else { start + (end - start + 8) / 8 * 8 };
        if mode == GITLINK {
            found.push(String::from_utf8(name.clone()).ok()?);
        }
    }
    Some(found)
}

/// Reads the variable-width number of a version 4 entry, and returns it with the place behind it.
fn offset(bytes: &[u8], mut at: usize) -> Option<(usize, usize)> {
    let mut value = 0_usize;
    loop {
        let byte = *bytes.get(at)?;
        at += 1;
        value = value.checked_mul(128)?.checked_add(usize::from(byte & 127))?;
        if byte & 128 == 0 {
            return Some((value, at));
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
        bytes[11] = 4;
        assert_eq!(gitlinks(&bytes, 20), Some(vec!["libs/one".to_owned(), long]));
        assert_eq!(gitlinks(&bytes[..bytes.len() - 30], 20), None);
    }

    proptest::proptest! {
        #[test]
        fn nonsense_is_no_index_and_no_panic(bytes: Vec<u8>, version in 1_u8..6) {
            let mut text = vec![b'D', b'I', b'R', b'C', 0, 0, 0, version, 0, 0, 0, 9];
            text.extend(bytes);
            let _answer = gitlinks(&text, 20);
        }
    }
}
