//! Sizes, durations, shell words and safe printing: values as people write and read them.

use std::time::Duration;

use jiff::SignedDuration;

/// Units of sizes and their bytes; the largest that divides a size is printed.
const UNITS: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1000),
    ("B", 1),
];

/// Parses `8GiB`, `1.5 MB` or `512B`; a unit is required, so that no number is taken for the wrong one.
///
/// # Errors
/// Says what is expected, as a fragment that fits after "… must be ".
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    const EXPECTED: &str = "a size such as `512MiB`, `8GiB` or `500MB`";
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = unit.trim_start_matches(' ');
    let factor = UNITS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        .map(|(_, factor)| *factor)
        .ok_or_else(|| EXPECTED.to_owned())?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || number.ends_with('.') || fraction.len() > 6 || fraction.contains('.') {
        return Err(EXPECTED.to_owned());
    }
    let too_large = || "a size below 16 EiB".to_owned();
    let mut bytes = whole.parse::<u128>().map_err(|_| too_large())?.checked_mul(u128::from(factor));
    if !fraction.is_empty() {
        let part: u128 = fraction.parse().map_err(|_| EXPECTED.to_owned())?;
        let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(6));
        bytes = bytes.and_then(|bytes| bytes.checked_add(part * u128::from(factor) / scale));
    }
    bytes.and_then(|bytes| u64::try_from(bytes).ok()).ok_or_else(too_large)
}

/// Prints a size so that [`parse_bytes`] gives the same number back.
pub fn print_bytes(bytes: u64) -> String {
    let (name, factor) =
        UNITS.iter().find(|(_, factor)| bytes != 0 && bytes.is_multiple_of(*factor)).unwrap_or(&("B", 1));
    format!("{}{name}", bytes / factor)
}

/// Parses `90s`, `2h` or `1h30m`; more than zero.
///
/// # Errors
/// Says what is expected, as a fragment that fits after "… must be ".
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "a duration such as `90s`, `2h` or `1h30m`";
    let parsed: SignedDuration = text.parse().map_err(|_| EXPECTED.to_owned())?;
    match Duration::try_from(parsed) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(format!("{EXPECTED}, more than zero")),
    }
}

/// Prints a duration so that [`parse_duration`] gives the same one back.
pub fn print_duration(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    let mut text = String::new();
    for (count, unit) in [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")] {
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    for (count, unit) in [(nanos / 1_000_000, "ms"), (nanos / 1000 % 1000, "us"), (nanos % 1000, "ns")] {
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Quotes one word for a POSIX shell, only where it needs it.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    if word.chars().any(is_unsafe_char) {
        return format!("$'{}'", word.chars().map(ansi_c).collect::<String>());
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Writes one character for `$'…'`, which POSIX has since 2024: nothing in it steers the terminal it is shown on.
fn ansi_c(c: char) -> String {
    match c {
        '\'' | '\\' => format!("\\{c}"),
        '\n' => "\\n".to_owned(),
        '\t' => "\\t".to_owned(),
        c if is_unsafe_char(c) => {
            // Octal has at most three digits, so that nothing after it is taken for one.
            let octal = |byte: u8| format!("\\{byte:03o}");
            c.encode_utf8(&mut [0; 4]).bytes().map(octal).collect::<Vec<_>>().concat()
        }
        c => c.to_string(),
    }
}

/// Joins words into a line that a POSIX shell splits into the same words.
pub fn shell_line<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(shell_word).collect::<Vec<_>>().join(" ")
}

/// Says whether `c` could steer a terminal, reorder a line, or not be seen at all: controls, the Unicode marks of
/// direction, and characters without a width, which make two names look like one.
pub fn is_unsafe_char(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}'..='\u{1160}' | '\u{180E}'
            | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}'
            | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF9}'..='\u{FFFB}'
            | '\u{E0000}'..='\u{E0FFF}')
}

/// Writes every character that could steer a terminal as `\u{1b}`, line breaks and tabs included.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_unsafe_char(c) => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// Writes the characters of a JSON document that could steer a terminal as JSON itself can: `\u009b`.
pub fn json_text(document: &str) -> String {
    let mut out = String::with_capacity(document.len());
    for c in document.chars() {
        // Line breaks of the document; in its texts they are escaped already.
        if c == '\n' || !is_unsafe_char(c) {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

/// Like [`escape`] for a name, which may be any bytes: those that are no UTF-8 become `\x{ff}`.
///
/// A backslash is doubled, so that two names never look alike.
pub fn escape_name(name: &[u8]) -> String {
    let mut out = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        out.push_str(&escape(&chunk.valid().replace('\\', "\\\\")));
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{{{byte:x}}}"));
        }
    }
    out
}

/// Like [`escape`] for text of several lines: keeps `\n` and tabs.
pub fn escape_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if is_unsafe_char(c) => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// Writes how many there are: `1 step`, `2 steps`.
pub fn counted(count: impl TryInto<u64>, one: &str, more: &str) -> String {
    // What does not fit is more than one.
    let count = count.try_into().unwrap_or(u64::MAX);
    format!("{count} {}", if count == 1 { one } else { more })
}

/// Says whether a text is `MAJOR.MINOR.PATCH` with an optional `-PRERELEASE`: a version, and no range or tag.
pub fn is_exact_version(text: &str) -> bool {
    let (core, rest) = text.split_once('-').map_or((text, None), |(core, rest)| (core, Some(rest)));
    let numbers: Vec<&str> = core.split('.').collect();
    let number = |part: &&str| {
        (1..=9).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && (part.len() == 1 || !part.starts_with('0'))
    };
    let label = |rest: &str| {
        rest.len() <= 64
            && rest.split('.').all(|part| {
                !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            })
    };
    numbers.len() == 3 && numbers.iter().all(number) && rest.is_none_or(label)
}

/// Returns the name closest to `word`, if one is close enough to be meant.
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |name: &&str| word.eq_ignore_ascii_case(name);
    let distance = |name: &'a str| (strsim::damerau_levenshtein(word, name), name);
    let names: Vec<&str> = names.into_iter().collect();
    if let Some(same) = names.iter().copied().find(|name| near(name)) {
        return Some(same);
    }
    // Long words cost the square of their length and cannot be a slip of the fingers.
    if word.len() > 64 {
        return None;
    }
    let close = names.into_iter().map(distance).filter(|(far, name)| *far <= name.len().max(3) / 3);
    close.min().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_unit() {
        for (text, bytes) in [
            ("8GiB", 8 << 30),
            ("500MB", 500_000_000),
            ("1.5KiB", 1536),
            ("0B", 0),
            ("2 gib", 2 << 30),
            ("16777215TiB", 16_777_215 << 40),
            ("18446744073709551615B", u64::MAX),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "8", "GiB", "8 G", "-1B", "1.B", ".5B", "1..5B", "1.2.3B", "16777216TiB", "8GiB "] {
            parse_bytes(text).unwrap_err();
        }
    }

    #[test]
    fn durations_are_read() {
        for (text, seconds) in [("2h", 7200), ("1h30m", 5400), ("90s", 90), ("1m", 60)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "2", "h", "0s", "-1h", "1 fortnight"] {
            parse_duration(text).unwrap_err();
        }
    }

    #[test]
    fn what_is_counted_is_one_or_more() {
        let said = |count: usize| counted(count, "step has", "steps have");
        assert_eq!([said(0), said(1), said(2)], ["0 steps have", "1 step has", "2 steps have"]);
    }

    #[test]
    fn shell_words_are_quoted_where_they_need_it() {
        assert_eq!(shell_line(["ls", "-l", "a b", "it's", "", "$x"]), r"ls -l 'a b' 'it'\''s' '' '$x'");
    }

    #[test]
    fn shell_words_steer_no_terminal() {
        assert_eq!(shell_word("a'\\\n\u{1b}1\u{9b}é"), r"$'a\'\\\n\0331\302\233é'");
    }

    #[test]
    fn json_says_the_same_without_steering() {
        let value = serde_json::json!({ "a\u{9b}31m": "\u{202e}\n\u{e0001}é" });
        let text = json_text(&serde_json::to_string_pretty(&value).unwrap());
        assert!(text.chars().all(|c| c == '\n' || !is_unsafe_char(c)), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    #[test]
    fn terminal_controls_are_written_out() {
        assert_eq!(escape("a\u{1b}[31m\n\u{202e}é"), "a\\u{1b}[31m\\n\\u{202e}é");
        assert_eq!(escape("to\u{200b}ols\u{e0041}"), "to\\u{200b}ols\\u{e0041}");
        assert_eq!(escape_lines("a\tb\n\u{9b}"), "a\tb\n\\u{9b}");
        assert_eq!(escape_name(b"a\xffb\n\\n\xc3\xa9\xc3"), "a\\x{ff}b\\n\\\\n\u{e9}\\x{c3}");
    }

    proptest::proptest! {
        #[test]
        fn printed_sizes_and_durations_read_back(bytes: u64, nanos in 1_u64..) {
            assert_eq!(parse_bytes(&print_bytes(bytes)), Ok(bytes));
            let duration = Duration::from_nanos(nanos);
            assert_eq!(parse_duration(&print_duration(duration)), Ok(duration));
        }
    }
}
