//! The Antigravity SDK, which is a library and has no program: pier starts a launcher of the user's own, called `antigravity-sdk`,
//! that takes `--model` and `--instruction` and writes the events of the library to `~/.antigravity-sdk/antigravity-sdk-events.jsonl`,
//! one `{"kind": "step" or "tool_result", "value": ..}` a line. Its reader was tested with logs that were written for the tests only,
//! never with those of a live run.

use serde_json::Value;

use super::has_flag;
use super::log::Converter;
use super::tuning::{Tunable, Way};
use super::{Agent, Copy, Install, McpSetup, Places, Request, Role, Shape, Takes, Verdict};
use crate::config::values::Type;
use crate::config::{ImportKind, Mcp};

mod log;

pub struct AntigravitySdk;

impl Agent for AntigravitySdk {
    fn name(&self) -> &'static str {
        "antigravity-sdk"
    }

    fn launchers(&self) -> Vec<&str> {
        vec!["antigravity-sdk"]
    }

    fn install(&self) -> Install {
        Install::Never
    }

    fn is_headless(&self, words: &[String]) -> bool {
        has_flag(words, &["--instruction"])
    }

    fn command(&self, request: &Request<'_>) -> Vec<String> {
        let mut args: Vec<String> = Vec::new();
        let given = [request.args, request.extra].concat();
        if let Some(model) = request.model.filter(|_| !has_flag(&given, &["--model"])) {
            args.push(format!("--model={}", model.strip_prefix("google/").unwrap_or(model)));
        }
        args.extend(given);
        // One word: a prompt that begins with a hyphen is no option then.
        args.extend(request.mode.prompt().map(|prompt| format!("--instruction={prompt}")));
        args
    }

    fn takes(&self) -> Takes {
        Takes { model: true, ..Takes::default() }
    }

    fn vendor(&self) -> Option<&'static str> {
        Some("google")
    }

    fn chooses_tools(&self) -> bool {
        false
    }

    fn tunables(&self) -> &'static [Tunable] {
        &[Tunable {
            name: "reasoning_effort",
            kind: Type::OneOf(&["minimal", "low", "medium", "high"]),
            way: Way::Variable("REASONING_EFFORT"),
            doc: "How much the model thinks.",
        }]
    }

    fn environment(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    fn reads(&self) -> &'static [&'static str] {
        &["GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL"]
    }

    fn refuses(&self) -> &'static [&'static str] {
        &[]
    }

    fn imports(&self, kind: ImportKind, from: Option<&str>, _: &Places<'_>) -> Vec<Copy> {
        match kind {
            ImportKind::Skills => vec![Copy::below(from, "~/.gemini", "skills", Shape::Tree, None)],
            ImportKind::Auth
            | ImportKind::Settings
            | ImportKind::Extensions
            | ImportKind::Prompts
            | ImportKind::Roles
            | ImportKind::Sessions => Vec::new(),
        }
    }

    fn hosts(&self, _: Option<&str>) -> Vec<&str> {
        vec!["generativelanguage.googleapis.com"]
    }

    fn base_urls(&self) -> &'static [&'static str] {
        &["GOOGLE_GEMINI_BASE_URL"]
    }

    fn replaces(&self, name: &str) -> Option<&'static str> {
        (name == "GOOGLE_GEMINI_BASE_URL").then_some("generativelanguage.googleapis.com")
    }

    fn mcp(&self, _: &[Mcp], _: Option<&Role<'_>>) -> McpSetup {
        McpSetup::Unsupported
    }

    fn skills_dir(&self) -> Option<&'static str> {
        Some(".gemini/skills")
    }

    fn logs(&self) -> Vec<&str> {
        vec![".antigravity-sdk/antigravity-sdk-events.jsonl"]
    }

    fn converter(&self) -> Option<&'static dyn Converter> {
        Some(&log::Log)
    }

    /// Reads the last step, where the launcher prints the events as well.
    fn verdict(&self, exit: u8, stdout: &str) -> Verdict {
        let events = stdout.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let last = events.into_iter().find(|event| event["kind"] == "step");
        match last {
            Some(step) if step["value"]["is_complete_response"] == true && exit == 0 => Verdict::Finished,
            Some(_) if exit != 0 => Verdict::Failed { reason: format!("exit code {exit}") },
            // It stopped in the middle of its work: killed, or cut.
            _ => Verdict::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mode;
    use super::*;

    fn words(text: &[&str]) -> Vec<String> {
        text.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn command_lines() {
        let args = words(&["--effort", "high"]);
        let own = words(&["--model=x", "--instruction", "do it"]);
        let model = Some("google/gemini-3.6-flash");
        let headless = Mode::Headless { prompt: Some("--help me") };
        let table: Vec<(Request<'_>, &[&str])> = vec![
            (Request::default(), &[]),
            (
                Request { mode: headless, model, args: &args, ..Request::default() },
                &["--model=gemini-3.6-flash", "--effort", "high", "--instruction=--help me"],
            ),
            (
                Request { mode: Mode::Headless { prompt: None }, model, extra: &own, ..Request::default() },
                &["--model=x", "--instruction", "do it"],
            ),
        ];
        for (request, expected) in table {
            assert_eq!(AntigravitySdk.command(&request), words(expected), "{request:?}");
        }
        assert!(AntigravitySdk.is_headless(&own) && !AntigravitySdk.is_headless(&args));
    }

    #[test]
    fn the_last_step_decides() {
        let step = |complete: bool| {
            format!("{{\"kind\":\"step\",\"value\":{{\"is_complete_response\":{complete}}}}}\n")
        };
        assert_eq!(AntigravitySdk.verdict(0, &(step(false) + &step(true))), Verdict::Finished);
        assert_eq!(AntigravitySdk.verdict(0, &(step(true) + &step(false))), Verdict::Unknown);
        let failed = Verdict::Failed { reason: "exit code 1".to_owned() };
        assert_eq!(AntigravitySdk.verdict(1, &step(true)), failed);
        assert_eq!(AntigravitySdk.verdict(1, "plain words"), Verdict::Unknown);
    }
}
