//! `pier trajectory convert`.

use camino::Utf8PathBuf;
use clap::Args;

use crate::atif::report::{Report, Run, Status};
use crate::atif::{VERSIONS, WRITTEN};
use crate::cmd::Outcome;
use crate::diag::{Exit, Failure};
use crate::trajectory::{self, Converted, Error, NAME, Out, Request, Whose};
use crate::ui;
use crate::util::fs::Output;
use crate::util::text::{counted, escape};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier trajectory convert ~/.claude/projects/-home-me-app -o trajectory.json\n  pier trajectory convert trial/agent --agent codex\n  pier trajectory convert session.jsonl -o - | jq '.steps | length'"
)]
pub struct Convert {
    /// A directory of logs, a trial's `agent` directory, or one log.
    logs: Utf8PathBuf,
    /// Whose logs they are; found out otherwise.
    #[arg(short, long, value_name = "NAME")]
    agent: Option<String>,
    /// Where the trajectory goes, `-` for the standard output; beside the logs otherwise.
    #[arg(short, long, value_name = "FILE")]
    output: Option<Utf8PathBuf>,
    /// The model, where the logs do not name it.
    #[arg(short, long, value_name = "NAME")]
    model: Option<String>,
    /// The version of the agent, where the logs do not say it.
    #[arg(long, value_name = "VERSION")]
    agent_version: Option<String>,
    /// The version of the format that is written.
    #[arg(long, value_name = "VERSION", default_value = "1.7", value_parser = ["1.7", "1.8"])]
    atif: String,
    /// What models cost: a table of pier's form, or that of `LiteLLM`; pier's own otherwise.
    #[arg(long, value_name = "FILE")]
    prices: Option<Utf8PathBuf>,
    /// What was found, as JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Convert) -> Outcome {
    let prices = super::prices(args.prices.as_ref())?;
    let format = VERSIONS.iter().find(|known| known.ends_with(&format!("v{}", args.atif)));
    let request = Request {
        logs: &args.logs,
        only: None,
        since: None,
        conversations: None,
        whose: args.agent.as_deref().map_or(Whose::Unknown, Whose::Known),
        agent_version: args.agent_version.as_deref(),
        model: args.model.as_deref(),
        prices: &prices,
        format: format.unwrap_or(&WRITTEN),
        is_running: false,
    };
    let beside = if args.logs.is_dir() { args.logs.join(NAME) } else { args.logs.with_file_name(NAME) };
    let output = args.output.as_ref().unwrap_or(&beside);
    let write = |error| failure(&Error::Write { path: output.clone(), error });
    let progress = ui::Progress::default();
    let heard = |read, of| progress.bytes("logs read", read, of);
    let converted = if output == "-" {
        trajectory::convert(&request, Out::Stream(&mut std::io::stdout().lock()), &heard)
    } else {
        match Output::at(output).map_err(write)? {
            Output::File => trajectory::convert(&request, Out::File(output), &heard),
            Output::Stream(mut stream) => trajectory::convert(&request, Out::Stream(&mut stream), &heard),
        }
    };
    drop(progress);
    let converted = converted.map_err(|error| failure(&error))?;
    tell(&converted, args.json && output != "-");
    Ok(if converted.report.status == Status::Failed { Exit::Failed } else { Exit::Done })
}

/// The failure of a conversion that made nothing.
pub fn failure(error: &Error) -> Failure {
    let (exit, code, help) = match error {
        Error::Read { .. } => (Exit::Failed, "trajectory::read", "name a directory of logs, or a log"),
        Error::Write { .. } => (
            Exit::Failed,
            "trajectory::write",
            "check the space and the permissions there, or choose another place: `-o FILE`",
        ),
        Error::NoLogs { .. } => (
            Exit::Failed,
            "trajectory::logs",
            "name where an agent has left its logs; `--agent NAME` says whose they are",
        ),
        Error::SeveralAgents { .. } => {
            (Exit::Usage, "trajectory::logs", "say whose logs are meant: `--agent NAME`")
        }
        Error::NoReader { .. } => (Exit::Usage, "trajectory::agent", "name one of those"),
    };
    Failure::new(exit, code, escape(&error.to_string())).help(help)
}

/// Says what became of it: to people on the error stream, for the document may be on the other one.
fn tell(converted: &Converted, json: bool) {
    if json {
        ui::json(converted);
        return;
    }
    if let (Some(path), Some(summary)) = (&converted.trajectory, &converted.summary) {
        let mut parts = vec![format!("trajectory: {}", escape(path.as_str()))];
        parts.push(counted(summary.steps, "step", "steps"));
        if summary.subagents > 0 {
            parts.push(counted(summary.subagents, "sub-agent", "sub-agents"));
        }
        if let Some(tokens) = summary.prompt_tokens.zip(summary.completion_tokens) {
            parts.push(format!("{} read, {} written", counted(tokens.0, "token", "tokens"), tokens.1));
        }
        parts.extend(summary.cost_usd.map(|cost| format!("${cost:.4}")));
        ui::answer(&parts.join(", "));
    }
    said(&converted.report);
}

/// Says how the run ended, and what is missing.
pub fn said(report: &Report) {
    match &report.run {
        Run::Failed(reason) => ui::say(&format!("the agent failed: {}", escape(reason))),
        Run::Interrupted => ui::say("the agent was interrupted: its log ends before it did"),
        Run::Finished | Run::Running | Run::Unknown => {}
    }
    for reason in &report.reasons {
        let at = match (&reason.file, reason.line) {
            (Some(file), Some(line)) if line > 0 => format!("{}:{line}: ", escape(file)),
            (Some(file), _) => format!("{}: ", escape(file)),
            _ => String::new(),
        };
        ui::warn(&format!("{at}{}", escape(&reason.text)));
    }
    let unknown: Vec<String> =
        report.unknown.iter().map(|(name, count)| format!("{count} `{}`", escape(name))).collect();
    if !unknown.is_empty() {
        ui::warn(&format!("records that pier does not know are kept in `extra`: {}", unknown.join(", ")));
    }
}
