//! What the commands about sessions share: choosing one by the beginning of its name, and tables.

use camino::Utf8Path;

use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::session::reaper::{self, Fate};
use crate::session::registry::{self, Session};
use crate::ui;
use crate::util::text::escape;

/// Returns the place of the one name that there is.
pub fn only<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Result<usize, Failure> {
    let names: Vec<&str> = names.collect();
    if let Some(index) = names.iter().position(|name| *name == wanted) {
        return Ok(index);
    }
    match names.len() {
        1 => Ok(0),
        0 => {
            let message = format!("no session is named `{}`", escape(wanted));
            Err(Failure::new(Exit::Failed, "session::none", message)
                .help("`pier ps --all` lists the sessions"))
        }
        _ => {
            let message = format!("`{}` may be {}", escape(wanted), names.join(", "));
            Err(Failure::new(Exit::Usage, "session::ambiguous", message))
        }
    }
}

/// Returns the sessions that are running.
pub fn live(state: &Utf8Path) -> Result<Vec<Session>, Failure> {
    registry::list(state).map_err(|error| {
        let path = crate::session::place::all(state);
        Failure::new(
            Exit::Failed,
            "session::list",
            format!("cannot read `{}`: {error}", escape(path.as_str())),
        )
    })
}

/// Keeps what agents did whose sessions were killed, before somebody looks for it.
pub fn gather(environment: &Environment) {
    for dead in reaper::clear(&environment.state, usize::MAX, &slow) {
        if let Fate::Waits(why) = &dead.fate {
            let text = format!("what the agent of {} did is not kept yet: {why}", dead.session);
            ui::warn(&escape(&text));
        }
        tracing::debug!(?dead, "a session was killed");
    }
}

/// Says why something takes its time.
pub fn slow() {
    ui::say("a session was killed whose agent has a long log: its trajectory is being made");
}

/// Returns the running session whose name begins like this.
pub fn find<'a>(live: &'a [Session], wanted: &str) -> Result<&'a Session, Failure> {
    let matching: Vec<&Session> = live.iter().filter(|session| session.id.starts_with(wanted)).collect();
    Ok(matching[only(wanted, matching.iter().map(|session| session.id.as_str()))?])
}

/// Renders rows below their titles; the last column may be of any width.
pub fn table<const N: usize>(titles: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let titles = titles.map(str::to_uppercase);
    let escaped = rows.map(|row| row.map(|cell| escape(&cell)));
    let rows: Vec<[String; N]> = std::iter::once(titles).chain(escaped).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_name_is_enough_where_it_is_one_ones() {
        let names = ["abc", "abd", "b", "ba"];
        let find = |wanted: &str| {
            let matching = names.iter().copied().filter(|name| name.starts_with(wanted));
            only(wanted, matching.clone()).map(|index| matching.clone().nth(index).unwrap())
        };
        assert_eq!(find("abc").unwrap(), "abc");
        assert_eq!(find("b").unwrap(), "b");
        assert_eq!(find("x").unwrap_err().exit, Exit::Failed);
        assert_eq!(find("ab").unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn a_table_steers_no_terminal() {
        let rows = [["a".to_owned(), "\u{1b}[31m".to_owned()], ["long".to_owned(), String::new()]];
        let expected = "ONE   TWO\na     \\u{1b}[31m\nlong\n";
        assert_eq!(table(["one", "two"], rows.into_iter()), expected);
    }
}
