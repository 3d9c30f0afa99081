//! `pier trajectory diff`: what two runs did alike, and from where on they did not.

use camino::{Utf8Path, Utf8PathBuf};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::kept;
use super::read::{Trajectory, call_line, content, list};
use super::stats::Numbers;
use crate::atif::walk::Reader;
use crate::cmd::Outcome;
use crate::diag::{Exit, Failure};
use crate::ui;
use crate::util::text::escape;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier trajectory diff one/trajectory.json other/trajectory.json\n  pier trajectory diff trial-1 trial-2 --json"
)]
pub struct Diff {
    /// A trajectory, a directory with one, or the name of a session.
    one: Utf8PathBuf,
    /// The other.
    other: Utf8PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What an agent did in one go: a call, or a word where it called nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Act {
    step: usize,
    line: String,
}

#[derive(Debug, Serialize)]
struct Line {
    /// `=`, `-` or `+`.
    sign: char,
    /// The steps, in the one and in the other.
    steps: (Option<usize>, Option<usize>),
    act: String,
}

/// The most pairs of acts that are compared; beyond, only what both begin and end with is found.
const MOST_PAIRS: usize = 16 << 20;

pub fn run(args: &Diff) -> Outcome {
    let (one, other) = (side(&args.one)?, side(&args.other)?);
    let lines = compare(&one.1, &other.1);
    let differs = lines.iter().any(|line| line.sign != '=');
    if args.json {
        let first = lines.iter().find(|line| line.sign != '=').map(|line| line.steps);
        ui::json(&serde_json::json!({ "runs": [one.0, other.0], "diverges_at": first, "acts": lines }));
        return Ok(if differs { Exit::Failed } else { Exit::Done });
    }
    for (sign, numbers) in [('-', &one.0), ('+', &other.0)] {
        ui::answer(&format!("{sign} {}: {}", escape(numbers.file.as_str()), super::stats::line(numbers)));
    }
    ui::answer("");
    for line in &lines {
        let number =
            |step: Option<usize>| step.map_or_else(|| "    ".to_owned(), |step| format!("{step:>4}"));
        let (one, other) = line.steps;
        ui::answer(&format!("{} {} {}  {}", line.sign, number(one), number(other), escape(&line.act)));
    }
    Ok(if differs { Exit::Failed } else { Exit::Done })
}

fn side(path: &Utf8Path) -> Result<(Numbers, Vec<Act>), Failure> {
    let found = kept::one(Some(path))?;
    let path = &found.files[0];
    let mut acts = Acts::default();
    Trajectory::open(path)?.walk(path, &mut acts)?;
    let mut numbers = Numbers::of(path)?;
    numbers.file = found.name(path).into();
    Ok((numbers, acts.acts))
}

/// Collects the acts of a document without those of its sub-agents: of each a line.
#[derive(Default)]
struct Acts {
    depth: usize,
    acts: Vec<Act>,
}

impl Reader for Acts {
    fn begin(&mut self, _: &str) {
        self.depth += 1;
    }

    fn step(&mut self, index: usize, step: Value) {
        if self.depth != 1 || step.get("source").and_then(Value::as_str) != Some("agent") {
            return;
        }
        let number = index + 1;
        let calls = list(&step, "tool_calls");
        self.acts.extend(calls.iter().map(|call| Act { step: number, line: call_line(call) }));
        let said = content(step.get("message").unwrap_or(&Value::Null));
        if calls.is_empty() && !said.is_empty() {
            let line = said.lines().next().unwrap_or_default().to_owned();
            self.acts.push(Act { step: number, line: format!("says: {line}") });
        }
    }

    fn field(&mut self, _: &str, _: Value) {}

    fn end(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }
}

/// Finds the longest common sequence of acts.
fn compare(one: &[Act], other: &[Act]) -> Vec<Line> {
    let same = |pair: &(&Act, &Act)| pair.0.line == pair.1.line;
    let before = one.iter().zip(other).take_while(same).count();
    let (rest_one, rest_other) = (&one[before..], &other[before..]);
    let after = rest_one.iter().rev().zip(rest_other.iter().rev()).take_while(same).count();
    let (middle_one, middle_other) =
        (&rest_one[..rest_one.len() - after], &rest_other[..rest_other.len() - after]);
    let mut lines = Vec::new();
    let both = |one: &Act, other: &Act| Line {
        sign: '=',
        steps: (Some(one.step), Some(other.step)),
        act: one.line.clone(),
    };
    lines.extend(one[..before].iter().zip(other).map(|(one, other)| both(one, other)));
    let gone = |act: &Act| Line { sign: '-', steps: (Some(act.step), None), act: act.line.clone() };
    let new = |act: &Act| Line { sign: '+', steps: (None, Some(act.step)), act: act.line.clone() };
    if middle_one.len().saturating_mul(middle_other.len()) > MOST_PAIRS {
        lines.extend(middle_one.iter().map(gone).chain(middle_other.iter().map(new)));
    } else {
        let (rows, columns) = (middle_one.len(), middle_other.len());
        let mut longest = vec![0_u32; (rows + 1) * (columns + 1)];
        let at = |row: usize, column: usize| row * (columns + 1) + column;
        for row in (0..rows).rev() {
            for column in (0..columns).rev() {
                longest[at(row, column)] = if middle_one[row].line == middle_other[column].line {
                    longest[at(row + 1, column + 1)] + 1
                } else {
                    longest[at(row + 1, column)].max(longest[at(row, column + 1)])
                };
            }
        }
        let (mut row, mut column) = (0, 0);
        while row < rows || column < columns {
            if row < rows && column < columns && middle_one[row].line == middle_other[column].line {
                lines.push(both(&middle_one[row], &middle_other[column]));
                (row, column) = (row + 1, column + 1);
            } else if column == columns
                || (row < rows && longest[at(row + 1, column)] >= longest[at(row, column + 1)])
            {
                lines.push(gone(&middle_one[row]));
                row += 1;
            } else {
                lines.push(new(&middle_other[column]));
                column += 1;
            }
        }
    }
    let (end_one, end_other) = (&rest_one[rest_one.len() - after..], &rest_other[rest_other.len() - after..]);
    lines.extend(end_one.iter().zip(end_other).map(|(one, other)| both(one, other)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_did_stands_once() {
        let acts = |words: &str| -> Vec<Act> {
            words
                .split(' ')
                .enumerate()
                .map(|(step, line)| Act { step: step + 1, line: line.to_owned() })
                .collect()
        };
        let signs = |one: &str, other: &str| -> String {
            let lines = compare(&acts(one), &acts(other));
            lines.iter().map(|line| format!("{}{}", line.sign, line.act)).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(signs("a b c", "a b c"), "=a =b =c");
        assert_eq!(signs("a b c d", "a x c d"), "=a -b +x =c =d");
        assert_eq!(signs("a b c d e", "a c b d"), "=a -b =c +b =d -e");
        assert_eq!(signs("a", "b"), "-a +b");
    }
}
