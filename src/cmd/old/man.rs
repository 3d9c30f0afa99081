//! The manual pages of the older names, made from the same texts as their help.

use clap_mangen::roff::{Roff, roman};

use super::help::{self, Of};
use super::non_nix;
use crate::cmd::man;

/// Names whose help is a text.
const HELP: [(&str, Of); 6] = [
    ("pi-env", Of::Env),
    ("pi-start", Of::Start),
    ("pi-bwrap", Of::Sandbox),
    ("pi-env-bwrap", Of::Sandbox),
    ("pi-env-shell", Of::Shell),
    ("pienv", Of::Umbrella),
];

/// Returns the page of each name, with its file name.
pub fn pages() -> Vec<(String, String)> {
    let of_texts = HELP.iter().map(|(name, of)| (format!("{name}.1"), page(name, help::of(*of))));
    of_texts.chain(non_nix::NAMES.into_iter().map(|name| man::page(&non_nix::command(name)))).collect()
}

/// Lays out a help: what it does in one line, how it is called, the rest.
fn page(name: &str, help: &str) -> String {
    let (about, rest) = help.split_once("\n\n").unwrap_or((help, ""));
    let (usage, rest) = rest.split_once("\n\n").unwrap_or((rest, ""));
    let usage = usage.trim_start_matches("Usage: ").replace("\n       ", "\n");
    let source = concat!("pier ", env!("CARGO_PKG_VERSION"));
    let mut page = Roff::new();
    page.control("TH", [name, "1", "", source]);
    page.control("SH", ["NAME"]).text([roman(format!("{name} - {about}"))]);
    // Lines of a help are laid out already.
    for (title, text) in [("SYNOPSIS", usage.as_str()), ("DESCRIPTION", rest.trim_end())] {
        page.control("SH", [title]).control("nf", []).text([roman(text)]).control("fi", []);
    }
    page.control("SH", ["SEE ALSO"]).text([roman("pier(1)")]);
    page.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::old_names::NAMES;

    #[test]
    fn every_name_has_a_page_with_a_line_for_whatis_and_its_calls() {
        let mut names: Vec<String> = pages().into_iter().map(|(name, _)| name).collect();
        let mut expected: Vec<String> = NAMES.iter().map(|name| format!("{name}.1")).collect();
        names.sort();
        expected.sort();
        assert_eq!(names, expected);
        for (name, of) in HELP {
            let text = page(name, help::of(of));
            let lines: Vec<&str> = text.lines().collect();
            let at = |line: &str| lines.iter().position(|there| *there == line).unwrap();
            assert!(lines[at(".SH NAME") + 1].starts_with(&name.replace('-', "\\-")), "{text}");
            let call = lines[at(".SH SYNOPSIS") + 2];
            assert!(call.starts_with("pi") && call.contains(" ["), "{text}");
            assert!(at(".fi") > at(".SH SYNOPSIS") + 2 && !text.contains("Usage:"), "{text}");
            assert!(!lines[at(".SH DESCRIPTION") + 2].is_empty(), "{text}");
        }
    }
}
