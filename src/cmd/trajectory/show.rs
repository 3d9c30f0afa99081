//! `pier trajectory show`: a trajectory as a conversation.

use anstyle::{AnsiColor, Style};
use camino::Utf8PathBuf;
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::kept;
use super::read::{Document, Trajectory, call_line, content, is_error, list, results};
use crate::atif::walk::Reader;
use crate::backend::pager;
use crate::cmd::Outcome;
use crate::diag::Exit;
use crate::env::Environment;
use crate::ui;
use crate::util::text::{counted, escape, escape_lines};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier trajectory show\n  pier trajectory show trial/agent/trajectory.json --only errors\n  pier trajectory show trial --steps 10-20 --full --reasoning"
)]
pub struct Show {
    /// A trajectory, a directory with one, or the name of a session, which may still run; the newest of this directory or project
    /// otherwise.
    path: Option<Utf8PathBuf>,
    /// These steps: `7`, `7-`, `-7` or `7-9`.
    #[arg(long, value_name = "STEPS", value_parser = range, allow_hyphen_values = true)]
    steps: Option<(usize, usize)>,
    /// Steps of one kind.
    #[arg(long, value_enum, value_name = "KIND")]
    only: Option<Kind>,
    /// What the model thought, too.
    #[arg(short, long)]
    reasoning: bool,
    /// All of what tools said; their first and last lines otherwise.
    #[arg(short, long)]
    full: bool,
    /// Print it without a pager.
    #[arg(long)]
    no_pager: bool,
    /// As JSON: the steps as they are in the document, a line each.
    #[arg(long, conflicts_with_all = ["reasoning", "full"])]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Where a tool or the model's service failed.
    Errors,
    /// With a call of a tool.
    Tools,
    User,
    System,
    Agent,
}

/// How many lines of what a tool said are shown from its beginning, and from its end.
const FIRST: usize = 8;
const LAST: usize = 4;

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
const USER: Style = AnsiColor::Cyan.on_default().bold();
const AGENT: Style = AnsiColor::Green.on_default().bold();
const TOOL: Style = AnsiColor::Blue.on_default();
const ERROR: Style = AnsiColor::Red.on_default();

pub fn run(args: &Show) -> Outcome {
    let found = kept::one(args.path.as_deref())?;
    let path = &found.files[0];
    let trajectory = Trajectory::open(path)?;
    let document = Document::load(path, &trajectory)?;
    let environment = Environment::of_process()?;
    let screen =
        Screen { may_page: !args.no_pager && !args.json, pager: environment.pager(), ..Screen::default() };
    let mut teller = Teller { args, document: &document, level: 1, depth: 0, sub: 0, before: None, screen };
    if !args.json {
        teller.screen.put(&head(&document));
    }
    // Those of sub-agents come behind all of the one that asked them, wherever they are in the document.
    let levels = if document.subagents.is_empty() || args.json { 1 } else { 2 };
    for level in 1..=levels {
        (teller.level, teller.sub) = (level, 0);
        trajectory.walk(path, &mut teller)?;
    }
    teller.screen.close();
    Ok(Exit::Done)
}

/// How much of an answer is collected before it is printed, in bytes: more than any terminal has rows for.
const SCREEN: usize = 256 << 10;

/// Where an answer of any length goes: through the user's pager where it is long, and a part at a time.
#[derive(Default)]
struct Screen<'a> {
    text: String,
    /// Nobody has seen yet whether it is long.
    may_page: bool,
    /// The pager that the user wants.
    pager: Option<&'a str>,
    open: Option<pager::Pager>,
}

impl Screen<'_> {
    fn put(&mut self, text: &str) {
        self.text.push_str(text);
        if self.text.len() > SCREEN {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if std::mem::take(&mut self.may_page) && ui::answer_is_long(&self.text) {
            self.open = pager::Pager::open(self.pager);
        }
        match &mut self.open {
            Some(pager) => pager.put(&self.text),
            None => ui::write_styled(&self.text),
        }
        self.text.clear();
    }

    fn close(mut self) {
        self.flush();
        if let Some(pager) = self.open {
            pager.close();
        }
    }
}

/// Shows the steps of the documents of one level.
struct Teller<'a> {
    args: &'a Show,
    document: &'a Document,
    /// 1 for the agent that was asked, 2 for those that it asked.
    level: usize,
    depth: usize,
    /// How many sub-agents there were before.
    sub: usize,
    before: Option<jiff::Timestamp>,
    screen: Screen<'a>,
}

impl Reader for Teller<'_> {
    fn begin(&mut self, _: &str) {
        self.depth += 1;
        if self.depth != self.level {
            return;
        }
        self.before = None;
        if self.level == 2 {
            let sub = self.document.subagents.get(self.sub);
            let id = escape(sub.and_then(|sub| sub.text(&["trajectory_id"])).unwrap_or("?"));
            self.screen.put(&format!("\n{BOLD}sub-agent {id}{BOLD:#}\n"));
            self.sub += 1;
        }
    }

    fn step(&mut self, index: usize, step: Value) {
        let (from, to) = self.args.steps.unwrap_or((1, usize::MAX));
        let is_chosen =
            (from..=to).contains(&(index + 1)) && self.args.only.is_none_or(|kind| is(&step, kind));
        if self.depth != self.level || !is_chosen {
            return;
        }
        if self.args.json {
            ui::answer(&crate::util::text::json_text(&step.to_string()));
            return;
        }
        let mut text = String::new();
        let indent = if self.level == 2 { "    " } else { "" };
        one(&step, self.args, &mut self.before, indent, &mut text);
        self.screen.put(&text);
    }

    fn field(&mut self, _: &str, _: Value) {}

    fn end(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }
}

/// Reads `7`, `7-`, `-7` and `7-9`.
fn range(text: &str) -> Result<(usize, usize), String> {
    let number = |text: &str, otherwise| {
        if text.is_empty() {
            Ok(otherwise)
        } else {
            text.parse().map_err(|_| format!("`{text}` is no number"))
        }
    };
    match text.split_once('-') {
        None => number(text, 1).map(|number| (number, number)),
        Some((from, to)) => Ok((number(from, 1)?, number(to, usize::MAX)?)),
    }
}

fn is(step: &Value, kind: Kind) -> bool {
    let source = step.get("source").and_then(Value::as_str);
    match kind {
        Kind::Errors => {
            results(step).iter().any(is_error)
                || ["api_error", "error"].iter().any(|key| step.pointer(&format!("/extra/{key}")).is_some())
        }
        Kind::Tools => !list(step, "tool_calls").is_empty(),
        Kind::User => source == Some("user"),
        Kind::System => source == Some("system"),
        Kind::Agent => source == Some("agent"),
    }
}

/// What the whole document says.
fn head(document: &Document) -> String {
    let mut text = String::new();
    let words = [document.text(&["agent", "name"]), document.text(&["agent", "version"])];
    let name: Vec<String> = words.into_iter().flatten().map(escape).collect();
    text.push_str(&format!("{BOLD}{}{BOLD:#}", name.join(" ")));
    for path in [&["agent", "model_name"][..], &["session_id"]] {
        if let Some(word) = document.text(path) {
            text.push_str(&format!(" · {}", escape(word)));
        }
    }
    let mut parts = vec![counted(document.steps, "step", "steps")];
    let total = |key: &str| document.number(&["final_metrics", key]);
    if let Some(read) = total("total_prompt_tokens") {
        let cached = total("total_cached_tokens").unwrap_or(0.0);
        let written = total("total_completion_tokens").unwrap_or(0.0);
        let tokens = if (0.5..1.5).contains(&read) { "token" } else { "tokens" };
        parts.push(format!("{read} {tokens} read ({cached} cached), {written} written"));
    }
    parts.extend(total("total_cost_usd").map(|cost| format!("${cost:.4}")));
    parts.extend(document.text(&["extra", "run", "outcome"]).map(escape));
    text.push_str(&format!("\n{}\n", parts.join(", ")));
    if let Some(reason) = document.text(&["extra", "run", "reason"]) {
        text.push_str(&format!("{ERROR}{}{ERROR:#}\n", escape_lines(reason)));
    }
    text
}

/// Adds one step.
fn one(step: &Value, args: &Show, before: &mut Option<jiff::Timestamp>, indent: &str, text: &mut String) {
    let source = step.get("source").and_then(Value::as_str).unwrap_or("?");
    let style = match source {
        "user" => USER,
        "agent" => AGENT,
        _ => DIM,
    };
    let number = step.get("step_id").map(Value::to_string).unwrap_or_default();
    text.push_str(&format!("\n{indent}{style}#{number} {}{style:#}", escape(source)));
    let time =
        step.get("timestamp").and_then(Value::as_str).and_then(|time| time.parse::<jiff::Timestamp>().ok());
    if let (Some(time), Some(before)) = (time, *before) {
        text.push_str(&format!("{DIM} +{:.1}s{DIM:#}", time.duration_since(before).as_secs_f64().max(0.0)));
    }
    *before = time.or(*before);
    if let Some(metrics) = step.get("metrics") {
        let number = |key: &str| metrics.get(key).filter(|value| value.is_number()).map(Value::to_string);
        if let (Some(read), Some(written)) = (number("prompt_tokens"), number("completion_tokens")) {
            text.push_str(&format!("{DIM} {read} read, {written} written{DIM:#}"));
        }
        if let Some(cost) = metrics.get("cost_usd").and_then(Value::as_f64) {
            text.push_str(&format!("{DIM} ${cost:.4}{DIM:#}"));
        }
    }
    text.push('\n');
    let reasoning = step.get("reasoning_content").and_then(Value::as_str).unwrap_or_default();
    if !reasoning.is_empty() && args.reasoning {
        put(text, indent, DIM, reasoning, usize::MAX);
    } else if !reasoning.is_empty() {
        let thought = counted(reasoning.chars().count(), "character", "characters");
        text.push_str(&format!("{indent}  {DIM}… thought {thought}{DIM:#}\n"));
    }
    let limit = if args.full || source != "system" { usize::MAX } else { FIRST };
    put(text, indent, Style::new(), &content(step.get("message").unwrap_or(&Value::Null)), limit);
    let calls = list(step, "tool_calls");
    let limit = if args.full { usize::MAX } else { FIRST };
    for call in calls {
        text.push_str(&format!("{indent}  {TOOL}▸ {}{TOOL:#}\n", escape(&call_line(call))));
        if args.full {
            put(
                text,
                indent,
                DIM,
                &call.get("arguments").map(Value::to_string).unwrap_or_default(),
                usize::MAX,
            );
        }
        let id = call.get("tool_call_id");
        let answers = results(step).iter().filter(|result| result.get("source_call_id") == id);
        for result in answers {
            answer(result, indent, limit, text);
        }
    }
    let calls: Vec<_> = calls.iter().map(|call| call.get("tool_call_id")).collect();
    for result in results(step).iter().filter(|result| !calls.contains(&result.get("source_call_id"))) {
        answer(result, indent, limit, text);
    }
}

fn answer(result: &Value, indent: &str, limit: usize, text: &mut String) {
    let style = if is_error(result) { ERROR } else { Style::new() };
    let indent = format!("{indent}  ");
    put(text, &indent, style, &content(result.get("content").unwrap_or(&Value::Null)), limit);
    for reference in list(result, "subagent_trajectory_ref") {
        if let Some(id) = reference.get("trajectory_id").and_then(Value::as_str) {
            text.push_str(&format!("{indent}  {DIM}→ sub-agent {}{DIM:#}\n", escape(id)));
        }
    }
}

/// Adds lines; of many the first and the last.
fn put(text: &mut String, indent: &str, style: Style, said: &str, limit: usize) {
    let safe = escape_lines(said.trim_end());
    let lines: Vec<&str> = safe.lines().collect();
    let left_out =
        if lines.len() > limit.saturating_add(LAST + 1) { limit..lines.len() - LAST } else { 0..0 };
    for (number, line) in lines.iter().enumerate() {
        if left_out.contains(&number) {
            if number == left_out.start {
                let lines = counted(left_out.len(), "line", "lines");
                text.push_str(&format!("{indent}  {DIM}… {lines}{DIM:#}\n"));
            }
            continue;
        }
        text.push_str(&format!("{indent}  {style}{line}{style:#}\n"));
    }
}
