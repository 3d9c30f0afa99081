//! Numbers that are written as texts, by the rules of the reader that tasks are written for.

/// Reads a number: `1.5`, `1_000`, ` 2 `, `1e3`, `inf` or `nan`; spaces and separators exclude each other.
pub fn float(text: &str) -> Option<f64> {
    if text.contains('_') { without_separators(text)?.parse().ok() } else { text.trim().parse().ok() }
}

/// Reads a whole number: `2`, `+2`, `1_000`, and `2.0`.
pub fn integer(text: &str) -> Option<i64> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.is_empty() || fraction.bytes().any(|digit| digit != b'0') {
        return None;
    }
    without_separators(whole)?.parse().ok()
}

/// Returns the whole number that a float is, if it is one.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
pub fn exact(number: f64) -> Option<i64> {
    // 2^63 is a float; what is below it in size fits.
    let fits = number.abs() < 9_223_372_036_854_775_808.0;
    (fits && number.trunc().to_bits() == number.to_bits()).then_some(number as i64)
}

/// Takes underscores out that stand between two digits; there may be no others.
fn without_separators(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    for (at, _) in text.match_indices('_') {
        let digit =
            |index: Option<usize>| index.and_then(|index| bytes.get(index)).is_some_and(u8::is_ascii_digit);
        if !digit(at.checked_sub(1)) || !digit(at.checked_add(1)) {
            return None;
        }
    }
    Some(text.replace('_', ""))
}
