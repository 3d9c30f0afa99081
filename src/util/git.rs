//! Git's own formats, read without git: reference names, object ids, `HEAD`, packed references.

use std::collections::BTreeMap;

pub mod config;
pub mod index;
pub mod remote;

/// The most bytes of a reference's name; the file system allows 255 for each of its parts.
const MOST_NAME: usize = 1000;

/// Says whether a full name passes `git check-ref-format`, and is short enough to be stored below `refs/pier`.
pub fn is_reference(name: &str) -> bool {
    let bad = |c: char| c.is_ascii_control() || " ~^:?*[\\".contains(c);
    let part = |part: &str| {
        let lock = part.len() >= 5 && part.as_bytes()[part.len() - 5..].eq_ignore_ascii_case(b".lock");
        !part.is_empty() && part.len() <= 255 && !part.starts_with('.') && !lock
    };
    name.starts_with("refs/")
        && name.len() <= MOST_NAME
        && !name.contains(bad)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && name.split('/').all(part)
}

/// Says whether a text is the id of an object: 40 hex digits, or 64 in a SHA-256 repository, in lower case.
pub fn is_object(id: &str) -> bool {
    matches!(id.len(), 40 | 64) && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// What a `HEAD` or a loose reference says.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// The full name of another reference, which need not be there.
    Reference(String),
    Object(String),
}

impl std::fmt::Display for Target {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Reference(name) => write!(out, "ref: {name}"),
            Target::Object(id) => out.write_str(id),
        }
    }
}

/// Parses the content of a `HEAD` or of a loose reference; `None` where it is neither a name nor an id.
pub fn parse_target(text: &[u8]) -> Option<Target> {
    let text = std::str::from_utf8(text).ok()?.trim_end();
    match text.strip_prefix("ref:") {
        Some(name) => {
            let name = name.trim_start();
            is_reference(name).then(|| Target::Reference(name.to_owned()))
        }
        None => is_object(text).then(|| Target::Object(text.to_owned())),
    }
}

/// Parses a `packed-refs`, and returns the references and how many lines made no sense.
pub fn parse_packed(text: &[u8]) -> (BTreeMap<String, String>, usize) {
    let (mut found, mut ignored) = (BTreeMap::new(), 0);
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        // A comment, or what the tag above it leads to.
        if matches!(line[0], b'#' | b'^') {
            continue;
        }
        let pair = std::str::from_utf8(line).ok().and_then(|line| line.split_once(' '));
        match pair.filter(|(id, name)| is_object(id) && is_reference(name)) {
            Some((id, name)) => drop(found.insert(name.to_owned(), id.to_owned())),
            None => ignored += 1,
        }
    }
    (found, ignored)
}

/// Renders a `packed-refs`; git finds out itself what tags lead to, and sorts it. A first line that says that it is sorted, and not
/// that it is peeled, is refused by `GitPython`, which agents use.
pub fn render_packed(references: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(64 + references.len() * 80);
    for (name, id) in references {
        out.push_str(id);
        out.push(' ');
        out.push_str(name);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_check_ref_format() {
        for name in ["refs/heads/main", "refs/heads/a/b-c.d", "refs/tags/v1@2", "refs/stash", "refs/heads/ü"]
        {
            assert!(is_reference(name), "{name}");
        }
        let long = format!("refs/heads/{}", "x/".repeat(600));
        for name in [
            "HEAD",
            "refs/heads/../x",
            "refs/heads/",
            "refs//heads",
            "refs/heads/.x",
            "refs/heads/x.lock",
            "refs/heads/x.LOCK/y",
            "refs/heads/x.",
            "refs/heads/a b",
            "refs/heads/a\u{7f}",
            "refs/heads/a\nb",
            "refs/heads/a:b",
            "refs/heads/a*",
            "refs/heads/a\\b",
            "refs/heads/@{x",
            "/refs/heads/x",
            &long,
        ] {
            assert!(!is_reference(name), "{name}");
        }
    }

    #[test]
    fn heads_are_names_or_ids() {
        let id = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(parse_target(id.as_bytes()), Some(Target::Object(id.into())));
        let branch = Some(Target::Reference("refs/heads/x".into()));
        assert_eq!(parse_target(b"ref: refs/heads/x\n"), branch);
        for text in
            [&b"ref: ../x"[..], b"ref: /etc/passwd", b"\xff", b"", b"0123", &id.to_uppercase().into_bytes()]
        {
            assert_eq!(parse_target(text), None, "{text:?}");
        }
    }

    #[test]
    fn packed_references_read_back() {
        let id = "a".repeat(40);
        let text = format!("# pack-refs with: peeled \n{id} refs/tags/v1\n^{id}\n{id} ../x\nnonsense\n");
        let (found, ignored) = parse_packed(text.as_bytes());
        assert_eq!((found.len(), ignored), (1, 2));
        assert_eq!(parse_packed(render_packed(&found).as_bytes()), (found, 0));
    }
}
