//! The first message of a TLS connection, as far as it names the host: RFC 8446, section 4.1.2, and RFC 6066, section 3.

use crate::policy::host::HostName;

/// The most that is read before a client has said whom it wants, in bytes.
pub const MOST: usize = 64 * 1024;

/// The most records that one message comes in; nobody sends more than a few.
const MOST_RECORDS: usize = 64;

/// A fatal `access_denied`, which every TLS library turns into an error that says so.
pub const DENIED: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST: u8 = 0;

/// What the bytes so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// The beginning of one.
    More,
    Named(HostName),
    /// One without a name.
    Nameless,
    /// One with a name that is no host name, which a server may read as it likes.
    Misnamed,
    /// Something else.
    Foreign,
}

/// Reads the beginning of a connection.
pub fn read(bytes: &[u8]) -> Hello {
    let mut message = Vec::new();
    let mut rest = bytes;
    for _ in 0..MOST_RECORDS {
        let Some((header, tail)) = rest.split_first_chunk::<5>() else {
            let begins = rest.first().is_none_or(|kind| *kind == HANDSHAKE);
            return if begins { unless_full(bytes) } else { Hello::Foreign };
        };
        let [kind, major, minor, high, low] = *header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if kind != HANDSHAKE || major != 3 || minor > 4 || length == 0 || length > 16 * 1024 + 256 {
            return Hello::Foreign;
        }
        let (part, whole) = match tail.get(..length) {
            Some(part) => (part, true),
            None => (tail, false),
        };
        message.extend_from_slice(part);
        if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Hello::Foreign;
        }
        if let Some([_, high, middle, low]) = message.first_chunk::<4>() {
            let length = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
            if length > MOST {
                return Hello::Foreign;
            }
            if let Some(body) = message.get(4..4 + length) {
                return server_name(body).unwrap_or(Hello::Foreign);
            }
        }
        if !whole {
            return unless_full(bytes);
        }
        rest = &tail[length..];
    }
    Hello::Foreign
}

fn unless_full(bytes: &[u8]) -> Hello {
    if bytes.len() < MOST { Hello::More } else { Hello::Foreign }
}

/// Returns whom a hello is for; `None` where it is malformed or names two.
fn server_name(body: &[u8]) -> Option<Hello> {
    let mut input = Input(body);
    // Version and random bytes.
    input.take(34)?;
    let length = input.byte()?;
    input.take(length)?;
    let length = input.word()?;
    input.take(length)?;
    let length = input.byte()?;
    input.take(length)?;
    if input.0.is_empty() {
        return Some(Hello::Nameless);
    }
    let length = input.word()?;
    let mut extensions = Input(input.take(length)?);
    if !input.0.is_empty() {
        return None;
    }
    let mut found = None;
    while !extensions.0.is_empty() {
        let kind = extensions.word()?;
        let length = extensions.word()?;
        let mut content = Input(extensions.take(length)?);
        if kind != usize::from(SERVER_NAME) {
            continue;
        }
        let length = content.word()?;
        let mut list = Input(content.take(length)?);
        if found.is_some() || !content.0.is_empty() || list.byte()? != usize::from(HOST) {
            return None;
        }
        let length = list.word()?;
        found = Some(String::from_utf8_lossy(list.take(length)?).into_owned());
        if !list.0.is_empty() {
            return None;
        }
    }
    Some(match found.map(|name: String| HostName::parse(&name)) {
        Some(Ok(name)) => Hello::Named(name),
        Some(Err(_)) => Hello::Misnamed,
        None => Hello::Nameless,
    })
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<usize> {
        self.take(1).map(|bytes| usize::from(bytes[0]))
    }

    fn word(&mut self) -> Option<usize> {
        self.take(2).map(|bytes| usize::from(bytes[0]) << 8 | usize::from(bytes[1]))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    fn with_length<const SIZE: usize>(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        [&length[4 - SIZE..], bytes].concat()
    }

    /// A hello with these names, one extension for each, in records of so many bytes.
    pub fn hello(names: &[&str], record: usize) -> Vec<u8> {
        let mut extensions = [&[0, 43][..], &with_length::<2>(&[2, 3, 4])].concat();
        for name in names {
            let entry = [&[HOST][..], &with_length::<2>(name.as_bytes())].concat();
            extensions.extend([0, 0]);
            extensions.extend(with_length::<2>(&with_length::<2>(&entry)));
        }
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend(with_length::<1>(&[1; 32]));
        body.extend(with_length::<2>(&[0x13, 1, 0x13, 2]));
        body.extend(with_length::<1>(&[0]));
        body.extend(with_length::<2>(&extensions));
        let message = [&[CLIENT_HELLO][..], &with_length::<3>(&body)].concat();
        let part = |part: &[u8]| [&[HANDSHAKE, 3, 1][..], &with_length::<2>(part)].concat();
        message.chunks(record).flat_map(part).collect()
    }

    #[test]
    fn the_name_is_found_however_it_is_cut() {
        let named = Hello::Named(HostName::parse("a.example").unwrap());
        for record in [3, 7, 100, 10_000] {
            let bytes = hello(&["A.example"], record);
            assert_eq!(read(&bytes), named, "{record}");
            for cut in 0..bytes.len() {
                let found = read(&bytes[..cut]);
                assert!(found == Hello::More || found == named, "{record} {cut} {found:?}");
            }
            assert_eq!(read(&[&bytes[..], b"more"].concat()), named);
        }
    }

    #[test]
    fn what_names_nobody_or_two_is_not_believed() {
        assert_eq!(read(&hello(&[], 1000)), Hello::Nameless);
        for name in ["", "a_b", "1.2.3.4", "a.example.", "a\0.example", "é.example"] {
            assert_eq!(read(&hello(&[name], 1000)), Hello::Misnamed, "{name:?}");
        }
        assert_eq!(read(&hello(&["a.example", "b.example"], 1000)), Hello::Foreign);
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            &[22, 2, 0, 0, 1, 1],
            &[22, 3, 1, 0, 0],
            &[22, 3, 5, 0, 1, 1],
            &[22, 3, 1, 0, 1, 2],
            &[128],
        ] {
            assert_eq!(read(bytes), Hello::Foreign, "{bytes:?}");
        }
        assert_eq!(read(&[22, 3, 1, 0, 4, 1, 255, 255, 255]), Hello::Foreign);
        assert_eq!(read(&hello(&["a.example"], 1)), Hello::Foreign, "too many records");
        let mut longer = hello(&["a.example"], 1000);
        for (at, more) in [(4, 1), (8, 1)] {
            longer[at] += more;
        }
        longer.push(0);
        assert_eq!(read(&longer), Hello::Foreign, "something behind the extensions");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, cut in 0_usize..200, at in 0_usize..200, with: u8) {
            let _any = read(&bytes);
            let mut near = hello(&["a.example"], 50);
            near.truncate(cut);
            if let Some(byte) = near.get_mut(at) {
                *byte = with;
            }
            near.extend(bytes);
            let _any = read(&near);
        }
    }
}
