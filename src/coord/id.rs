//! Ids of items: `KEY-CODE-YYYYMMDD-HHMMSS-NNN`.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The most ids of one key and kind in one second.
const MOST: u16 = 999;

/// Returns a key as ids have it.
pub fn key(text: &str) -> String {
    let key: String = text.to_uppercase().chars().filter(char::is_ascii_alphanumeric).collect();
    if key.is_empty() { "ITEM".to_owned() } else { key }
}

/// Returns a time as items have it.
pub fn time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Returns the first id of this second, or of a later one, that nobody has; counting begins at `from`.
pub fn fresh(key: &str, code: &str, at: Timestamp, from: u16, taken: &dyn Fn(&str) -> bool) -> String {
    let mut second = at.as_second();
    loop {
        let at = Timestamp::from_second(second).unwrap_or_default().to_zoned(TimeZone::UTC);
        let stem = format!("{key}-{code}-{}", at.strftime("%Y%m%d-%H%M%S"));
        let start = from.clamp(1, MOST);
        let numbers = (start..=MOST).chain(1..start);
        let free = numbers.map(|number| format!("{stem}-{number:03}")).find(|id| !taken(id));
        if let Some(id) = free {
            return id;
        }
        second += 1;
    }
}

/// Returns the code in an id of this form; `None` for another.
pub fn code(id: &str) -> Option<&str> {
    let mut parts = id.split('-');
    let is = |part: &str, most: usize, of: fn(&char) -> bool| {
        (1..=most).contains(&part.len()) && part.chars().all(|c| of(&c))
    };
    let upper: fn(&char) -> bool = |c| c.is_ascii_uppercase() || c.is_ascii_digit();
    let digits = |part: &str, count| part.len() == count && part.bytes().all(|byte| byte.is_ascii_digit());
    let (key, code) = (parts.next()?, parts.next()?);
    let rest = [parts.next()?, parts.next()?, parts.next()?];
    let form = is(key, usize::MAX, upper)
        && is(code, 4, upper)
        && digits(rest[0], 8)
        && digits(rest[1], 6)
        && digits(rest[2], 3);
    (form && parts.next().is_none()).then_some(code)
}

/// Says whether a text can be the id of an item, and with it the name of its file.
pub fn is_id(text: &str) -> bool {
    let letters = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=200).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(letters)
        && !text.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_999_ids_and_then_comes_the_next() {
        let at = Timestamp::from_second(1_780_000_000).unwrap();
        assert_eq!(fresh("P", "ISS", at, 1, &|_| false), "P-ISS-20260528-202640-001");
        assert_eq!(fresh("P", "ISS", at, 700, &|id| id.ends_with("-700")), "P-ISS-20260528-202640-701");
        let full = |id: &str| id.contains("-202640-");
        assert_eq!(fresh("P", "ISS", at, 1, &full), "P-ISS-20260528-202641-001");
        assert_eq!(time(at), "2026-05-28T20:26:40Z");
    }

    #[test]
    fn ids_are_told_from_other_names() {
        assert_eq!(code("PIENV-ISS-20260607-204155-001"), Some("ISS"));
        for other in ["P-ISS-1", "p-ISS-20260607-204155-001", "P-ISSUE-20260607-204155-001", "x", ""] {
            assert_eq!(code(other), None, "{other}");
        }
        assert!(is_id("legacy.1_a") && !is_id("../x") && !is_id("") && !is_id("a/b") && !is_id("-x"));
        assert_eq!((key("Pi env!"), key("é")), ("PIENV".to_owned(), "ITEM".to_owned()));
    }
}
