//! Re-indents a file by its blocks and leaves every token as it is.
//!
//! The printer of the parser crate loses comments, so this works on tokens: only blanks at the start and the
//! end of lines and the number of empty lines change.

use super::tokens::{self, Kind, Token};
use crate::diag::{Problem, SourceId};

const INDENT: &str = "    ";

/// Formats a text that parses.
///
/// # Errors
/// Says where the text is not KDL, so that nothing unknown is moved.
pub fn format(source: SourceId, text: &str) -> Result<String, Vec<Problem>> {
    super::syntax::parse(source, text)?;
    let split = tokens::split(source, text);
    let mut out = String::with_capacity(text.len());
    let mut depth = 0_usize;
    let mut empty_lines = 0;
    let mut continued = false;
    for line in lines(text, &split.tokens) {
        let line = trim(line);
        let Some(first) = line.first() else {
            empty_lines += 1;
            continue;
        };
        // One empty line separates; after an opening brace and at the top there is nothing to separate.
        let opens = out.trim_end_matches('\n').ends_with('{') || out.is_empty();
        if empty_lines > 0 && !opens && first.kind != Kind::Close {
            out.push('\n');
        }
        empty_lines = 0;
        let closers = line.iter().take_while(|token| matches!(token.kind, Kind::Close | Kind::Space));
        let closing = closers.filter(|token| token.kind == Kind::Close).count();
        let level = depth.saturating_sub(closing) + usize::from(continued && closing == 0);
        out.push_str(&INDENT.repeat(level));
        for token in line {
            match token.kind {
                Kind::Open => depth += 1,
                Kind::Close => depth = depth.saturating_sub(1),
                _ => {}
            }
            let part = &text[token.range.clone()];
            match token.kind {
                Kind::Continuation => out.push_str(part.trim_end()),
                Kind::Space if part.starts_with('\u{FEFF}') => {}
                _ => out.push_str(part),
            }
        }
        continued = line.last().is_some_and(|token| token.kind == Kind::Continuation);
        if line.last().is_some_and(|token| token.kind == Kind::LineComment) {
            out.truncate(out.trim_end().len());
        }
        out.push('\n');
    }
    Ok(out)
}

/// Splits tokens at line breaks and after continuations, which stay with the line they end.
fn lines<'a>(text: &'a str, tokens: &'a [Token]) -> impl Iterator<Item = &'a [Token]> {
    let ends_line = |token: &Token| {
        token.kind == Kind::Newline
            || token.kind == Kind::Continuation && text[token.range.clone()].ends_with(tokens::is_newline)
    };
    tokens.split_inclusive(ends_line)
}

/// Drops blanks and line breaks around a line.
fn trim(mut line: &[Token]) -> &[Token] {
    while let [Token { kind: Kind::Space | Kind::Newline, .. }, rest @ ..] = line {
        line = rest;
    }
    while let [rest @ .., Token { kind: Kind::Space | Kind::Newline, .. }] = line {
        line = rest;
    }
    line
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;

    fn formatted(text: &str) -> String {
        format(SourceId(0), text).unwrap()
    }

    /// What formatting must keep: every token but blanks and line breaks, with its text.
    fn meaning(text: &str) -> Vec<(Kind, String)> {
        let split = tokens::split(SourceId(0), text);
        let kept = split.tokens.iter().filter(|token| !matches!(token.kind, Kind::Space | Kind::Newline));
        kept.map(|token| {
            let text = text[token.range.clone()].trim_end();
            let inside = matches!(token.kind, Kind::Continuation);
            (token.kind, if inside { text.split_whitespace().collect() } else { text.to_owned() })
        })
        .collect()
    }

    #[test]
    fn lines_are_indented_by_their_block() {
        for (text, expected) in [
            ("", ""),
            ("\n\n", ""),
            ("a", "a\n"),
            ("\u{FEFF}\n a  \r\n", "a\n"),
            ("a {\nb {\nc\n}\n}", "a {\n    b {\n        c\n    }\n}\n"),
            ("a { b; c }  // d  \n\n\n\n  e", "a { b; c }  // d\n\ne\n"),
            ("a {\n\n  b\n\n}\n", "a {\n    b\n}\n"),
            ("a \\\n 1 \\ // x\n2\nb", "a \\\n    1 \\ // x\n    2\nb\n"),
            ("a {\n b \"\"\"\n  x\n   \n  \"\"\"  \n}", "a {\n    b \"\"\"\n  x\n   \n  \"\"\"\n}\n"),
            ("a {\n/* x\n y */\n/- b {\n c\n}\n}", "a {\n    /* x\n y */\n    /- b {\n        c\n    }\n}\n"),
        ] {
            assert_eq!(formatted(text), expected, "{text:?}");
        }
    }

    /// Documents of odd layout that parse most of the time.
    pub fn documents() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "a",
            " ",
            "\n",
            "\r\n",
            "{",
            "}",
            ";",
            "\"x y\"",
            "#\"r\"#",
            "1",
            "#true",
            " // c \n",
            "/* b\n */",
            "/-",
            " k=v",
            "\\\n",
            "\"\"\"\n  m\n  \"\"\"",
            "\t",
            "é",
            "\u{FEFF}",
            "a {\n",
            "}\n",
            " b 2\n",
            "/- x\n",
            "\\ // q\n",
        ]);
        prop::collection::vec(piece, 0..40).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn formatting_is_stable_and_keeps_every_token(text in documents()) {
            if let Ok(once) = format(SourceId(0), &text) {
                prop_assert_eq!(meaning(text.trim_start_matches('\u{FEFF}')), meaning(&once));
                let before = super::super::syntax::parse(SourceId(0), &text).unwrap();
                let after = super::super::syntax::parse(SourceId(0), &once).unwrap();
                prop_assert_eq!(shape(&before), shape(&after));
                prop_assert_eq!(format(SourceId(0), &once).unwrap(), once);
            }
        }

        #[test]
        fn no_text_panics(text in documents(), bytes: Vec<u8>) {
            drop(super::super::syntax::parse(SourceId(0), &text));
            if let Ok(text) = super::super::syntax::read(SourceId(0), bytes) {
                drop(super::super::syntax::parse(SourceId(0), &text));
            }
        }
    }

    fn shape(document: &kdl::KdlDocument) -> String {
        let mut out = String::new();
        for node in document.nodes() {
            out.push_str(node.name().value());
            for entry in node.entries() {
                let name = entry.name().map(kdl::KdlIdentifier::value);
                out.push_str(&format!(" {name:?}={:?}", entry.value()));
            }
            if let Some(children) = node.children() {
                out.push_str(&format!("{{{}}}", shape(children)));
            }
            out.push(';');
        }
        out
    }
}
