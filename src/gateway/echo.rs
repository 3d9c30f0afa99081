//! The forms in which an answer may echo a secret: as it is, and as requests carry it (a part of a query, basic
//! authentication), or JSON.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use zeroize::Zeroizing;

use super::secrets::{Secret, percent};

/// How many bytes of a value that nobody could guess have to be there for a piece of it to be taken out.
const PIECE: usize = 12;

/// Forms that are shorter, in bytes, may be anything else.
const LEAST_FORM: usize = 8;

/// One text to take out.
pub struct Echo {
    pub value: Zeroizing<Vec<u8>>,
    /// What is there instead, of the same length.
    pub instead: Vec<u8>,
    /// How much of the beginning is known.
    known: usize,
    /// How much of the beginning is taken out.
    least: usize,
}

/// The kinds of letters that a placeholder keeps.
fn kind(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' => b'a',
        b'A'..=b'Z' => b'A',
        b'0'..=b'9' => b'0',
        _ => b'-',
    }
}

impl Echo {
    /// `known` bytes of the beginning are no secret.
    pub fn new(value: Zeroizing<Vec<u8>>, instead: Vec<u8>, known: usize) -> Self {
        let least = value.len().min(known + PIECE);
        Echo { value, instead, known, least }
    }

    pub fn of(secret: &Secret) -> Self {
        let (value, instead, known) = secret.echo();
        Echo::new(value, instead, known)
    }

    /// Says whether a text is what the value may begin with, for all that is known of it.
    pub fn may_begin(&self, text: &[u8]) -> bool {
        let alike = |(at, (one, other)): (usize, (&u8, &u8))| {
            if at < self.known { one == other } else { kind(*one) == kind(*other) }
        };
        text.len() < self.value.len() && text.iter().zip(self.value.iter()).enumerate().all(alike)
    }

    /// Returns how many bytes of the value a text begins with, if that is enough of it.
    pub fn found(&self, text: &[u8]) -> Option<usize> {
        let same = text.iter().zip(self.value.iter()).take_while(|(one, other)| one == other).count();
        (same >= self.least).then_some(same)
    }

    /// Returns the other forms of a value.
    pub fn forms(secret: &Secret) -> Vec<Self> {
        let (value, instead, known) = secret.echo();
        let looks_alike = secret.placeholder.as_bytes() == instead.as_slice();
        // As much as nobody can guess, in each form.
        let certain = value.get(..known + PIECE).unwrap_or(&value);
        let form = |encode: &dyn Fn(&[u8]) -> Zeroizing<Vec<u8>>| {
            let text = encode(&value);
            if text.len() < LEAST_FORM || text == value {
                return None;
            }
            let alike =
                Some(encode(&instead).to_vec()).filter(|alike| looks_alike && alike.len() == text.len());
            let instead = alike.unwrap_or_else(|| vec![b'*'; text.len()]);
            Some(Echo { known: 0, least: encode(certain).len(), value: text, instead })
        };
        [
            &query as &dyn Fn(&[u8]) -> _,
            &json,
            &|bytes| base64(0, bytes),
            &|bytes| base64(1, bytes),
            &|bytes| base64(2, bytes),
        ]
        .into_iter()
        .filter_map(form)
        .collect()
    }
}

/// Values are ASCII; nothing of another one is lost.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

fn query(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(percent(text(bytes)).as_bytes().to_vec())
}

fn json(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::new());
    for byte in bytes {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out
}

/// Returns what all texts in base64 have in common that hold these bytes behind `before` others, counted in threes.
fn base64(before: usize, bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let all = Zeroizing::new([&[0; 2][..before], bytes].concat());
    let encoded = Zeroizing::new(BASE64_STANDARD_NO_PAD.encode(&*all).into_bytes());
    // A letter has six bits, and the first and the last one may have some of the neighbours'.
    let (first, end) = ((before * 8).div_ceil(6), all.len() * 8 / 6);
    Zeroizing::new(encoded.get(first..end).unwrap_or_default().to_vec())
}

/// Takes texts out of a stream without holding anything back, which could tell of what they are made: what has gone
/// already is at most as much as is too short to be taken out.
pub struct Mask {
    forms: Vec<Echo>,
    /// The last bytes that have gone, as they came.
    gone: Vec<u8>,
}

impl Mask {
    pub fn of<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        Mask { forms: secrets.into_iter().flat_map(Echo::forms).collect(), gone: Vec::new() }
    }

    pub fn push(&mut self, bytes: &mut [u8]) {
        let Some(longest) = self.forms.iter().map(|form| form.value.len()).max() else { return };
        let mut all = std::mem::take(&mut self.gone);
        let gone = all.len();
        all.extend_from_slice(bytes);
        // Where one begins another one may begin, too: what has come is looked at, not what is there instead.
        for at in 0..all.len() {
            let rest = all.get(at..).unwrap_or_default();
            let found = self.forms.iter().filter_map(|form| Some((form.found(rest)?, form)));
            let Some((length, form)) = found.max_by_key(|(length, _)| *length) else { continue };
            let skipped = gone.saturating_sub(at).min(length);
            let here = (at + skipped).saturating_sub(gone)..(at + length).saturating_sub(gone);
            if let (Some(there), Some(instead)) = (bytes.get_mut(here), form.instead.get(skipped..length)) {
                there.copy_from_slice(instead);
            }
        }
        self.gone = all.split_off(all.len().saturating_sub(longest.saturating_sub(1)));
    }

    /// Forgets what has gone: what comes is another text.
    pub fn end(&mut self) {
        self.gone.clear();
    }
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_STANDARD;

    use super::*;
    use crate::gateway::secrets::Use;
    use crate::policy::host::HostName;

    const VALUE: &str = "sk-ant-api03-AbCdEf0123456789_x-Y.z";

    fn secret(value: &str) -> Secret {
        let what = Use {
            name: "KEY".into(),
            host: HostName::parse("api.example").unwrap(),
            port: 443,
            header: None,
            format: "{}".into(),
            methods: Vec::new(),
        };
        Secret::new(what, value).unwrap()
    }

    fn masked(secret: &Secret, pieces: &[&[u8]]) -> String {
        let mut mask = Mask::of([secret]);
        let mut out = Vec::new();
        for piece in pieces {
            let mut piece = piece.to_vec();
            mask.push(&mut piece);
            out.extend(piece);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_value_in_basic_authentication_is_taken_out_whatever_is_before_it() {
        let secret = secret(VALUE);
        for (user, behind) in [("", ""), ("a", "b"), ("me", ":more"), ("x-access-token", "")] {
            let text = BASE64_STANDARD.encode(format!("{user}:{VALUE}{behind}"));
            let out = masked(&secret, &[text.as_bytes()]);
            let decoded = BASE64_STANDARD.decode(&out).unwrap();
            let decoded = String::from_utf8_lossy(&decoded);
            // The bits that are beside others' stay.
            assert!(decoded.contains(&secret.placeholder[1..VALUE.len() - 1]), "{decoded}");
            for cut in 0..text.len() {
                let (one, other) = text.as_bytes().split_at(cut);
                let out = masked(&secret, &[one, other]);
                let decoded = BASE64_STANDARD.decode(&out).unwrap();
                assert!(!String::from_utf8_lossy(&decoded).contains("56789_x-Y"), "{cut}");
            }
        }
    }

    #[test]
    fn a_value_in_a_query_or_in_json_is_taken_out() {
        let value = "correct/horse+battery\"staple\\42";
        let secret = secret(value);
        let query = percent(value);
        let json = serde_json::to_string(value).unwrap();
        for text in [query.as_str(), json.as_str()] {
            let out = masked(&secret, &[b"?key=", text.as_bytes(), b"&a"]);
            assert_eq!(out.len(), text.len() + 7);
            assert!(out.starts_with("?key=") && out.ends_with("&a"), "{out}");
            assert!(!out.contains("battery") && !out.contains("42"), "{out}");
        }
    }

    #[test]
    fn a_guess_is_not_told() {
        let secret = secret(VALUE);
        // The known beginning, and 11 letters more.
        for (before, guess) in [("a:", &VALUE[..24]), ("me:", &VALUE[..24]), (":", &VALUE[..24])] {
            let text = BASE64_STANDARD.encode(format!("{before}{guess}"));
            assert_eq!(masked(&secret, &[text.as_bytes()]), text, "{guess}");
        }
        // A short value is whole or not there.
        let short = self::secret("hunter2");
        let text = BASE64_STANDARD.encode("me:huntur2 me:hunte");
        assert_eq!(masked(&short, &[text.as_bytes()]), text);
        assert_ne!(masked(&short, &[BASE64_STANDARD.encode("me:hunter2").as_bytes()]), text);
    }
}
