//! Items that are no YAML: lines that other tools wrote so that no library reads them are written anew, and the rest is told.

use camino::Utf8Path;

use super::lint::simple;
use super::{item, scalar};

/// What keeps an item from being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Of its file, from 1.
    pub line: usize,
    pub why: String,
    /// Two changes met, and nobody has said what holds.
    pub is_conflict: bool,
}

/// How the lines begin that git writes around two changes that do not fit.
const MARKS: [&str; 3] = ["<<<<<<<", "|||||||", ">>>>>>>"];

/// The line between the two.
const MIDDLE: &str = "=======";

/// Returns the first mark of a conflict.
pub fn conflict(text: &str) -> Option<Fault> {
    // As it is nearly always, and found out fast.
    if !text.contains(MARKS[0]) && !text.contains(MARKS[2]) {
        return None;
    }
    let is_mark = |line: &str| {
        let line = line.trim_end();
        line == MIDDLE
            || MARKS.iter().any(|mark| {
                line.strip_prefix(mark).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            })
    };
    // The middle alone is what some write below a heading.
    let has_sides = text.lines().any(|line| is_mark(line) && line.trim_end() != MIDDLE);
    let at = text.lines().position(is_mark).filter(|_| has_sides)?;
    let why = "it has the marks of a conflict that nobody has settled".to_owned();
    Some(Fault { line: at + 1, why, is_conflict: true })
}

/// Returns what is wrong with the text of an item; of a document with front matter only that is YAML.
pub fn fault(path: &Utf8Path, text: &str) -> Option<Fault> {
    let region = item::region(text);
    if simple::read(text, &mut Vec::new()) {
        return None;
    }
    if let Some(fault) = conflict(text) {
        return Some(fault);
    }
    if path.extension() == Some("md") && region.len() == text.len() {
        return None;
    }
    let error = serde_saphyr::from_str::<serde_json::Value>(region).err()?;
    let first =
        usize::from(region.len() < text.len() && text.trim_start_matches('\u{feff}').starts_with("---"));
    let line = error.location().map_or(1, |at| usize::try_from(at.line()).unwrap_or(1));
    let why = error.to_string().lines().next().unwrap_or_default().to_owned();
    Some(Fault { line: line.max(1) + first, why: format!("it is no YAML: {why}"), is_conflict: false })
}

/// Writes lines anew that no library reads: values with a colon or a quote in them, and texts that begin with a space. Others
/// stay as they are.
pub fn mended(lines: &mut [String]) {
    // The column of a key whose text follows.
    let mut text: Option<usize> = None;
    for at in 0..lines.len() {
        let line = lines[at].trim_end_matches('\r');
        let column = column(line);
        if text.is_some_and(|above| line.trim().is_empty() || column > above) {
            continue;
        }
        text = None;
        let inner = &line[column..];
        let (dash, inner) = inner.strip_prefix("- ").map_or(("", inner), |rest| ("- ", rest));
        let Some((key, value)) = inner.split_once(':') else { continue };
        let is_key =
            !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        let is_value = value.starts_with([' ', '\t']);
        let value = value.trim();
        if !is_key || !is_value || value.is_empty() {
            continue;
        }
        let indent = " ".repeat(column);
        if value.starts_with(['|', '>']) {
            text = Some(column + dash.len());
            if value == "|-" && begins_deeper(&lines[at + 1..], column + dash.len()) {
                lines[at] = format!("{indent}{dash}{key}: |2-");
            }
            continue;
        }
        let next = lines[at + 1..].iter().find(|next| !next.trim().is_empty());
        let goes_on = next.is_some_and(|next| self::column(next) > column || next.starts_with('\t'));
        if !goes_on && serde_saphyr::from_str::<serde_json::Value>(&format!("{key}: {value}\n")).is_err() {
            lines[at] = format!("{indent}{dash}{key}: {}", scalar::write(&scalar::read(value)));
        }
    }
}

/// How many spaces a line begins with.
fn column(line: &str) -> usize {
    line.bytes().take_while(|byte| *byte == b' ').count()
}

/// Says whether the first line of a text below a column is deeper than two more, and a later one is not.
fn begins_deeper(lines: &[String], above: usize) -> bool {
    let mut all = lines.iter().filter(|line| !line.trim().is_empty()).map(|line| column(line));
    let Some(first) = all.next().filter(|first| *first > above + 2) else { return false };
    all.take_while(|column| *column > above).any(|column| column < first && column >= above + 2)
}

#[cfg(test)]
mod tests {
    use super::super::item::Item;
    use super::*;

    fn mend(text: &str) -> String {
        let mut item = Item::parse(text);
        mended(&mut item.lines);
        item.text()
    }

    #[test]
    fn lines_of_other_tools_become_yaml_and_say_the_same() {
        let path = Utf8Path::new("issues/open/x.yaml");
        for (text, key, value) in [
            ("title: foo: bar\nid: X\n", "title", "foo: bar"),
            ("title: foo:\n", "title", "foo:"),
            ("owner: x: y #z\n", "owner", "x: y #z"),
            ("title: 'it' is\n", "title", "'it' is"),
            ("title: @me\n", "title", "@me"),
            ("title: [unclosed\nid: X\n", "title", "[unclosed"),
        ] {
            assert!(fault(path, text).is_some(), "{text}");
            let mended = mend(text);
            assert_eq!(fault(path, &mended), None, "{mended}");
            assert_eq!(item::get(&mended, key), value);
            let document: serde_json::Value = serde_saphyr::from_str(&mended).unwrap();
            assert_eq!(document[key], value, "{mended}");
        }
        let history = "events:\n  - id: evt-0001\n    owner: a: b\nmessages:\n  - id: msg-0001\n    body: |-\n          code: x: y\n      text\n";
        assert!(fault(path, history).is_some());
        let mended = mend(history);
        let document: serde_json::Value = serde_saphyr::from_str(&mended).unwrap();
        assert_eq!(document["events"][0]["owner"], "a: b");
        assert_eq!(document["messages"][0]["body"], "    code: x: y\ntext");
    }

    #[test]
    fn what_is_yaml_stays() {
        for text in [
            "title: 'a: b' # why\nlist: [a, b]\nmap: {a: 1}\nurl: http://x/y\n",
            "title: \"two\n  lines: 1\"\nother: >-\n  a: b: c\n",
            "body: |-\n  a: b: c\n  'x' y\n",
        ] {
            assert_eq!(mend(text), text);
        }
    }

    #[test]
    fn faults_have_their_lines() {
        let yaml = Utf8Path::new("a.yaml");
        let found =
            fault(yaml, "id: X\n<<<<<<< HEAD\nstatus: open\n=======\nstatus: done\n>>>>>>> x\n").unwrap();
        assert_eq!((found.line, found.is_conflict), (2, true));
        let found = fault(yaml, "id: X\ntitle: a: b\n").unwrap();
        assert_eq!((found.line, found.is_conflict), (2, false), "{found:?}");
        // A line below a heading is none, nor what somebody has quoted.
        assert_eq!(conflict("Title\n=======\n"), None);
        assert_eq!(conflict("body: |-\n  <<<<<<< HEAD\n"), None);
        let document = Utf8Path::new("a.md");
        assert_eq!(fault(document, "# Words: with: colons\n"), None);
        assert_eq!(fault(document, "---\nid: X\n---\na: b: c\n"), None);
        assert_eq!(fault(document, "---\nid: X\nt: a: b\n---\n").unwrap().line, 3);
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_odd(text in "([ ]{0,4}(- )?[a-z]{0,3}:? ?['\"|#>\\[]?[ -~é]{0,9}\r?\n){0,12}") {
            let path = Utf8Path::new("a.yaml");
            let once = mend(&text);
            // What was read is read as before, and nothing is mended twice.
            let heads: Vec<_> = item::fields(&text).map(|(key, _)| key).collect();
            proptest::prop_assert_eq!(item::fields(&once).map(|(key, _)| key).collect::<Vec<_>>(), heads);
            proptest::prop_assert_eq!(mend(&once), once.clone());
            proptest::prop_assert!(fault(path, &once).is_none_or(|fault| fault.line >= 1));
        }
    }
}
