//! Where the messages of a WebSocket end: RFC 6455, section 5.2.

/// How far a stream of frames has been read.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    /// Of the frame whose header is not whole yet: 14 bytes at the most.
    header: Vec<u8>,
    /// Bytes of the frame that are to come.
    left: u64,
    /// More frames of the same message follow.
    goes_on: bool,
}

impl Frames {
    /// Goes on to the end of a message, or of the bytes; returns how many bytes these were, and whether one has ended.
    pub fn read(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if self.left > 0 {
                let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.left -= here as u64;
                at += here;
            } else {
                self.header.push(*byte);
                at += 1;
                let Some(length) = self.length() else { continue };
                // Those above are about the connection, and may stand between the frames of a message.
                let (last, kind) = (self.header[0] & 0x80 != 0, self.header[0] & 0x0f);
                if kind < 8 {
                    self.goes_on = !last;
                }
                self.left = length;
                self.header.clear();
            }
            if self.left == 0 && !self.goes_on {
                return (at, true);
            }
        }
        (at, false)
    }

    /// Returns the length that a whole header says.
    fn length(&self) -> Option<u64> {
        let [_, second, rest @ ..] = self.header.as_slice() else { return None };
        let mask = if second & 0x80 != 0 { 4 } else { 0 };
        let more = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        (rest.len() == more + mask).then(|| match more {
            0 => u64::from(second & 0x7f),
            more => number(&rest[..more]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns where messages end, for pieces of this size.
    fn ends(bytes: &[u8], size: usize) -> Vec<usize> {
        let (mut frames, mut at, mut found) = (Frames::default(), 0, Vec::new());
        for piece in bytes.chunks(size) {
            let mut rest = piece;
            while !rest.is_empty() {
                let (length, ended) = frames.read(rest);
                at += length;
                rest = &rest[length..];
                if ended {
                    found.push(at);
                }
            }
        }
        found
    }

    #[test]
    fn messages_end_where_they_end_however_they_arrive() {
        let mut bytes = vec![0x81, 2, b'o', b'k', 0x89, 0, 0x82, 126, 0, 200];
        bytes.extend([7; 200]);
        // One in two frames, with a question between them, and one with a mask.
        bytes.extend([
            0x01, 1, b'a', 0x89, 1, b'?', 0x80, 1, b'b', 0x81, 0x81, 1, 2, 3, 4, b'x', 0x81, 127, 0, 0,
        ]);
        for size in [1, 2, 3, 7, 1000] {
            assert_eq!(ends(&bytes, size), [4, 6, 210, 219, 226], "{size}");
        }
    }
}
