//! A second reader of heads of HTTP/1, which takes no liberties: RFC 9112 by its letter.

/// A head in its parts.
pub struct Head<'a> {
    pub method: &'a str,
    pub target: &'a str,
    pub minor: u8,
    /// With names in small letters.
    pub fields: Vec<(String, &'a [u8])>,
    /// How many bytes it was, with the empty lines before it.
    pub length: usize,
}

impl<'a> Head<'a> {
    /// Returns every value of a name.
    pub fn all(&self, name: &str) -> Vec<&'a [u8]> {
        self.fields.iter().filter(|(own, _)| own == name).map(|(_, value)| *value).collect()
    }
}

/// Returns the line at the beginning, without its end, and what follows.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let (line, rest) = (bytes.get(..at)?, bytes.get(at + 2..)?);
    line.iter().all(|byte| !matches!(byte, b'\r' | b'\n' | 0)).then_some((line, rest))
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty()
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// Reads the head at the beginning; `None` where there is none, or it is not whole.
pub fn read(bytes: &[u8]) -> Option<Head<'_>> {
    let mut rest = bytes;
    while let Some(tail) = rest.strip_prefix(b"\r\n") {
        rest = tail;
    }
    let (first, mut rest) = line(rest)?;
    let mut words = std::str::from_utf8(first).ok()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let minor = match version {
        "HTTP/1.0" => 0,
        "HTTP/1.1" => 1,
        _ => return None,
    };
    let is_target = !target.is_empty() && target.chars().all(|letter| !letter.is_ascii_control());
    if words.next().is_some() || !is_token(method.as_bytes()) || !is_target {
        return None;
    }
    let mut fields = Vec::new();
    loop {
        let (field, tail) = line(rest)?;
        rest = tail;
        if field.is_empty() {
            let length = bytes.len() - rest.len();
            return Some(Head { method, target, minor, fields, length });
        }
        let colon = field.iter().position(|byte| *byte == b':')?;
        let (name, value) = (field.get(..colon)?, field.get(colon + 1..)?);
        let is_value = value.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control());
        if !is_token(name) || !is_value {
            return None;
        }
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        fields.push((name, trimmed(value)));
    }
}

fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
