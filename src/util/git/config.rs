//! Git configuration files: text to entries and back. Nothing is included and nothing is expanded.

/// One `key = value` of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// In lower case, as git compares it.
    pub section: String,
    /// The quoted part of `[remote "origin"]`.
    pub subsection: Option<String>,
    /// In lower case.
    pub key: String,
    /// `true` for a key without a value.
    pub value: String,
}

/// The most entries of one file.
const MOST: usize = 20_000;

/// Parses a file; `None` where git would refuse it too, or it has more entries than any.
pub fn parse(text: &str) -> Option<Vec<Entry>> {
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text).chars().peekable();
    let (mut section, mut subsection) = (None::<String>, None);
    let mut entries = Vec::new();
    while let Some(&c) = rest.peek() {
        match c {
            '#' | ';' => while rest.next().is_some_and(|c| c != '\n') {},
            c if c.is_whitespace() => drop(rest.next()),
            '[' => {
                rest.next();
                (section, subsection) = header(&mut rest)?;
            }
            c if c.is_ascii_alphabetic() => {
                let mut key = String::new();
                while let Some(c) = rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '-') {
                    key.push(c.to_ascii_lowercase());
                }
                while rest.next_if(|c| matches!(c, ' ' | '\t')).is_some() {}
                let value = if rest.next_if_eq(&'=').is_some() { value(&mut rest)? } else { "true".into() };
                let entry = Entry { section: section.clone()?, subsection: subsection.clone(), key, value };
                entries.push(entry);
            }
            _ => return None,
        }
        if entries.len() > MOST {
            return None;
        }
    }
    Some(entries)
}

type Characters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// Reads `core]`, `remote "origin"]` or the old `branch.main]`, behind the bracket.
fn header(rest: &mut Characters<'_>) -> Option<(Option<String>, Option<String>)> {
    let mut name = String::new();
    while let Some(c) = rest.next_if(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')) {
        name.push(c.to_ascii_lowercase());
    }
    while rest.next_if(|c| matches!(c, ' ' | '\t')).is_some() {}
    let mut sub = name.split_once('.').map(|(_, sub)| sub.to_owned());
    let name = name.split('.').next().unwrap_or_default().to_owned();
    if rest.next_if_eq(&'"').is_some() {
        let mut quoted = String::new();
        loop {
            match rest.next()? {
                '"' => break,
                '\n' => return None,
                '\\' => quoted.push(rest.next()?),
                c => quoted.push(c),
            }
        }
        sub = Some(quoted);
    }
    (rest.next()? == ']' && !name.is_empty()).then_some((Some(name), sub))
}

/// Reads a value to the end of its line: quotes, escapes and continued lines are resolved, comments dropped.
fn value(rest: &mut Characters<'_>) -> Option<String> {
    let (mut out, mut quoted, mut kept) = (String::new(), false, 0);
    loop {
        match rest.next() {
            None | Some('\n') if quoted => return None,
            None | Some('\n') => break,
            Some('"') => {
                quoted = !quoted;
                kept = out.len();
            }
            Some('\\') => {
                match rest.next()? {
                    '\n' => continue,
                    'n' => out.push('\n'),
                    't' => out.push('\t'),
                    'b' => out.push('\u{8}'),
                    c @ ('"' | '\\') => out.push(c),
                    _ => return None,
                }
                kept = out.len();
            }
            Some('#' | ';') if !quoted => {
                while rest.next().is_some_and(|c| c != '\n') {}
                break;
            }
            Some(c) if c.is_whitespace() && !quoted => {
                if !out.is_empty() {
                    out.push(c);
                }
            }
            Some(c) => {
                out.push(c);
                kept = out.len();
            }
        }
    }
    out.truncate(kept);
    Some(out)
}

/// Renders entries so that [`parse`], and git, read the same ones.
pub fn render(entries: &[Entry]) -> String {
    let mut out = String::new();
    let mut last: Option<(&str, Option<&str>)> = None;
    for entry in entries {
        let place = (entry.section.as_str(), entry.subsection.as_deref());
        if last != Some(place) {
            match place {
                (section, None) => out.push_str(&format!("[{section}]\n")),
                (section, Some(sub)) => out.push_str(&format!("[{section} \"{}\"]\n", escape(sub))),
            }
            last = Some(place);
        }
        let value = escape(&entry.value).replace('\n', "\\n").replace('\t', "\\t").replace('\u{8}', "\\b");
        out.push_str(&format!("\t{} = \"{value}\"\n", entry.key));
    }
    out
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Reads a value as git reads a truth value.
pub fn is_true(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "true" | "yes" | "on" | "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(section: &str, sub: Option<&str>, key: &str, value: &str) -> Entry {
        let subsection = sub.map(str::to_owned);
        Entry { section: section.into(), subsection, key: key.into(), value: value.into() }
    }

    #[test]
    fn a_file_is_read_as_git_reads_it() {
        let text = "# top\n[core]\n\tbare = false ; no\n\tFileMode\n[remote \"o \\\"x\"] url = \"a # b\" c \\\n d \n\
            [Branch.main]\nremote=o\\tp\n";
        let expected = [
            entry("core", None, "bare", "false"),
            entry("core", None, "filemode", "true"),
            entry("remote", Some("o \"x"), "url", "a # b c  d"),
            entry("branch", Some("main"), "remote", "o\tp"),
        ];
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn what_git_refuses_is_refused() {
        for text in
            ["x = 1\n", "[core\n", "[core]\n\tx = \"a\n", "[core]\n\tx = \\q\n", "[core]\n=\n", "[]\nx=1\n"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn rendered_entries_read_back(sub in proptest::option::of("[^\n\0]{0,9}"), value in "[^\0\r]{0,30}") {
            let entries = vec![entry("remote", sub.as_deref(), "url", &value), entry("core", None, "x", "1")];
            proptest::prop_assert_eq!(parse(&render(&entries)), Some(entries));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]\"\\\\a-z=#\n .]{0,60}") {
            let _answer = parse(&text);
        }
    }
}
