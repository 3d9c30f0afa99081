//! Questions for names.

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::RData;

use crate::gateway::dns::{MOST, answer};
use crate::gateway::names::Names;
use crate::policy::host::HostName;

/// The longest answer over UDP to somebody who has not said that there may be more, in bytes: RFC 1035, section 4.2.1.
const MOST_ANSWER: usize = 512;

/// An answer is one to the very question, of a length that everybody takes, and gives an address to nothing but a name
/// of a host, which it then leads to; a second reader finds the same in it.
pub fn dns(bytes: &[u8]) {
    let bytes = bytes.get(..MOST).unwrap_or(bytes);
    let mut names = Names::default();
    let Some(reply) = answer(bytes, &mut names) else {
        // What gets no answer is an answer itself, or too short to be anything.
        assert!(bytes.len() < 12 || bytes[2] & 0x80 != 0, "a question without an answer");
        return;
    };
    assert!(reply.len() <= MOST_ANSWER, "{} bytes", reply.len());
    assert!(reply.len() >= 12 && reply[..2] == bytes[..2], "an answer to something else");
    assert_ne!(reply[2] & 0x80, 0, "it is no answer");
    assert_eq!(answer(&reply, &mut names), None, "an answer to an answer");
    let read = Message::from_vec(&reply);
    let Ok(read) = read else {
        // The second reader has its own opinion about odd names; none of those has an address.
        assert_eq!(reply[7], 0, "an answer that another program cannot read: {read:?}");
        return;
    };
    assert_eq!(read.metadata.message_type, MessageType::Response);
    assert!(read.authorities.is_empty() && read.additionals.is_empty(), "{read:?}");
    let [record] = &read.answers[..] else {
        assert!(read.answers.is_empty(), "{read:?}");
        return;
    };
    assert_eq!((read.queries.len(), read.metadata.response_code), (1, ResponseCode::NoError));
    let question = read.queries.first().map(|question| (question.name().clone(), question.query_type()));
    assert_eq!(question, Some((record.name.clone(), record.record_type())));
    let address = match &record.data {
        RData::A(address) => Some(address.0.into()),
        RData::AAAA(address) => Some(address.0.into()),
        _ => None,
    };
    let text = record.name.to_ascii();
    let name = HostName::parse(text.strip_suffix('.').unwrap_or(&text));
    assert!(name.is_ok(), "{text} is no name of a host");
    assert_eq!(
        address.and_then(|address| names.name_of(address)),
        name.ok().as_ref(),
        "an address of another name"
    );
}
