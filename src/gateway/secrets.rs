//! Secrets that stay outside: what stands for each inside, and where the value takes its place.

use std::fmt;
use std::io;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, InvalidHeaderName};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::echo::{Case, percent};
use crate::policy::host::HostName;
use crate::sys::process;

/// The longest value, in bytes: servers take no longer header.
pub const MOST: usize = 16 * 1024;

/// Shorter ones are not imitated: a text of so few bytes may stand for itself.
const LEAST_ALIKE: usize = 16;

/// Nor those with fewer letters and digits that nobody knows: what looks like them may be the value itself.
const LEAST_RANDOM: usize = 12;

/// How keys of known services begin: what programs look at before they use one, and nothing secret.
const BEGINNINGS: &[&str] = &[
    "AIza",
    "AKIA",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glpat-",
    "gsk_",
    "hf_",
    "npm_",
    "pypi-",
    "r8_",
    "sk-",
    "sk-ant-",
    "sk-ant-api03-",
    "sk-ant-oat01-",
    "sk-or-v1-",
    "sk-proj-",
    "xai-",
    "xoxb-",
    "xoxp-",
];

/// Why a value cannot be used.
#[derive(Debug, Error)]
pub enum Error {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than {MOST} bytes")]
    Long,
    #[error("it holds a byte that no HTTP header carries")]
    Bytes,
    #[error("its `format` has no `{{}}`, or a byte that no HTTP header carries")]
    Format,
    #[error("there are no random numbers: {0}")]
    Random(#[from] io::Error),
}

/// What the gateway does with one secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The variable that holds the placeholder.
    pub name: String,
    pub host: HostName,
    pub port: u16,
    /// The header that always carries it; without, it takes the placeholder's place wherever that is sent.
    pub header: Option<HeaderName>,
    /// The header's value around `{}`.
    pub format: String,
    /// Only with these methods; with every one if there are none.
    pub methods: Vec<String>,
}

/// A secret and what stands for it inside.
pub struct Secret {
    pub what: Use,
    pub placeholder: String,
    value: Zeroizing<String>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Secret").field("what", &self.what).finish_non_exhaustive()
    }
}

/// A secret on its way to another process of pier.
#[derive(Serialize, Deserialize)]
pub struct Handed {
    name: String,
    host: HostName,
    port: u16,
    header: Option<String>,
    format: String,
    methods: Vec<String>,
    placeholder: String,
    value: Zeroizing<String>,
}

impl From<&Secret> for Handed {
    fn from(secret: &Secret) -> Self {
        let Secret { what: Use { name, host, port, header, format, methods }, placeholder, value } = secret;
        Handed {
            name: name.clone(),
            host: host.clone(),
            port: *port,
            header: header.as_ref().map(ToString::to_string),
            format: format.clone(),
            methods: methods.clone(),
            placeholder: placeholder.clone(),
            value: value.clone(),
        }
    }
}

impl TryFrom<&Handed> for Secret {
    type Error = InvalidHeaderName;

    fn try_from(handed: &Handed) -> Result<Self, InvalidHeaderName> {
        let Handed { name, host, port, header, format, methods, placeholder, value } = handed;
        let header = header.as_deref().map(str::parse).transpose()?;
        let (name, host, format) = (name.clone(), host.clone(), format.clone());
        let what = Use { name, host, port: *port, header, format, methods: methods.clone() };
        Ok(Secret { what, placeholder: placeholder.clone(), value: value.clone() })
    }
}

impl Secret {
    /// Takes a value of 1 to [`MOST`] bytes of printable ASCII.
    pub fn new(what: Use, value: &str) -> Result<Self, Error> {
        let printable = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        // A server that trims it would echo another text.
        let value = Zeroizing::new(value.trim().to_owned());
        if value.is_empty() {
            return Err(Error::Empty);
        }
        if value.len() > MOST {
            return Err(Error::Long);
        }
        if !printable(&value) {
            return Err(Error::Bytes);
        }
        if !printable(&what.format) || !what.format.contains("{}") {
            return Err(Error::Format);
        }
        let placeholder = placeholder(&value)?;
        Ok(Secret { what, placeholder, value })
    }

    /// Returns the value, what an answer that echoes it has instead, of the same length, and how many bytes of its
    /// beginning are no secret.
    pub fn echo(&self) -> (Zeroizing<Vec<u8>>, Vec<u8>, usize) {
        let value = Zeroizing::new(self.value.as_bytes().to_vec());
        if let Some((known, _)) = imitated(&self.value) {
            return (value, self.placeholder.clone().into_bytes(), known.len());
        }
        // A sign that is not in the value, so that what is around it cannot make a value of it.
        let mut signs = [b'*'].into_iter().chain(b'a'..=b'z').chain(b'A'..=b'Z');
        let sign = signs.find(|sign| !value.contains(sign)).unwrap_or(b'*');
        let instead = vec![sign; value.len()];
        (value, instead, 0)
    }

    /// Says whether it goes to a host, by some method.
    pub fn is_of(&self, host: &HostName, port: u16) -> bool {
        self.what.host == *host && self.what.port == port
    }

    fn is_for(&self, (host, port): (&HostName, u16), method: &str) -> bool {
        self.is_of(host, port)
            && (self.what.methods.is_empty() || self.what.methods.iter().any(|one| one == method))
    }
}

/// Returns the beginning that all keys of a service have, and the rest, which is imitated; `None` where the value is not.
fn imitated(value: &str) -> Option<(&str, &str)> {
    let known = BEGINNINGS.iter().filter(|known| value.starts_with(**known)).map(|known| known.len()).max();
    let (known, rest) = value.split_at_checked(known.unwrap_or(0))?;
    let random = rest.bytes().filter(u8::is_ascii_alphanumeric).count();
    (value.len() >= LEAST_ALIKE && random >= LEAST_RANDOM).then_some((known, rest))
}

/// Makes a text that looks like the value to whoever checks its length, its beginning and its kinds of letters.
fn placeholder(value: &str) -> Result<String, Error> {
    let (kept, rest) = imitated(value).unwrap_or(("pier-", "0aA0aA0aA0aA0aA0"));
    let mut random = vec![0; rest.len()];
    process::random(&mut random)?;
    let alike = rest.bytes().zip(random).map(|(byte, random)| {
        let among =
            |letters: &[u8]| letters.get(usize::from(random) % letters.len()).copied().unwrap_or(byte);
        char::from(match byte {
            b'a'..=b'z' => among(b"abcdefghijklmnopqrstuvwxyz"),
            b'A'..=b'Z' => among(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
            b'0'..=b'9' => among(b"0123456789"),
            // Few kinds of them are allowed in keys at all; blanks and quotes would need quoting inside.
            b'-' | b'_' | b'.' => byte,
            _ => b'-',
        })
    });
    Ok(kept.chars().chain(alike).collect())
}

/// What became of the placeholders in one request.
#[derive(Debug, PartialEq, Eq)]
pub enum Filled {
    /// With the names of the secrets that went along.
    Done { used: Vec<String>, query: Option<Zeroizing<String>> },
    /// A placeholder is sent where its secret does not belong.
    Stray { name: String },
}

/// Puts the secrets that belong to a host into a request for it.
///
/// `query` is the target's; a new one is returned where it held a placeholder.
pub fn fill(
    secrets: &[Secret],
    host: (&HostName, u16),
    method: &str,
    headers: &mut HeaderMap,
    target: &str,
) -> Filled {
    let mut used = Vec::new();
    let mut query: Option<Zeroizing<String>> = None;
    for secret in secrets {
        if !secret.is_for(host, method) {
            let stray = target.contains(&secret.placeholder)
                || headers.iter().any(|(name, value)| holds(name, value, &secret.placeholder));
            if stray {
                return Filled::Stray { name: secret.what.name.clone() };
            }
            continue;
        }
        if let Some(header) = &secret.what.header {
            // It belongs into that header alone.
            headers.remove(header);
            if target.contains(&secret.placeholder)
                || headers.iter().any(|(name, value)| holds(name, value, &secret.placeholder))
            {
                return Filled::Stray { name: secret.what.name.clone() };
            }
        }
        let mut sent = false;
        for (name, value) in headers.iter_mut() {
            if let Some(new) = replaced(name, value, secret) {
                *value = new;
                sent = true;
            }
        }
        let before = query.as_ref().map_or(target, |query| query.as_str());
        if let Some((path, asked)) = before.split_once('?')
            && asked.contains(&secret.placeholder)
        {
            let value = percent(secret.value.as_bytes(), b"-._~", Case::Upper, false);
            // It is ASCII.
            let value = std::str::from_utf8(&value).unwrap_or_default();
            let new = asked.replace(&secret.placeholder, value);
            query = Some(Zeroizing::new(format!("{path}?{new}")));
            sent = true;
        }
        if let Some(header) = &secret.what.header {
            let text = Zeroizing::new(secret.what.format.replace("{}", &secret.value));
            if let Some(value) = sensitive(text.as_bytes()) {
                headers.insert(header.clone(), value);
                sent = true;
            }
        }
        if sent {
            used.push(secret.what.name.clone());
        }
    }
    Filled::Done { used, query }
}

fn sensitive(bytes: &[u8]) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(bytes).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Returns what HTTP's basic authentication has inside.
fn basic(name: &HeaderName, value: &HeaderValue) -> Option<Zeroizing<String>> {
    if name != AUTHORIZATION {
        return None;
    }
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(BASE64_STANDARD.decode(encoded.trim()).ok()?);
    std::str::from_utf8(&decoded).ok().map(|text| Zeroizing::new(text.to_owned()))
}

fn holds(name: &HeaderName, value: &HeaderValue, placeholder: &str) -> bool {
    let plain = value.as_bytes().windows(placeholder.len()).any(|window| window == placeholder.as_bytes());
    plain || basic(name, value).is_some_and(|text| text.contains(placeholder))
}

fn replaced(name: &HeaderName, value: &HeaderValue, secret: &Secret) -> Option<HeaderValue> {
    if !holds(name, value, &secret.placeholder) {
        return None;
    }
    if let Some(text) = basic(name, value) {
        let text = Zeroizing::new(text.replace(&secret.placeholder, &secret.value));
        let encoded = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(text.as_bytes())));
        return sensitive(encoded.as_bytes());
    }
    let text = Zeroizing::new(value.to_str().ok()?.replace(&secret.placeholder, &secret.value));
    sensitive(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = "sk-ant-api03-AbCdEf0123456789_x-Y.z";

    fn secret(value: &str, header: Option<&str>, methods: &[&str]) -> Secret {
        let what = Use {
            name: "KEY".into(),
            host: HostName::parse("api.example").unwrap(),
            port: 443,
            header: header.map(|name| name.parse().unwrap()),
            format: "Bearer {}".into(),
            methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        };
        Secret::new(what, value).unwrap()
    }

    #[test]
    fn a_placeholder_looks_like_the_value_and_tells_nothing() {
        let secret = secret(VALUE, None, &[]);
        let made = &secret.placeholder;
        assert_eq!(made.len(), VALUE.len());
        assert!(made.starts_with("sk-ant-api03-") && made != VALUE, "{made}");
        for (made, given) in made.chars().zip(VALUE.chars()) {
            assert_eq!(made.is_ascii_digit(), given.is_ascii_digit(), "{made} {given}");
            assert_eq!(made.is_ascii_uppercase(), given.is_ascii_uppercase(), "{made} {given}");
        }
        assert_ne!(placeholder(VALUE).unwrap(), *made);
        for value in ["short", "--------------------", "sk-ant-api03-a-b-c-d"] {
            assert_eq!(placeholder(value).unwrap().len(), 21, "{value}");
        }
        assert!(!placeholder("correct-horse-battery-staple").unwrap().contains("correct"));
        assert!(!format!("{secret:?}").contains("AbCdEf"));
    }

    #[test]
    fn values_that_no_header_carries_are_refused() {
        let long = "a".repeat(MOST + 1);
        for value in ["", " ", "a\nb", "a\0b", "é", &long] {
            let what = secret(VALUE, None, &[]).what;
            assert!(Secret::new(what, value).is_err(), "{value:?}");
        }
    }

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse::<HeaderValue>().unwrap()))
            .collect()
    }

    #[test]
    fn the_value_goes_to_its_host_alone() {
        let secrets = [secret(VALUE, None, &["POST"])];
        let placeholder = secrets[0].placeholder.clone();
        let own = HostName::parse("api.example").unwrap();
        let bearer = [("authorization", format!("Bearer {placeholder}"))];
        let lines: Vec<_> = bearer.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut sent = headers(&lines);
        let done = fill(&secrets, (&own, 443), "POST", &mut sent, "/");
        assert_eq!(done, Filled::Done { used: vec!["KEY".into()], query: None });
        assert_eq!(sent["authorization"], format!("Bearer {VALUE}"));
        assert!(sent["authorization"].is_sensitive());
        for (host, port, method, target) in [
            ("api.example", 443, "GET", "/"),
            ("api.example", 8443, "POST", "/"),
            ("other.example", 443, "POST", "/"),
            ("a.api.example", 443, "POST", "/"),
        ] {
            let mut sent = headers(&lines);
            let host = HostName::parse(host).unwrap();
            assert_eq!(
                fill(&secrets, (&host, port), method, &mut sent, target),
                Filled::Stray { name: "KEY".into() }
            );
            assert_eq!(sent, headers(&lines));
        }
        let other = HostName::parse("other.example").unwrap();
        let target = format!("/?key={placeholder}");
        assert_eq!(
            fill(&secrets, (&other, 443), "POST", &mut HeaderMap::new(), &target),
            Filled::Stray { name: "KEY".into() }
        );
    }

    #[test]
    fn the_value_takes_the_place_in_basic_authentication_and_in_queries() {
        let secrets = [secret("token with / & blank", None, &[])];
        let own = HostName::parse("api.example").unwrap();
        let encoded = BASE64_STANDARD.encode(format!("x-access-token:{}", secrets[0].placeholder));
        let mut sent = headers(&[("authorization", &format!("basic {encoded}"))]);
        let target = format!("/v1?a=1&key={}&b", secrets[0].placeholder);
        let Filled::Done { used, query } = fill(&secrets, (&own, 443), "GET", &mut sent, &target) else {
            panic!()
        };
        assert_eq!(used, ["KEY"]);
        let encoded = BASE64_STANDARD.encode("x-access-token:token with / & blank");
        assert_eq!(sent["authorization"], format!("Basic {encoded}"));
        assert_eq!(query.unwrap().as_str(), "/v1?a=1&key=token%20with%20%2F%20%26%20blank&b");
    }

    #[test]
    fn a_header_that_is_named_is_always_set() {
        let secrets = [secret(VALUE, Some("x-api-key"), &[])];
        let own = HostName::parse("api.example").unwrap();
        let mut sent = headers(&[("x-api-key", "something else")]);
        fill(&secrets, (&own, 443), "GET", &mut sent, "/");
        assert_eq!(sent.get_all("x-api-key").iter().collect::<Vec<_>>(), [&format!("Bearer {VALUE}")]);
    }
}
