//! The sandbox's name server: it answers every name by an address of its own and asks nobody, so that nothing leaves
//! by a question, and a connection tells by its address which name was meant.
//!
//! RFC 1035, section 4. One question a message; answers are at most one record.

use std::net::IpAddr;

use super::names::Names;
use crate::policy::host::HostName;

/// The largest message that is read, in bytes.
pub const MOST: usize = 1232;

const HEADER: usize = 12;
const A: u16 = 1;
const AAAA: u16 = 28;
const INTERNET: u16 = 1;

/// Seconds for which an address is good: it is good for as long as the session.
const LIFETIME: u32 = 60;

const FORMAT_ERROR: u8 = 1;
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;
const NOT_IMPLEMENTED: u8 = 4;

/// Returns the answer to a message; `None` for one that is no question, which gets none.
pub fn answer(message: &[u8], names: &mut Names) -> Option<Vec<u8>> {
    let header = message.get(..HEADER)?;
    // An answer to an answer would go on for ever.
    if header[2] & 0x80 != 0 {
        return None;
    }
    if header[2] & 0x78 != 0 {
        return Some(reply(header, &[], NOT_IMPLEMENTED, None));
    }
    let Some((question, name, kind, class)) = question(message) else {
        return Some(reply(header, &[], FORMAT_ERROR, None));
    };
    let Some(name) = name.filter(|_| class == INTERNET) else {
        return Some(reply(header, question, NO_SUCH_NAME, None));
    };
    if kind != A && kind != AAAA {
        return Some(reply(header, question, 0, None));
    }
    let Some((v4, v6)) = names.addresses(&name) else {
        return Some(reply(header, question, SERVER_FAILURE, None));
    };
    let address = if kind == A { IpAddr::V4(v4) } else { IpAddr::V6(v6) };
    Some(reply(header, question, 0, Some(address)))
}

/// Returns the bytes of the one question, its name where that is one, its type and class.
fn question(message: &[u8]) -> Option<(&[u8], Option<HostName>, u16, u16)> {
    if message.get(4..6)? != [0, 1] {
        return None;
    }
    let (mut at, mut text) = (HEADER, Vec::new());
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        // Two bits mark a pointer, which a question has no use for.
        if length > 63 || text.len() > 255 {
            return None;
        }
        if !text.is_empty() {
            text.push(b'.');
        }
        let label = message.get(at..at + length)?;
        // A dot in a label would be two labels as text.
        text.extend(label.iter().map(|byte| if *byte == b'.' { b' ' } else { *byte }));
        at += length;
    }
    let number = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    let (kind, class) = (number(at)?, number(at + 2)?);
    let name = std::str::from_utf8(&text).ok().and_then(|text| HostName::parse(text).ok());
    Some((message.get(HEADER..at + 4)?, name, kind, class))
}

fn reply(header: &[u8], question: &[u8], code: u8, address: Option<IpAddr>) -> Vec<u8> {
    let mut bytes = header.get(..2).unwrap_or_default().to_vec();
    let wants_recursion = header.get(2).map_or(0, |flags| flags & 1);
    bytes.extend([0x80 | wants_recursion, 0x80 | code]);
    bytes.extend([0, u8::from(!question.is_empty()), 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    bytes.extend(question);
    if let Some(address) = address {
        // The name of the question, by a pointer.
        bytes.extend([0xc0, 12]);
        bytes.extend(if address.is_ipv4() { A } else { AAAA }.to_be_bytes());
        bytes.extend(INTERNET.to_be_bytes());
        bytes.extend(LIFETIME.to_be_bytes());
        match address {
            IpAddr::V4(address) => {
                bytes.extend([0, 4]);
                bytes.extend(address.octets());
            }
            IpAddr::V6(address) => {
                bytes.extend([0, 16]);
                bytes.extend(address.octets());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(name: &str, kind: u16) -> Vec<u8> {
        let mut bytes = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1]);
        bytes
    }

    #[test]
    fn every_name_has_addresses_of_its_own() {
        let mut names = Names::default();
        let mut last = |name: &str, kind| {
            let answer = answer(&ask(name, kind), &mut names).unwrap();
            assert_eq!((&answer[..4], &answer[4..8]), (&[7, 9, 0x81, 0x80][..], &[0, 1, 0, 1][..]));
            answer[answer.len() - if kind == A { 4 } else { 16 }..].to_vec()
        };
        let (one, other) = (last("a.example", A), last("b.example", A));
        assert_eq!(one[..2], [198, 18]);
        assert_ne!(one, other);
        assert_eq!(one, last("A.Example", A));
        let six = last("a.example", AAAA);
        let address: [u8; 16] = six.try_into().unwrap();
        assert_eq!(names.name_of(IpAddr::from(address)).unwrap().as_str(), "a.example");
    }

    #[test]
    fn nothing_else_is_told() {
        let mut names = Names::default();
        let mut code = |bytes: &[u8]| answer(bytes, &mut names).map(|answer| (answer[3] & 15, answer[7]));
        for kind in [16, 5, 10, 15, 65, 255] {
            assert_eq!(code(&ask("a.example", kind)), Some((0, 0)), "{kind}");
        }
        assert_eq!(code(&ask("a_b.example", A)), Some((NO_SUCH_NAME, 0)));
        let mut dotted = ask("aaa.example", A);
        dotted[14] = b'.';
        assert_eq!(code(&dotted), Some((NO_SUCH_NAME, 0)));
        let question = ask("a.example", A);
        assert_eq!(code(&question[..20]), Some((FORMAT_ERROR, 0)));
        let mut other = question.clone();
        other[2] = 0x81;
        assert_eq!(code(&other), None);
        other[2] = 0x28;
        assert_eq!(code(&other), Some((NOT_IMPLEMENTED, 0)));
        let mut pointer = question;
        pointer[12] = 0xc0;
        assert_eq!(code(&pointer), Some((FORMAT_ERROR, 0)));
        assert_eq!(code(&[]), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, cut in 0_usize..64) {
            let mut names = Names::default();
            let _any = answer(&bytes, &mut names);
            let mut near = ask("a.example", A);
            near.truncate(cut);
            near.extend(bytes);
            let _any = answer(&near, &mut names);
        }
    }
}
