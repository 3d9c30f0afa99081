//! A known value, however often JSON has been written into JSON around it.
//!
//! Not its forms are looked for, of which there are many (writers differ in what they escape, in the case of `\u00e9`, in
//! `\/`), but the text is read as JSON reads it, up to three times over.

/// How many times a text may be a string of JSON.
const LEVELS: u8 = 3;

/// A value that is looked for.
#[derive(Debug)]
pub struct Known {
    chars: Vec<char>,
    first: u8,
    /// A writer may escape how it begins.
    is_escaped: bool,
}

impl Known {
    pub fn new(value: &str) -> Option<Self> {
        let first = *value.as_bytes().first()?;
        Some(Known { chars: value.chars().collect(), first, is_escaped: !first.is_ascii_alphanumeric() })
    }

    /// Says whether a text of it may begin with this byte.
    pub fn may_begin(&self, byte: u8) -> bool {
        byte == self.first || (byte == b'\\' && self.is_escaped)
    }

    /// Returns where it ends if it begins here; where it may end at several places, the last.
    pub fn ends(&self, bytes: &[u8], at: usize) -> Option<usize> {
        (0..=LEVELS).filter_map(|level| self.ends_at_level(bytes, at, level)).max()
    }

    fn ends_at_level(&self, bytes: &[u8], mut at: usize, level: u8) -> Option<usize> {
        for expected in &self.chars {
            let (found, next) = read(bytes, at, level)?;
            if found != *expected {
                return None;
            }
            at = next;
        }
        Some(at)
    }
}

/// Reads a character out of what is a string of JSON so many times, and says where the next one begins.
fn read(bytes: &[u8], at: usize, level: u8) -> Option<(char, usize)> {
    let Some(outer) = level.checked_sub(1) else { return character(bytes, at) };
    let (found, next) = read(bytes, at, outer)?;
    if found != '\\' {
        return Some((found, next));
    }
    let (escape, next) = read(bytes, next, outer)?;
    let plain = match escape {
        '"' | '\\' | '/' | '\'' => escape,
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => return by_number(bytes, next, outer),
        _ => return None,
    };
    Some((plain, next))
}

/// Reads what follows `\u`, and the second half of what JSON writes as two.
fn by_number(bytes: &[u8], at: usize, outer: u8) -> Option<(char, usize)> {
    let (unit, next) = four(bytes, at, outer)?;
    if let Some(found) = char::from_u32(u32::from(unit)) {
        return Some((found, next));
    }
    let (backslash, next) = read(bytes, next, outer)?;
    let (u, next) = read(bytes, next, outer)?;
    if (backslash, u) != ('\\', 'u') {
        return None;
    }
    let (second, next) = four(bytes, next, outer)?;
    let found = char::decode_utf16([unit, second]).next()?.ok()?;
    Some((found, next))
}

fn four(bytes: &[u8], mut at: usize, outer: u8) -> Option<(u16, usize)> {
    let mut unit = 0;
    for _ in 0..4 {
        let (digit, next) = read(bytes, at, outer)?;
        unit = unit << 4 | u16::try_from(digit.to_digit(16)?).ok()?;
        at = next;
    }
    Some((unit, at))
}

fn character(bytes: &[u8], at: usize) -> Option<(char, usize)> {
    let first = *bytes.get(at)?;
    if first.is_ascii() {
        return Some((char::from(first), at + 1));
    }
    let rest = bytes.get(at..bytes.len().min(at + 4))?;
    let found = rest.utf8_chunks().next()?.valid().chars().next()?;
    Some((found, at + found.len_utf8()))
}
