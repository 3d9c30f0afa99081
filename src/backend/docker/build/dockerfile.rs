//! The images that a Dockerfile builds on: each is fetched, and pinned, before a build begins.

use std::collections::BTreeMap;
use std::ops::Range;

/// An image that a Dockerfile names, and where in its text it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    pub reference: String,
    place: Range<usize>,
}

/// The image without anything.
const SCRATCH: &str = "scratch";

/// Returns the images that are named, in order: by `FROM`, `COPY --from=…` and `RUN --mount=…,from=…`.
///
/// # Errors
/// The reason, as a fragment: a name depends on a variable that has no value here.
pub fn bases(text: &str) -> Result<Vec<Base>, String> {
    let mut arguments: BTreeMap<&str, &str> = BTreeMap::new();
    let (mut stages, mut found): (Vec<String>, Vec<Base>) = (Vec::new(), Vec::new());
    let mut add = |stages: &[String], place: Range<usize>, arguments: &BTreeMap<&str, &str>| {
        let written = &text[place.clone()];
        let reference = expand(written.trim_matches('"'), arguments)?;
        let is_stage = stages.iter().any(|stage| stage.eq_ignore_ascii_case(&reference));
        if !is_stage && reference != SCRATCH {
            found.push(Base { reference, place });
        }
        Ok::<(), String>(())
    };
    for instruction in instructions(text) {
        let mut words = words(text, instruction);
        let Some(first) = words.next() else { continue };
        match text[first].to_ascii_uppercase().as_str() {
            "ARG" if stages.is_empty() => {
                for word in words {
                    if let Some((name, value)) = text[word].split_once('=') {
                        arguments.insert(name, value.trim_matches(['"', '\'']));
                    }
                }
            }
            "FROM" => {
                let words: Vec<Range<usize>> =
                    words.skip_while(|word| text[word.clone()].starts_with("--")).collect();
                if let Some(place) = words.first() {
                    add(&stages, place.clone(), &arguments)?;
                }
                let named = words.get(1).is_some_and(|word| text[word.clone()].eq_ignore_ascii_case("as"));
                let name = words.get(2).filter(|_| named).map(|word| text[word.clone()].to_owned());
                // The number of a stage is a name of it, too.
                stages.push(name.unwrap_or_default());
            }
            "COPY" | "ADD" | "RUN" => {
                let options = words.take_while(|word| text[word.clone()].starts_with("--"));
                for option in options {
                    let written = &text[option.clone()];
                    let value = if written.starts_with("--from=") {
                        Some("--from=".len())
                    } else if written.starts_with("--mount=") {
                        written.find(",from=").map(|at| at + ",from=".len())
                    } else {
                        None
                    };
                    let Some(start) = value.map(|offset| option.start + offset) else { continue };
                    let end = text[start..option.end].find(',').map_or(option.end, |length| start + length);
                    let is_number =
                        !text[start..end].is_empty() && text[start..end].bytes().all(|c| c.is_ascii_digit());
                    if !is_number {
                        add(&stages, start..end, &arguments)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Returns the text with other references in the place of some.
pub fn replaced(text: &str, bases: &[Base], by: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = text.to_owned();
    for base in bases.iter().rev() {
        if let Some(reference) = by(&base.reference) {
            out.replace_range(base.place.clone(), &reference);
        }
    }
    out
}

/// Returns where each instruction is, with its lines that go on; no comment, and nothing of a here-document.
fn instructions(text: &str) -> Vec<Range<usize>> {
    let (mut found, mut current): (Vec<Range<usize>>, Option<Range<usize>>) = (Vec::new(), None);
    let mut awaited: Vec<String> = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let place = start..start + line.len();
        start = place.end;
        if let Some(end) = awaited.first() {
            if line.trim_start_matches('\t').trim_end() == end {
                awaited.remove(0);
            }
            continue;
        }
        let is_comment = line.trim_start().starts_with('#');
        if is_comment || (line.trim().is_empty() && current.is_none()) {
            continue;
        }
        let whole = current.take().map_or(place.clone(), |before| before.start..place.end);
        if line.trim_end().ends_with('\\') {
            current = Some(whole);
        } else {
            awaited = heredocs(&text[whole.clone()]);
            found.push(whole);
        }
    }
    found.extend(current);
    found
}

/// Returns the words that end the here-documents of an instruction.
fn heredocs(instruction: &str) -> Vec<String> {
    let start = instruction.trim_start().get(..4).unwrap_or_default().to_ascii_uppercase();
    if !matches!(start.as_str(), "RUN " | "COPY" | "ADD ") {
        return Vec::new();
    }
    let marks = instruction.split_whitespace().filter_map(|word| word.strip_prefix("<<"));
    let names = marks.map(|name| name.trim_start_matches('-').trim_matches(['"', '\'']).to_owned());
    names.filter(|name| name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')).collect()
}

/// Returns where the words of an instruction are.
fn words(text: &str, instruction: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut lines = Vec::new();
    let mut start = instruction.start;
    for line in text[instruction].split_inclusive('\n') {
        if !line.trim_start().starts_with('#') {
            lines.push((start, line));
        }
        start += line.len();
    }
    lines.into_iter().flat_map(|(start, line)| {
        let mut found = Vec::new();
        for word in line.split([' ', '\t', '\n', '\r']).filter(|word| !word.is_empty() && *word != "\\") {
            let at = start + (word.as_ptr().addr() - line.as_ptr().addr());
            found.push(at..at + word.len());
        }
        found
    })
}

/// Puts in the values of `$NAME`, `${NAME}` and `${NAME:-otherwise}`.
fn expand(text: &str, arguments: &BTreeMap<&str, &str>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let (name, otherwise) = if let Some((inner, behind)) = braced {
            rest = behind;
            inner.split_once(":-").map_or((inner, None), |(name, otherwise)| (name, Some(otherwise)))
        } else {
            let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let end = after.find(|c| !letter(c)).unwrap_or(after.len());
            rest = &after[end..];
            (&after[..end], None)
        };
        let value = arguments.get(name).copied().filter(|value| !value.is_empty()).or(otherwise);
        out.push_str(
            value.ok_or_else(|| format!("the image `{text}` depends on a variable without a value"))?,
        );
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        bases(text).unwrap().into_iter().map(|base| base.reference).collect()
    }

    #[test]
    fn every_image_that_is_named_is_found() {
        let text = "# FROM comment\nARG V=12\nARG NAME=\"tools\" R=a.test\nfrom --platform=linux/amd64 debian:${V} as one\n\
            RUN echo \\\n  # in between\n  FROM no\nFROM ${R}/$NAME:${T:-1}\nCOPY --from=one --chown=1 /a /b\nCOPY --from=0 /a /b\n\
            COPY --from=other:2 /a /b\nRUN --mount=type=bind,from=third,target=/x true\nRUN <<EOF\nFROM inside\nEOF\n\
            FROM scratch\nFROM One\n";
        assert_eq!(names(text), ["debian:12", "a.test/tools:1", "other:2", "third"]);
        assert!(bases("FROM $X\n").unwrap_err().contains("`$X`"));
        assert_eq!(names("FROM a"), ["a"]);
        assert_eq!(names("FROM \\\n  a \\\n"), ["a"]);
        assert!(names("").is_empty() && names("\\").is_empty() && names("FROM").is_empty());
    }

    #[test]
    fn a_pinned_image_takes_the_place_of_its_reference() {
        let text = "FROM a:1 AS x\nFROM b\nCOPY --from=a:1 /a /\n";
        let by = |reference: &str| (reference == "a:1").then(|| "a@sha256:00".to_owned());
        let found = bases(text).unwrap();
        assert_eq!(
            replaced(text, &found, &by),
            "FROM a@sha256:00 AS x\nFROM b\nCOPY --from=a@sha256:00 /a /\n"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_much(text in "[ -~\\n\\\\$ä]{0,60}", start in 0..4_usize) {
            let start = ["FROM ", "RUN <<", "COPY --from=", "ARG "][start];
            if let Ok(found) = bases(&format!("{start}{text}")) {
                replaced(&format!("{start}{text}"), &found, &|_| Some("x".to_owned()));
            }
        }
    }
}
