//! The commands of the coordination repository by their older names: `agent-coord-X`, `pi-env-coord-X`, `pienv coord X`,
//! `bootstrap-coordination`.
//!
//! Their words are those of `pier coord`, with the defaults that they had: a new item is a file that `push` commits, a claim
//! has no end, and a review that says nothing has passed.

use std::ffi::OsString;

use clap::CommandFactory as _;

use crate::cmd::{self, coord};
use crate::diag::{Exit, Failure};
use crate::plan::coordination::COMMANDS;
use crate::ui;
use crate::util::text::escape;

/// How the names begin.
const PREFIXES: [&str; 2] = ["agent-coord-", "pi-env-coord-"];
const BOOTSTRAP: [&str; 2] = ["bootstrap-coordination", "pi-env-bootstrap-coordination"];

/// Returns the words of `pier coord` for a name and what follows it; `None` for another name.
pub fn words(name: &str, rest: &[OsString]) -> Option<Vec<OsString>> {
    if BOOTSTRAP.contains(&name) {
        return Some(all("bootstrap", rest));
    }
    PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).map(|word| all(word, rest))
}

/// Says whether a name is one of them.
pub fn is_one(name: &str) -> bool {
    words(name, &[]).is_some()
}

/// Returns the tool whose name a complaint begins with: each of the two had its own.
pub fn tool_of(name: &str) -> &'static str {
    if name.starts_with("pi-env-") { "pi-env-coord" } else { "agent-coord" }
}

/// Returns the words behind `pienv coord`.
pub fn commands() -> Vec<String> {
    let command = cmd::Cli::command();
    let all = command.find_subcommand("coord").into_iter().flat_map(clap::Command::get_subcommands);
    all.map(|command| command.get_name().to_owned()).collect()
}

/// Says whether a word behind `pienv coord` is a command.
pub fn is_command(word: &str) -> bool {
    let command = cmd::Cli::command();
    let known = command.find_subcommand("coord").is_some_and(|coord| coord.find_subcommand(word).is_some());
    known || ["-h", "--help"].contains(&word) || COMMANDS.contains(&format!("pi-env-coord-{word}").as_str())
}

fn all(word: &str, mut rest: &[OsString]) -> Vec<OsString> {
    let word = if word == "cat" { "show" } else { word };
    let pushes = rest.iter().any(|word| word == "--push");
    let (word, next): (&str, &[&str]) = match word {
        "generate-requirements" => ("requirements", &["generate"]),
        "generate-requirements-coverage" => ("requirements", &["coverage"]),
        "upgrade-rules" if pushes => ("rules", &["upgrade"]),
        "upgrade-rules" => ("rules", &["upgrade", "--no-push"]),
        "rules" if !pushes && rest.first().is_some_and(|word| word == "upgrade") => {
            rest = &rest[1..];
            ("rules", &["upgrade", "--no-push"])
        }
        word => (word, &[]),
    };
    let judges = rest.iter().any(|word| word == "--pass" || word == "--fail");
    let own: &[&str] = match word {
        "new" => &["--no-commit"],
        "claim" => &["--for", "ever"],
        "review" | "verify" if !judges => &["--pass"],
        _ => next,
    };
    let first = ["pier", "coord", word].into_iter().chain(own.iter().copied()).map(OsString::from);
    first.chain(rest.iter().cloned()).collect()
}

/// Runs one; every error ends with 1, as it did, but what the generators were called with.
pub fn run(name: &str, words: &[OsString]) -> Exit {
    let tool = tool_of(name);
    let parsed = match cmd::parse_whole(words) {
        Ok(parsed) => parsed,
        Err(error) => {
            if error.use_stderr() {
                complain(tool, name, &error.to_string());
            } else {
                // Nobody reads the help any more: nothing is left to do.
                let _closed = error.print();
            }
            let is_generator = words.get(2).is_some_and(|word| word == "requirements");
            return match (error.use_stderr(), is_generator) {
                (false, _) => Exit::Done,
                (true, true) => Exit::Usage,
                (true, false) => Exit::Failed,
            };
        }
    };
    let Some(cmd::Command::Coord(args)) = &parsed.command else { return Exit::Failed };
    match coord::run(&parsed.global, args) {
        Ok(exit) => exit,
        Err(failure) => tell(tool, &failure),
    }
}

/// Says what is wrong with a line, as the tool of this name says it.
fn complain(tool: &str, name: &str, said: &str) {
    for line in said.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let line = line.strip_prefix("error: ").unwrap_or(line);
        // Its own words follow the name of the command.
        let line = match line.strip_prefix("Usage: pier coord ") {
            Some(rest) => {
                let is_name = |word: &&str| word.starts_with(|c: char| c.is_ascii_lowercase());
                let words: Vec<&str> = rest.split(' ').skip_while(is_name).collect();
                format!("usage: {name} {}", words.join(" "))
            }
            None => line.replace("try '--help'", &format!("try `{name} --help`")),
        };
        ui::say(&format!("{tool}: {}", escape(&line)));
    }
}

fn tell(tool: &str, failure: &Failure) -> Exit {
    for problem in &failure.report.problems {
        ui::say(&format!("{tool}: {}", problem.message));
        if let Some(help) = &problem.help {
            ui::say(&format!("{tool}: {help}"));
        }
    }
    Exit::Failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_of_pier() {
        let line = |name: &str, rest: &[&str]| {
            let rest: Vec<OsString> = rest.iter().map(OsString::from).collect();
            words(name, &rest).map(|words| {
                words.iter().map(|word| word.to_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
            })
        };
        assert_eq!(line("agent-coord-cat", &["X"]).unwrap(), "pier coord show X");
        assert_eq!(line("pi-env-coord-new", &["T"]).unwrap(), "pier coord new --no-commit T");
        assert_eq!(line("agent-coord-review", &["X"]).unwrap(), "pier coord review --pass X");
        assert_eq!(line("pi-env-coord-verify", &["--fail", "X"]).unwrap(), "pier coord verify --fail X");
        assert_eq!(line("bootstrap-coordination", &[]).unwrap(), "pier coord bootstrap");
        assert_eq!(
            line("pi-env-coord-rules", &["upgrade", "x"]).unwrap(),
            "pier coord rules upgrade --no-push x"
        );
        assert_eq!(line("pi-env", &[]), None);
        for name in COMMANDS {
            let words: Vec<String> = line(name, &[]).unwrap().split(' ').map(str::to_owned).collect();
            let command = cmd::Cli::command();
            let coord = command.find_subcommand("coord").unwrap();
            assert!(coord.find_subcommand(&words[2]).is_some(), "{name}");
        }
        assert!(is_command("list") && is_command("cat") && !is_command("bogus"));
    }
}
