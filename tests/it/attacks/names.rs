//! The name server of a case's network, which notes what it is asked.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;

use super::internet::{ALLOWED, EVIL, OURS};

/// What has been asked for.
#[derive(Clone, Default)]
pub struct Names {
    asked: Arc<Mutex<Vec<String>>>,
}

impl Names {
    /// Names that were asked for since this was asked last.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

/// Returns where a name leads when it is asked for by this many questions before: everything that is not listed here
/// belongs to the host that nobody is to reach.
fn addresses(name: &str, before: usize) -> Vec<IpAddr> {
    let words: &[&str] = match name {
        "allowed.test" | "api.test" | "code.test" | "narrow.test" | "pinned.test" | "x.wide.test" => {
            &[ALLOWED]
        }
        "rebind.test" => &["127.0.0.1"],
        "six.test" => &["::1"],
        "mapped.test" => &["::ffff:127.0.0.1"],
        "any.test" => &["0.0.0.0"],
        "own.test" => &[OURS[0]],
        "own-six.test" => &[OURS[1]],
        "private.test" => &["10.1.2.3", "192.168.1.1"],
        "docker.test" => &["172.17.0.1"],
        // A name that is somebody else each time.
        "flip.test" => [&[ALLOWED][..], &["127.0.0.1"]][before % 2],
        "both.test" => &["127.0.0.1", "127.0.0.2"],
        "meta.test" => &["169.254.169.254"],
        "meta-six.test" => &["fd00:ec2::254"],
        "meta-alibaba.test" => &["100.100.100.200"],
        "meta-azure.test" => &["168.63.129.16"],
        _ => &[EVIL],
    };
    words.iter().map(|word| word.parse().unwrap()).collect()
}

/// Answers until the runtime ends.
pub async fn serve(socket: UdpSocket, names: Names) {
    let mut buffer = [0; 1500];
    let mut counts: HashMap<(String, u16), usize> = HashMap::new();
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let Some((name, kind, end)) = question(&buffer[..length]) else { continue };
        names.asked.lock().unwrap().push(name.clone());
        let count = counts.entry((name.clone(), kind)).or_default();
        let found = addresses(&name, *count);
        *count += 1;
        let reply = answer(&buffer[..end], kind, &found);
        // Whoever has gone away asks again.
        let _gone = socket.send_to(&reply, from).await;
    }
}

/// Returns the name and the type that a message asks for, and where its question ends. RFC 1035, section 4.1.
fn question(message: &[u8]) -> Option<(String, u16, usize)> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(message.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?);
    Some((labels.join("."), kind, at + 4))
}

fn answer(question: &[u8], kind: u16, found: &[IpAddr]) -> Vec<u8> {
    const A: u16 = 1;
    const AAAA: u16 = 28;
    let mut records = Vec::new();
    let mut count = 0;
    for address in found {
        let bytes = match address {
            IpAddr::V4(address) if kind == A => address.octets().to_vec(),
            IpAddr::V6(address) if kind == AAAA => address.octets().to_vec(),
            _ => continue,
        };
        count += 1;
        // The name of the question, the type, the internet, good for no time at all.
        records.extend([0xc0, 12]);
        records.extend(kind.to_be_bytes());
        records.extend([0, 1, 0, 0, 0, 0, 0, u8::try_from(bytes.len()).unwrap()]);
        records.extend(bytes);
    }
    let mut message = question.to_vec();
    // An answer, recursion available; one question, so many answers.
    message[2..4].copy_from_slice(&[0x81, 0x80]);
    message[4..12].copy_from_slice(&[0, 1, 0, count, 0, 0, 0, 0]);
    message.extend(records);
    message
}
