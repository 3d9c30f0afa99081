//! Names of hosts, and paths of requests.

use std::net::{IpAddr, Ipv4Addr};

use crate::policy::host::{Asked, Decision, Host, HostName, Pattern, Rule, decide, decide_request};

/// A name has one spelling, is no address for anybody, and a rule is about what it says.
pub fn host_name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(name) = HostName::of_person(text) {
        is_a_name(&name);
        rules_are_about(&name);
    }
    if let Ok(name) = HostName::parse(text) {
        assert_eq!(text.to_ascii_lowercase(), name.as_str());
        assert_eq!(HostName::of_person(text), Ok(name));
    }
    if let Ok(pattern) = Pattern::parse(text) {
        let spelled = pattern.to_string();
        assert_eq!(Pattern::parse(&spelled), Ok(pattern), "{spelled}");
    }
}

fn is_a_name(name: &HostName) {
    let text = name.as_str();
    assert_eq!(HostName::parse(text).as_ref(), Ok(name));
    assert_eq!(name.to_string(), text);
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    assert!(text.len() <= 253 && text.bytes().all(allowed), "{text}");
    assert!(text.split('.').all(|label| (1..=63).contains(&label.len())), "{text}");
    assert!(text.parse::<IpAddr>().is_err() && by_numbers(text).is_none(), "{text} is an address");
}

fn rules_are_about(name: &HostName) {
    let rule = |pattern| [Rule::allow(pattern, String::new())];
    let allowed = |pattern, name: &HostName| {
        matches!(decide(&rule(pattern), Host::Name(name), 443), Decision::Allowed(_))
    };
    assert!(allowed(Pattern::Name(name.clone()), name));
    assert!(!allowed(Pattern::Below(name.clone()), name));
    if let Ok(below) = HostName::parse(&format!("a.{name}")) {
        assert!(allowed(Pattern::Below(name.clone()), &below));
        assert!(!allowed(Pattern::Name(name.clone()), &below));
    }
    if let Ok(beside) = HostName::parse(&format!("a{name}")) {
        assert!(!allowed(Pattern::Below(name.clone()), &beside));
    }
}

/// Reads an address as old C libraries do: one to four numbers, decimal, octal or hexadecimal.
fn by_numbers(text: &str) -> Option<Ipv4Addr> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some("") => Some(0),
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None if text.starts_with('0') => u64::from_str_radix(text, 8).ok(),
        None => text.parse().ok(),
    };
    let parts = text.split('.').map(number).collect::<Option<Vec<u64>>>()?;
    let (last, first) = parts.split_last()?;
    let room = 8_u32.checked_mul(4_u32.checked_sub(u32::try_from(first.len()).ok()?)?)?;
    let fits = first.iter().all(|part| *part < 256) && *last < 1 << room;
    fits.then_some(Ipv4Addr::UNSPECIFIED)
}

/// A request that some server takes for one of another path is not decided by the path that it shows.
pub fn request_path(bytes: &[u8]) {
    let Ok(path) = std::str::from_utf8(bytes) else { return };
    // What a request can have in its first line.
    if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'?') {
        return;
    }
    let Ok(name) = HostName::parse("a.example") else { return };
    let rule = |allow, paths: Option<&str>| Rule {
        allow,
        paths: paths.map(str::to_owned),
        ..Rule::allow(Pattern::Name(name.clone()), String::new())
    };
    let allowed = |rules: &[Rule]| {
        let asked = Asked { method: "GET", path };
        matches!(decide_request(rules, Host::Name(&name), 443, &asked), Decision::Allowed(_))
    };
    let below = allowed(&[rule(true, Some("/v1/*"))]);
    let not_below = allowed(&[rule(true, None), rule(false, Some("/admin*"))]);
    let not_one = allowed(&[rule(true, None), rule(false, Some("/admin"))]);
    assert!(not_one || !not_below, "a longer `deny` allows more");
    for reading in readings(path.as_bytes()) {
        let text = String::from_utf8_lossy(&reading);
        let lower = reading.to_ascii_lowercase();
        assert!(!below || reading.starts_with(b"/v1/"), "`{path}` is `{text}`, which is not below /v1/");
        assert!(!not_below || !lower.starts_with(b"/admin"), "`{path}` is `{text}`, below /admin");
        assert!(!not_one || lower != b"/admin", "`{path}` is `{text}`");
    }
}

/// Returns what servers may take a path for.
fn readings(path: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for how in 0_u8..48 {
        let mut read = path.to_vec();
        if how & 1 != 0 {
            read = read.split(|byte| *byte == b'#').next().unwrap_or_default().to_vec();
        }
        for _ in 0..how >> 4 {
            read = decoded(&read);
        }
        if how & 2 != 0 {
            read.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
        }
        if how & 4 != 0 {
            let parts = read.split(|byte| *byte == b'/');
            let bare = |part: &[u8]| part.split(|byte| *byte == b';').next().unwrap_or_default().to_vec();
            read = parts.map(bare).collect::<Vec<_>>().join(&b'/');
        }
        if how & 8 != 0 {
            read = read.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
            read = overlong_decoded(&read);
        }
        found.push(resolved(&read));
    }
    found
}

fn decoded(path: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), path);
    while let [byte, tail @ ..] = rest {
        let escape = rest
            .get(1..3)
            .filter(|_| *byte == b'%')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        if let Some(escaped) = escape {
            out.push(escaped);
            rest = rest.get(3..).unwrap_or_default();
        } else {
            out.push(*byte);
            rest = tail;
        }
    }
    out
}

/// Reads two bytes that UTF-8 writes as one, which some programs take all the same.
fn overlong_decoded(path: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), path);
    while let [byte, tail @ ..] = rest {
        if let [first @ 0xc0..=0xc1, second @ 0x80..=0xbf, tail @ ..] = rest {
            out.push((first & 1) << 6 | (second & 0x3f));
            rest = tail;
        } else {
            out.push(*byte);
            rest = tail;
        }
    }
    out
}

/// Takes out empty parts, `.` and `..`.
fn resolved(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    let mut ends_open = false;
    for part in path.split(|byte| *byte == b'/') {
        ends_open = matches!(part, b"" | b"." | b"..");
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut out: Vec<u8> = parts.iter().flat_map(|part| [b"/", *part].concat()).collect();
    if ends_open {
        out.push(b'/');
    }
    out
}
