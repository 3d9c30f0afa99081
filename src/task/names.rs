//! What names of packages, services, steps and headers consist of.

use icu_normalizer::ComposingNormalizerBorrowed;

/// Says whether a text is `organisation/name`.
pub fn is_package(text: &str) -> bool {
    let part = |part: &str| is_word(part) && !part.contains("..");
    text.split_once('/').is_some_and(|(organisation, name)| part(organisation) && part(name))
}

/// Says whether a text can name a service of a Compose file: a letter or digit, then also `_`, `.` and `-`.
pub fn is_service(text: &str) -> bool {
    is_word(text)
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Says whether a text is the name of an HTTP header.
pub fn is_header(text: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+.^_`|~-".contains(&byte);
    !text.is_empty() && text.bytes().all(token)
}

/// Names that Windows keeps for devices, whatever follows a dot.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];

/// Says whether a text can name a directory on every host.
///
/// # Errors
/// Says why not.
pub fn check_step(name: &str) -> Result<(), &'static str> {
    let stem = name.split('.').next().unwrap_or_default().trim_end_matches(' ').to_lowercase();
    let number = stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt")).unwrap_or_default();
    let mut digits = number.chars();
    let numbered = matches!((digits.next(), digits.next()), (Some('1'..='9' | '¹' | '²' | '³'), None));
    if name.trim().is_empty() {
        Err("it is empty")
    } else if name.ends_with(['.', ' ']) {
        Err("it ends in a dot or a space, which some hosts drop")
    } else if name.contains(['<', '>', ':', '"', '/', '\\', '|', '?', '*'])
        || name.contains(|c: char| c.is_ascii_control())
    {
        Err("it must name one directory, without separators, control characters or any of `<>:\"|?*`")
    } else if DEVICES.contains(&stem.as_str()) || numbered {
        Err("Windows keeps this name for a device")
    } else if name.len() > 255 {
        Err("it is longer than 255 bytes")
    } else {
        Ok(())
    }
}

/// Returns what two names have in common that are one directory on some host.
pub fn step_key(name: &str) -> String {
    let composed = ComposingNormalizerBorrowed::new_nfc().normalize(name);
    // Upper case first: `ß` and `ss`, and both small sigmas, are the same to a host that ignores case.
    composed.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// Reads the shape of a TPU slice: `2x4`, `2x2x1`.
pub fn topology(text: &str) -> Option<&str> {
    let text = text.trim();
    let dimension = |part: &str| !part.starts_with('0') && part.bytes().all(|byte| byte.is_ascii_digit());
    let valid = text.contains('x') && text.split('x').all(|part| !part.is_empty() && dimension(part));
    valid.then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_are_one_directory_somewhere_have_one_key() {
        for (one, other) in
            [("A", "a"), ("e\u{301}", "é"), ("É", "e\u{301}"), ("straße", "STRASSE"), ("ΟΔΟΣ", "οδος")]
        {
            assert_eq!(step_key(one), step_key(other), "{one} {other}");
        }
        assert_ne!(step_key("a"), step_key("b"));
    }

    #[test]
    fn names_of_steps_are_portable() {
        for name in
            ["s1", "a b", "über", "console", "com0", "com10", "a.con", ".hidden", "x".repeat(255).as_str()]
        {
            assert_eq!(check_step(name), Ok(()), "{name}");
        }
        let long = "x".repeat(256);
        let bad =
            ["", " ", ".", "..", "a.", "a ", "a/b", "a\\b", "a:b", "a\u{7f}", "CON", "con.txt", "nul .x"];
        for name in bad.into_iter().chain(["COM1", "lpt³", "conin$", long.as_str()]) {
            assert!(check_step(name).is_err(), "{name:?}");
        }
    }
}
