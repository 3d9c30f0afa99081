//! The value of one line: read as lenient tools do, written so that every YAML library reads the same text.

/// Reads what stands behind the colon of a line. Nothing, `null` and `~` are the empty text.
pub fn read(text: &str) -> String {
    let text = text.trim();
    let quoted = match text.chars().next() {
        Some('\'') => single(&text[1..]),
        Some('"') => double(&text[1..]),
        _ => None,
    };
    if let Some(value) = quoted {
        return value;
    }
    let plain = comment(text).map_or(text, |found| text[..text.len() - found.len()].trim_end());
    match plain {
        "null" | "Null" | "NULL" | "~" => String::new(),
        plain if plain.starts_with('#') => String::new(),
        plain => plain.to_owned(),
    }
}

/// Reads up to the closing quote; `None` where there is none, or something else behind it.
fn single(rest: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = rest.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' if chars.next_if(|(_, next)| *next == '\'').is_some() => out.push('\''),
            '\'' => return is_over(&rest[at + 1..]).then_some(out),
            c => out.push(c),
        }
    }
    None
}

fn double(rest: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = rest.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return is_over(&rest[at + 1..]).then_some(out),
            '\\' => {
                let digits = match chars.next()?.1 {
                    'n' => {
                        out.push('\n');
                        continue;
                    }
                    't' => {
                        out.push('\t');
                        continue;
                    }
                    'r' => {
                        out.push('\r');
                        continue;
                    }
                    'x' => 2,
                    'u' => 4,
                    'U' => 8,
                    other => {
                        out.push(other);
                        continue;
                    }
                };
                let code: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                out.push(char::from_u32(u32::from_str_radix(&code, 16).ok()?)?);
            }
            c => out.push(c),
        }
    }
    None
}

/// Says whether nothing but a comment follows.
fn is_over(rest: &str) -> bool {
    let rest = rest.trim();
    rest.is_empty() || rest.starts_with('#')
}

/// Returns the comment behind a value, with the space before it.
pub fn comment(text: &str) -> Option<&str> {
    let trimmed = text.trim_start();
    let start = text.len() - trimmed.len();
    let quote = trimmed.chars().next().filter(|c| matches!(c, '\'' | '"'));
    let from = match quote {
        Some(quote) => start + trimmed.rfind(quote)?,
        None => 0,
    };
    let at = from + text[from..].find(" #")?;
    // A plain value with a colon in it is no YAML: it is another tool's, which has no comments.
    let before = text[..at].trim();
    let is_raw = quote.is_none()
        && !before.starts_with(['[', '{'])
        && (before.contains(": ") || before.ends_with(':'));
    (!is_raw).then(|| text[at..].trim_end())
}

/// Writes a text as one value; no text is `null`.
pub fn write(text: &str) -> String {
    if text.is_empty() {
        return "null".to_owned();
    }
    if text.chars().any(is_special) {
        return escaped(text);
    }
    if is_plain(text) { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

/// What YAML has no plain place for in one line.
fn is_special(c: char) -> bool {
    c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

fn escaped(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if is_special(c) && u32::from(c) > 0xffff => out.push_str(&format!("\\U{:08x}", u32::from(c))),
            c if is_special(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Says whether the text is the same text in YAML without quotes: no other type, and nothing that YAML reads.
fn is_plain(text: &str) -> bool {
    const TYPED: &[&str] = &["null", "true", "false", "yes", "no", "on", "off", "y", "n", ".nan", ".inf"];
    let is_start = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '/');
    text.starts_with(is_start)
        && !text.ends_with(':')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.@/+:-".contains(c))
        && !TYPED.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_leniently() {
        for (text, value) in [
            ("", ""),
            (" null ", ""),
            ("~", ""),
            ("plain", "plain"),
            ("a b # comment", "a b"),
            ("a#b", "a#b"),
            ("# comment", ""),
            ("'it''s: #1' # comment", "it's: #1"),
            ("\"a\\n\\u00e9\\\"\"", "a\né\""),
            ("'unclosed", "'unclosed"),
            ("'a' b", "'a' b"),
            ("foo: bar", "foo: bar"),
            ("x: y #z", "x: y #z"),
            ("x: #z", "x: #z"),
            ("[a: b] #z", "[a: b]"),
            ("\"\\uZZZZ\"", "\"\\uZZZZ\""),
        ] {
            assert_eq!(read(text), value, "{text:?}");
        }
        assert_eq!(comment("open # later"), Some(" # later"));
        assert_eq!((comment("'a # b'"), comment("x: y #z")), (None, None));
        assert_eq!(comment("'a # b' # c"), Some(" # c"));
    }

    #[test]
    fn what_is_written_is_read_back_by_a_real_library_too() {
        #[derive(serde::Deserialize)]
        struct Document {
            title: serde_json::Value,
        }
        for text in [
            "foo: bar",
            "foo:",
            "yes",
            "null",
            "~",
            "1",
            "1.5",
            "1_000",
            "0x1f",
            "1:30",
            "2026-01-02",
            "-",
            "- a",
            "a #b",
            "#b",
            "'",
            "''",
            "\"",
            "\\n",
            "@a",
            "`a",
            "%a",
            "a\nb",
            "a\tb",
            "\u{1b}[0m",
            "é",
            "🧭 x",
            "\u{85}",
            "\u{2028}",
            "\u{feff}a",
            " a ",
            "a ",
            "{a}",
            "[a]",
            "*a",
            "&a",
            "!a",
            "|",
            ">",
            "?",
            "? a",
            "a,b",
            ".inf",
            "No",
            "TRUE",
            "agent-a",
            "pi/architect",
            "a@b",
            "---",
            "...",
            "a'b\"c",
            "\u{10ffff}",
        ] {
            let line = write(text);
            assert!(!line.contains('\n'));
            let document: Document = serde_saphyr::from_str(&format!("title: {line}\n")).unwrap();
            assert_eq!(document.title, serde_json::Value::String(text.to_owned()), "{line}");
            assert_eq!(read(&line), text, "{line}");
        }
        assert_eq!(write(""), "null");
        assert_eq!(write("agent-a"), "agent-a");
    }

    proptest::proptest! {
        #[test]
        fn every_text_comes_back(text in "\\PC{0,40}|[ -~]{0,20}") {
            proptest::prop_assert_eq!(read(&write(&text)), text.clone());
            let value: std::collections::BTreeMap<String, Option<String>> =
                serde_saphyr::from_str(&format!("key: {}\n", write(&text))).unwrap();
            proptest::prop_assert_eq!(value["key"].clone().unwrap_or_default(), text);
        }
    }
}
