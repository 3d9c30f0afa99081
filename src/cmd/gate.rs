//! What the exit gate found, as text for people and as a failure.

use crate::diag::{Exit, Failure};
use crate::plan::GateMode;
use crate::session::gate::{Change, Class, Fate, Finding, Report, What};
use crate::ui;
use crate::util::text::escape;

/// Lines of findings.
const MOST_SHOWN: usize = 20;

/// Names in the line of what a build runs.
const MOST_BRIEF: usize = 10;

/// Reasons start in one column as long as paths are not longer than this.
const MOST_WIDTH: usize = 40;

/// Says what was found; nothing where nothing was.
pub fn tell(report: &Report) {
    for line in warnings(report) {
        ui::warn(&line);
    }
}

/// Returns the failure that the mode calls for.
pub fn judge(report: &Report) -> Option<Failure> {
    if !report.fails() {
        return None;
    }
    Some(if report.mode == GateMode::Block {
        let count = files(report.obeyed);
        let message =
            format!("the gate is `block`, and the session left {count} that programs here execute or obey");
        Failure::new(Exit::Failed, "gate::blocked", message)
            .help("remove what should not be there, or look at it and go on: the next session does not list it again")
    } else {
        let message = format!("{} could not be moved to the quarantine", files(report.stuck));
        Failure::new(Exit::Failed, "gate::quarantine", message)
            .help("look at each before your next command there")
    })
}

fn files(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

/// One text of several lines for what is obeyed, one line for what a build runs.
fn warnings(report: &Report) -> Vec<String> {
    let of = |class| report.findings.iter().filter(move |finding| finding.class == class);
    let mut warnings = Vec::new();
    if report.obeyed > 0 {
        let count = files(report.obeyed);
        let mut text = match &report.quarantine {
            Some(place) => {
                format!("{count} that programs here execute or obey: moved to `{}`", escape(place.as_str()))
            }
            None => format!("the session left {count} that programs here execute or obey"),
        };
        for line in lines(&of(Class::Obeyed).collect::<Vec<_>>()) {
            text.push_str(&format!("\n  {line}"));
        }
        if report.mode == GateMode::Report {
            text.push_str(
                "\nhelp: look at each before your next command there; `gate quarantine` in `workspace` moves such files away",
            );
        }
        for command in &report.restore {
            text.push_str(&format!("\nhelp: to get them back: {}", escape(command)));
        }
        warnings.push(text);
    }
    if report.built > 0 {
        let shown: Vec<String> =
            of(Class::Built).take(MOST_BRIEF).map(|finding| format!("`{}`", finding.path)).collect();
        let more = report.built - shown.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        warnings.push(format!("builds and tests run what is new in {}{more}", shown.join(", ")));
    }
    warnings
}

/// A line for each finding; where they are too many, for each reason, so that none hides behind many others.
fn lines(findings: &[&Finding]) -> Vec<String> {
    if findings.len() <= MOST_SHOWN {
        let width = findings.iter().map(|finding| name(finding).chars().count()).max().unwrap_or(0);
        return findings.iter().map(|finding| line(finding, width.min(MOST_WIDTH))).collect();
    }
    let mut groups: Vec<(&Finding, usize)> = Vec::new();
    for finding in findings {
        match groups.iter_mut().find(|(first, _)| first.reason == finding.reason) {
            Some((_, more)) => *more += 1 + finding.alike,
            None => groups.push((finding, finding.alike)),
        }
    }
    // What is no plain file comes first: repositories, links that leave, pipes and sockets.
    groups.sort_by_key(|(first, _)| first.what == What::File);
    let hidden: usize = groups.iter().skip(MOST_SHOWN).map(|(_, more)| more + 1).sum();
    let mut lines = Vec::new();
    for (first, more) in groups.into_iter().take(MOST_SHOWN) {
        let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        lines.push(format!("{}{more}", line(first, 0)));
    }
    if hidden > 0 {
        lines.push(format!("and {hidden} more"));
    }
    lines
}

/// Path, target and reason are escaped where they are made.
fn line(finding: &Finding, width: usize) -> String {
    let change = match finding.change {
        Change::New => "new",
        Change::Changed => "changed",
    };
    // Where it was moved to is said once for all.
    let fate = match &finding.fate {
        fate @ Fate::Stuck { .. } => fate.to_string(),
        Fate::Left | Fate::Moved { .. } => String::new(),
    };
    format!("{change:<7}  {:<width$}  {}{fate}", name(finding), finding.reason)
}

fn name(finding: &Finding) -> String {
    match &finding.target {
        Some(target) => format!("{} -> {target}", finding.path),
        None => finding.path.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(path: &str, what: What, reason: &str) -> Finding {
        let (change, class, fate) = (Change::New, Class::Obeyed, Fate::Left);
        Finding {
            path: path.into(),
            change,
            class,
            what,
            target: None,
            reason: reason.into(),
            fate,
            alike: 0,
        }
    }

    #[test]
    fn few_findings_are_a_line_each() {
        let mut link = finding("out", What::Link, "leaves");
        link.target = Some("/etc".into());
        link.fate = Fate::Stuck { why: "it\nis".into() };
        let file = finding(".envrc", What::File, "direnv runs it");
        let expected =
            ["new      .envrc       direnv runs it", "new      out -> /etc  leaves (not moved: it\\nis)"];
        assert_eq!(lines(&[&file, &link]), expected);
    }

    #[test]
    fn one_finding_does_not_hide_behind_many() {
        let mut many: Vec<Finding> =
            (0..900).map(|number| finding(&format!("a{number}"), What::File, "a")).collect();
        many[899].alike = 100;
        many.push(finding("sub/.git", What::Directory, "git"));
        many.push(finding("z", What::File, "z"));
        let shown = lines(&many.iter().collect::<Vec<_>>());
        assert_eq!(shown, ["new      sub/.git  git", "new      a0  a (and 999 more)", "new      z  z"]);
        let reasons: Vec<Finding> =
            (0..30).map(|number| finding("x", What::File, &number.to_string())).collect();
        let shown = lines(&reasons.iter().collect::<Vec<_>>());
        assert_eq!((shown.len(), shown[20].as_str()), (21, "and 10 more"));
    }
}
