//! What the exit gate found, as text for people and as a failure.

use crate::diag::{Exit, Failure};
use crate::plan::GateMode;
use crate::session::gate::{Change, Class, Fate, Finding, Report};
use crate::ui;
use crate::util::text::escape;

/// Findings that are shown; the rest is counted.
const MOST_SHOWN: usize = 20;

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
        let message = format!("the session left {} that programs here execute or obey", files(report.obeyed));
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
        for finding in of(Class::Obeyed).take(MOST_SHOWN) {
            text.push_str(&format!("\n  {}", line(finding)));
        }
        if report.obeyed > MOST_SHOWN {
            text.push_str(&format!("\n  and {} more", report.obeyed - MOST_SHOWN));
        }
        if report.mode == GateMode::Report {
            text.push_str("\nhelp: look at each before your next command there; `gate quarantine` in `workspace` moves such files away");
        }
        for command in &report.restore {
            text.push_str(&format!("\nhelp: to get them back: {}", escape(command)));
        }
        warnings.push(text);
    }
    if report.built > 0 {
        let shown: Vec<String> = of(Class::Built).take(5).map(brief).collect();
        let more = report.built - shown.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        warnings.push(format!("builds and tests run what is new in {}{more}", shown.join(", ")));
    }
    warnings
}

fn change(finding: &Finding) -> &'static str {
    match finding.change {
        Change::New => "new",
        Change::Changed => "changed",
    }
}

/// The path and the reason are escaped where they are made.
fn line(finding: &Finding) -> String {
    let fate = match &finding.fate {
        Fate::Stuck { why } => format!(" (not moved: {})", escape(why)),
        Fate::Left | Fate::Moved { .. } => String::new(),
    };
    format!("{:<7}  {}  {}{fate}", change(finding), finding.path, finding.reason)
}

fn brief(finding: &Finding) -> String {
    format!("`{}`", finding.path)
}
