//! What an answer may echo of a secret: the value as it is, and as requests, JSON and HTML write it.
//!
//! Only a whole value is taken out. If long beginnings were, somebody who knows the first letters could ask for the next
//! one, and see by how much is taken out whether it was right.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use zeroize::Zeroizing;

use super::secrets::Secret;

/// Forms that are shorter, in bytes, may be anything else.
const LEAST_FORM: usize = 8;

/// One text to take out.
pub struct Echo {
    pub value: Zeroizing<Vec<u8>>,
    /// What is there instead, of the same length.
    pub instead: Vec<u8>,
    /// How much of the beginning everybody knows.
    known: usize,
    letters: Letters,
}

/// What everybody may know of the letters behind the beginning.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Letters {
    /// The kind of each, as the placeholder shows them.
    Kinds,
    /// Which are letters and digits.
    Words,
    /// That they are of base64.
    Base64,
    /// Nothing.
    Any,
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

impl Letters {
    fn fit(self, one: u8, own: u8) -> bool {
        match self {
            Letters::Kinds => kind(one) == kind(own),
            Letters::Words => {
                matches!(one, b' '..=b'~') && one.is_ascii_alphanumeric() == own.is_ascii_alphanumeric()
            }
            Letters::Base64 => one.is_ascii_alphanumeric() || matches!(one, b'+' | b'/' | b'='),
            Letters::Any => one.is_ascii_graphic() || one == own,
        }
    }
}

impl Echo {
    /// Of a value of which nothing is known.
    pub fn of_unknown(value: Zeroizing<Vec<u8>>) -> Self {
        let instead = vec![b'*'; value.len()];
        Echo { value, instead, known: 0, letters: Letters::Words }
    }

    /// Returns the value as it is, and its other forms.
    pub fn all(secret: &Secret) -> Vec<Self> {
        let (value, instead, known) = secret.echo();
        let looks_alike = secret.placeholder.as_bytes() == instead.as_slice();
        let mut all: Vec<Echo> = Vec::new();
        for (encode, letters) in forms() {
            let text = encode(&value);
            let is_new = text != value && all.iter().all(|other| other.value != text);
            if text.len() < LEAST_FORM || !is_new {
                continue;
            }
            let alike =
                Some(encode(&instead).to_vec()).filter(|alike| looks_alike && alike.len() == text.len());
            let instead = alike.unwrap_or_else(|| vec![b'*'; text.len()]);
            let known = encode(value.get(..known).unwrap_or_default()).len();
            all.push(Echo { value: text, instead, known, letters });
        }
        let letters = if looks_alike { Letters::Kinds } else { Letters::Words };
        all.push(Echo { value, instead, known, letters });
        all
    }

    /// Says whether a text is what the value may begin with, for all that everybody knows of it: what is held back, and
    /// so where a stream is cut, is seen inside.
    pub fn may_begin(&self, text: &[u8]) -> bool {
        let alike = |(at, (one, own)): (usize, (&u8, &u8))| {
            if at < self.known { one == own } else { self.letters.fit(*one, *own) }
        };
        text.len() < self.value.len() && text.iter().zip(self.value.iter()).enumerate().all(alike)
    }
}

type Form = fn(&[u8]) -> Zeroizing<Vec<u8>>;

/// How programs write a text.
const FORMS: &[Form] = &[
    // In queries: all but what RFC 3986 lets be, in both spellings; what browsers do; forms.
    |bytes| percent(bytes, b"-._~", Case::Upper, false),
    |bytes| percent(bytes, b"-._~", Case::Lower, false),
    |bytes| percent(bytes, b"-._~!'()*", Case::Upper, false),
    |bytes| percent(bytes, b"-._*", Case::Upper, true),
    // In JSON: what has to be, with `/`, and what may stand in HTML.
    |bytes| written(bytes, &[(b'"', "\\\""), (b'\\', "\\\\")]),
    |bytes| written(bytes, &[(b'"', "\\\""), (b'\\', "\\\\"), (b'/', "\\/")]),
    |bytes| {
        written(
            bytes,
            &[(b'"', "\\\""), (b'\\', "\\\\"), (b'&', "\\u0026"), (b'<', "\\u003c"), (b'>', "\\u003e")],
        )
    },
    // In HTML.
    |bytes| {
        written(bytes, &[(b'&', "&amp;"), (b'<', "&lt;"), (b'>', "&gt;"), (b'"', "&quot;"), (b'\'', "&#39;")])
    },
    |bytes| {
        written(bytes, &[(b'&', "&amp;"), (b'<', "&lt;"), (b'>', "&gt;"), (b'"', "&#34;"), (b'\'', "&#x27;")])
    },
];

/// In basic authentication, behind a name of any length.
const BASIC: &[Form] = &[|bytes| base64(0, bytes), |bytes| base64(1, bytes), |bytes| base64(2, bytes)];

fn forms() -> impl Iterator<Item = (Form, Letters)> {
    let any = FORMS.iter().map(|form| (*form, Letters::Any));
    any.chain(BASIC.iter().map(|form| (*form, Letters::Base64)))
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Case {
    Upper,
    Lower,
}

/// Writes a text as a part of a query.
pub fn percent(bytes: &[u8], left: &[u8], case: Case, plus: bool) -> Zeroizing<Vec<u8>> {
    let digits: &[u8; 16] = if case == Case::Upper { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    let mut out = Zeroizing::new(Vec::with_capacity(bytes.len() * 3));
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || left.contains(byte) {
            out.push(*byte);
        } else if plus && *byte == b' ' {
            out.push(b'+');
        } else {
            out.extend([b'%', digits[usize::from(byte >> 4)], digits[usize::from(byte & 15)]]);
        }
    }
    out
}

/// Writes a text with something else for some of its signs.
fn written(bytes: &[u8], signs: &[(u8, &str)]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(bytes.len() * 6));
    for byte in bytes {
        match signs.iter().find(|(sign, _)| sign == byte) {
            Some((_, text)) => out.extend(text.as_bytes()),
            None => out.push(*byte),
        }
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

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_STANDARD;

    use super::*;
    use crate::gateway::redact::Redactor;
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

    fn taken_out(secret: &Secret, pieces: &[&[u8]]) -> String {
        let mut redactor = Redactor::of([secret]);
        let mut out: Vec<u8> = pieces.iter().flat_map(|piece| redactor.push(piece)).collect();
        out.extend(redactor.rest());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_value_in_basic_authentication_is_taken_out_whatever_is_before_it() {
        let secret = secret(VALUE);
        for (user, behind) in [("", ""), ("a", "b"), ("me", ":more"), ("x-access-token", "")] {
            let text = BASE64_STANDARD.encode(format!("{user}:{VALUE}{behind}"));
            for cut in 0..text.len() {
                let (one, other) = text.as_bytes().split_at(cut);
                let out = taken_out(&secret, &[one, other]);
                let decoded = BASE64_STANDARD.decode(&out).unwrap();
                let decoded = String::from_utf8_lossy(&decoded);
                // The bits that are beside others' stay.
                assert!(decoded.contains(&secret.placeholder[1..VALUE.len() - 1]), "{cut}: {decoded}");
            }
        }
    }

    #[test]
    fn a_value_is_taken_out_as_programs_write_it() {
        let value = "correct/horse&battery\"staple\\42 <x>!'";
        let secret = secret(value);
        for text in [
            "correct%2Fhorse%26battery%22staple%5C42%20%3Cx%3E%21%27",
            "correct%2fhorse%26battery%22staple%5c42%20%3cx%3e%21%27",
            "correct%2Fhorse%26battery%22staple%5C42%20%3Cx%3E!'",
            "correct%2Fhorse%26battery%22staple%5C42+%3Cx%3E%21%27",
            r#"correct/horse&battery\"staple\\42 <x>!'"#,
            r#"correct\/horse&battery\"staple\\42 <x>!'"#,
            r#"correct/horse\u0026battery\"staple\\42 \u003cx\u003e!'"#,
            "correct/horse&amp;battery&quot;staple\\42 &lt;x&gt;!&#39;",
            "correct/horse&amp;battery&#34;staple\\42 &lt;x&gt;!&#x27;",
        ] {
            let out = taken_out(&secret, &[b"?key=", text.as_bytes(), b" a"]);
            assert_eq!(out, format!("?key={} a", "*".repeat(text.len())), "{text}");
        }
    }

    #[test]
    fn a_guess_tells_nothing_but_that_it_is_whole() {
        for value in
            [VALUE, "hunter2!", "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NSJ9.Qx7_zR3kPw9LmN2v"]
        {
            let secret = secret(value);
            for length in 1..value.len() {
                let text = format!("#{}# {}", &value[..length], BASE64_STANDARD.encode(&value[..length - 1]));
                assert_eq!(taken_out(&secret, &[text.as_bytes()]), text, "{length}");
            }
            assert!(!taken_out(&secret, &[value.as_bytes()]).contains(value));
        }
    }

    #[test]
    fn what_is_held_back_of_a_form_tells_nothing_of_its_letters() {
        let secret = secret(VALUE);
        // Of the known beginning `sk-ant-api03-` in base64, and then of anything.
        for (text, held) in [
            ("c2stYW50LWFwaTAzLUFi", 20),
            ("c2stYW50LWFwaTAzLzzz", 20),
            ("c2stYW50LWFwaTAzz.,;", 0),
            ("....", 0),
        ] {
            let mut redactor = Redactor::of([&secret]);
            assert_eq!(redactor.push(text.as_bytes()).len(), text.len() - held, "{text}");
        }
    }
}
