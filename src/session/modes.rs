//! The private modes of a terminal that a program has switched on: what one who comes later needs, and what one who
//! leaves has to undo.

use std::collections::BTreeMap;

/// Modes that matter to another terminal: cursor, mouse, focus, alternate screen, pasting. DEC private modes of
/// xterm's control sequences.
const KNOWN: &[u16] = &[1, 7, 25, 47, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 1047, 1049, 2004];

/// Those that are on without being asked for.
const USUAL: &[u16] = &[7, 25];

/// The longest sequence that is followed, in bytes.
const LONGEST: usize = 32;

/// Follows `ESC [ ? … h` and `… l` in a stream, wherever it is cut.
#[derive(Debug, Default)]
pub struct Modes {
    changed: BTreeMap<u16, bool>,
    /// The beginning of a sequence.
    partial: Vec<u8>,
}

impl Modes {
    pub fn follow(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.partial.push(*byte);
            let start = b"\x1b[?";
            let length = self.partial.len();
            if length <= start.len() {
                if self.partial != start[..length] {
                    self.partial.clear();
                    // This byte may begin the next one.
                    self.partial.extend((*byte == start[0]).then_some(*byte));
                }
                continue;
            }
            match byte {
                b'0'..=b'9' | b';' if length < LONGEST => {}
                b'h' | b'l' => {
                    self.switch(*byte == b'h');
                    self.partial.clear();
                }
                _ => {
                    self.partial.clear();
                    self.partial.extend((*byte == start[0]).then_some(*byte));
                }
            }
        }
    }

    fn switch(&mut self, on: bool) {
        let text = String::from_utf8_lossy(&self.partial[3..self.partial.len() - 1]).into_owned();
        for mode in text.split(';').filter_map(|mode| mode.parse().ok()).filter(|mode| KNOWN.contains(mode)) {
            if on == USUAL.contains(&mode) {
                self.changed.remove(&mode);
            } else {
                self.changed.insert(mode, on);
            }
        }
    }

    /// What brings a fresh terminal to these modes.
    pub fn enter(&self) -> String {
        self.changed.iter().map(|(mode, on)| sequence(*mode, *on)).collect()
    }

    /// What brings a terminal of these modes back; colours are reset as well.
    pub fn leave(&self) -> String {
        let undo: String = self.changed.iter().map(|(mode, on)| sequence(*mode, !on)).collect();
        undo + "\x1b[0m"
    }
}

fn sequence(mode: u16, on: bool) -> String {
    format!("\x1b[?{mode}{}", if on { 'h' } else { 'l' })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_followed_wherever_the_stream_is_cut() {
        let stream = b"a\x1b\x1b[?1049h\x1b[?25l\x1b[?1000;1006hx\x1b[31m\x1b[?1006l\x1b[?9999h\x1b[?12";
        for cut in 0..stream.len() {
            let mut modes = Modes::default();
            modes.follow(&stream[..cut]);
            modes.follow(&stream[cut..]);
            assert_eq!(modes.enter(), "\x1b[?25l\x1b[?1000h\x1b[?1049h", "{cut}");
            assert_eq!(modes.leave(), "\x1b[?25h\x1b[?1000l\x1b[?1049l\x1b[0m");
        }
    }

    #[test]
    fn a_program_that_cleans_up_leaves_nothing_to_undo() {
        let mut modes = Modes::default();
        modes.follow(b"\x1b[?1049h\x1b[?25l text \x1b[?25h\x1b[?1049l");
        assert_eq!(modes.enter(), "");
    }
}
