//! Pi, checked against 0.74.2.
//!
//! `PI_CODING_AGENT_SESSION_DIR` stays unset: since 0.71 it means "store sessions flat in this directory", which
//! hides every session that was made without it.

mod log;

use super::service::{self, Settings, URL_KEYS};
use super::tuning::{Tunable, Way};
use super::{
    Agent, CYCLE_DONE, Copy, Install, McpSetup, Npm, Places, ROLE_MANAGER, Request, Role, Scripts, Shape,
    Takes, Verdict,
};
use super::{below, has_flag};
use crate::config::values::Type;
use crate::config::{ImportKind, Mcp};

pub struct Pi;

const HOME: &str = "~/.pi/agent";

impl Agent for Pi {
    fn name(&self) -> &'static str {
        "pi"
    }

    fn launchers(&self) -> Vec<&str> {
        vec!["pi"]
    }

    fn install(&self) -> Install {
        Install::Npm(Npm {
            package: "@earendil-works/pi-coding-agent",
            bin: "pi",
            minimum_node: 20,
            scripts: Scripts::Skipped,
        })
    }

    fn command(&self, request: &Request<'_>) -> Vec<String> {
        let mut args: Vec<String> = Vec::new();
        let given = [request.args, request.extra].concat();
        if let Some(model) = request.model.filter(|_| !has_flag(&given, &["--model"])) {
            args.extend(["--model".to_owned(), model.to_owned()]);
        }
        if let Some(tools) = request.tools.filter(|_| !has_flag(&given, self.tool_flags())) {
            // The list is also one of the tools of extensions.
            let ends = request.role.map(|_| CYCLE_DONE);
            let tools: Vec<&str> = tools.iter().map(String::as_str).chain(ends).collect();
            if tools.is_empty() {
                args.push("--no-tools".to_owned());
            } else {
                args.extend(["--tools".to_owned(), tools.join(",")]);
            }
        }
        // It finds the role by a variable, and does the rest.
        if request.role.is_some() {
            args.extend(["-e".to_owned(), ROLE_MANAGER.to_owned()]);
        }
        // A prompt of the person's own is answered as the person expects: in plain text.
        if request.mode.tells_events() && !has_flag(&given, &["--mode"]) {
            args.extend(["--mode".to_owned(), "json".to_owned()]);
        }
        // Who gives a prompt as an argument has said so.
        let is_said = request.mode.prompt().is_none() && has_flag(&given, &["--print", "-p"]);
        args.extend(given);
        if request.mode.is_headless() && !is_said {
            // Last, for it takes the next word as the prompt.
            args.push("--print".to_owned());
        }
        args.extend(request.mode.prompt().map(message));
        args
    }

    fn tool_flags(&self) -> &'static [&'static str] {
        &["--tools", "-t", "--no-tools", "-nt"]
    }

    fn loads_roles(&self) -> bool {
        true
    }

    fn takes(&self) -> Takes {
        Takes::ALL
    }

    fn tunables(&self) -> &'static [Tunable] {
        &[Tunable {
            name: "reasoning_effort",
            kind: Type::OneOf(&["off", "minimal", "low", "medium", "high", "xhigh"]),
            way: Way::Word("--thinking"),
            doc: "How much the model thinks.",
        }]
    }

    fn environment(&self) -> &'static [(&'static str, &'static str)] {
        &[("PI_SKIP_VERSION_CHECK", "1"), ("PI_TELEMETRY", "0")]
    }

    fn reads(&self) -> &'static [&'static str] {
        READS
    }

    fn refuses(&self) -> &'static [&'static str] {
        // Host paths, and the mark of a session around this one.
        &["PI_CODING_AGENT", "PI_CODING_AGENT_DIR", "PI_CODING_AGENT_SESSION_DIR", "PI_PACKAGE_DIR"]
    }

    fn imports(&self, kind: ImportKind, from: Option<&str>, places: &Places<'_>) -> Vec<Copy> {
        let copy = |name: &str, shape, mode| Copy::below(from, HOME, name, shape, mode);
        let file = |name| copy(name, Shape::File, None);
        let tree = |name| copy(name, Shape::Tree, None);
        match kind {
            ImportKind::Auth => {
                // `models.json` may hold keys, and without it the providers of the login are not known.
                ["auth.json", "models.json"].map(|name| copy(name, Shape::File, Some(0o600))).to_vec()
            }
            ImportKind::Settings => ["settings.json", "keybindings.json"]
                .map(|name| copy(name, Shape::File, Some(0o600)))
                .to_vec(),
            ImportKind::Skills => vec![tree("skills")],
            ImportKind::Extensions => ["extensions", "npm", "git"].map(tree).to_vec(),
            ImportKind::Prompts => {
                let mut copies =
                    ["AGENTS.md", "CLAUDE.md", "SYSTEM.md", "APPEND_SYSTEM.md"].map(file).to_vec();
                copies.push(tree("prompts"));
                copies
            }
            ImportKind::Roles => vec![tree("roles")],
            // Of this project only: the others are none of this agent's business.
            ImportKind::Sessions => vec![Copy {
                from: below(from, HOME, &format!("sessions/{}", leaf(places.host_cwd.as_str()))),
                to: format!(".pi/agent/sessions/{}", leaf(places.inside_cwd.as_str())),
                shape: Shape::Tree,
                mode: None,
            }],
        }
    }

    /// Returns nothing: Pi has no service of its own, its hosts are those of the chosen provider.
    fn hosts(&self, model: Option<&str>) -> Vec<&str> {
        service::of_model(model).into_iter().collect()
    }

    fn base_urls(&self) -> &'static [&'static str] {
        &["AZURE_OPENAI_BASE_URL", "OPENAI_BASE_URL"]
    }

    fn settings(&self) -> &'static [Settings] {
        &[Settings { file: ".pi/agent/models.json", keys: URL_KEYS }]
    }

    fn mcp(&self, _: &[Mcp], _: Option<&Role<'_>>) -> McpSetup {
        McpSetup::Unsupported
    }

    fn skills_dir(&self) -> Option<&'static str> {
        Some(".pi/agent/skills")
    }

    fn logs(&self) -> Vec<&str> {
        vec![".pi/agent/sessions/*/*.jsonl"]
    }

    fn converter(&self) -> Option<&'static dyn super::log::Converter> {
        Some(&log::Log)
    }

    /// Reads the last assistant message of `--mode json`: Pi exits 0 even if every request was refused.
    fn verdict(&self, exit: u8, stdout: &str) -> Verdict {
        let ends =
            stdout.lines().rev().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let last = ends
            .into_iter()
            .find(|value| value["type"] == "message_end" && value["message"]["role"] == "assistant");
        let Some(last) = last else { return Verdict::Unknown };
        match last["message"]["stopReason"].as_str() {
            Some("stop") if exit == 0 => Verdict::Finished,
            Some("stop") => Verdict::Failed { reason: format!("exit code {exit}") },
            Some(reason @ ("error" | "aborted" | "length")) => {
                let said = last["message"]["errorMessage"].as_str().unwrap_or(reason);
                Verdict::Failed { reason: said.to_owned() }
            }
            // It stopped in the middle of its work: killed, or cut.
            _ => Verdict::Unknown,
        }
    }

    fn cost(&self, stdout: &str) -> Option<f64> {
        super::sum(stdout, |event| {
            let is_answer = event["type"] == "message_end" && event["message"]["role"] == "assistant";
            is_answer.then(|| event["message"]["usage"]["cost"]["total"].as_f64()).flatten()
        })
    }

    fn tells_cost(&self) -> bool {
        true
    }
}

/// Returns a prompt that Pi cannot take for an option or a file: it knows no `--`.
fn message(prompt: &str) -> String {
    if prompt.starts_with(['-', '@']) { format!(" {prompt}") } else { prompt.to_owned() }
}

/// Returns the directory name that stands for `cwd` below `sessions`; `a-b` and `a/b` collide, as in Pi.
fn leaf(cwd: &str) -> String {
    let inner = cwd.strip_prefix('/').unwrap_or(cwd).replace(['/', '\\', ':'], "-");
    format!("--{inner}--")
}

const READS: &[&str] = &[
    "AI_GATEWAY_API_KEY",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_OAUTH_TOKEN",
    "ANT_LING_API_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AZURE_OPENAI_API_KEY",
    "AZURE_OPENAI_API_VERSION",
    "AZURE_OPENAI_BASE_URL",
    "AZURE_OPENAI_DEPLOYMENT_NAME_MAP",
    "AZURE_OPENAI_RESOURCE_NAME",
    "BASETEN_API_KEY",
    "CEREBRAS_API_KEY",
    "CLOUDFLARE_ACCOUNT_ID",
    "CLOUDFLARE_API_KEY",
    "CLOUDFLARE_GATEWAY_ID",
    "COPILOT_GITHUB_TOKEN",
    "CORALBRICKS_API_KEY",
    "DEEPSEEK_API_KEY",
    "FIREWORKS_API_KEY",
    "GCLOUD_PROJECT",
    "GEMINI_API_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_API_KEY",
    "GOOGLE_CLOUD_LOCATION",
    "GOOGLE_CLOUD_PROJECT",
    "GROQ_API_KEY",
    "HF_TOKEN",
    "KIMI_API_KEY",
    "MINIMAX_API_KEY",
    "MINIMAX_CN_API_KEY",
    "MISTRAL_API_KEY",
    "MOONSHOT_API_KEY",
    "NVIDIA_API_KEY",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OPENCODE_API_KEY",
    "OPENROUTER_API_KEY",
    "PI_CACHE_RETENTION",
    "PI_OFFLINE",
    "PI_SKIP_VERSION_CHECK",
    "PI_TELEMETRY",
    "QWEN_TOKEN_PLAN_API_KEY",
    "QWEN_TOKEN_PLAN_CN_API_KEY",
    "RADIUS_API_KEY",
    "TOGETHER_API_KEY",
    "XAI_API_KEY",
    "XIAOMI_API_KEY",
    "XIAOMI_TOKEN_PLAN_AMS_API_KEY",
    "XIAOMI_TOKEN_PLAN_CN_API_KEY",
    "XIAOMI_TOKEN_PLAN_SGP_API_KEY",
    "ZAI_API_KEY",
    "ZAI_CODING_CN_API_KEY",
];

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::super::Mode;
    use super::*;

    fn words(text: &[&str]) -> Vec<String> {
        text.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn command_lines() {
        let tools = words(&["read", "bash"]);
        let extra = words(&["--thinking", "high"]);
        let role = Role { instructions: "Be kind.", file: "/r", thinking: None, tools: None };
        let json = words(&["--mode", "text"]);
        let (printed, short) = (words(&["--tools", "read", "--print", "do it"]), words(&["-p", "do it"]));
        let headless = |prompt| Mode::Headless { prompt };
        let table: Vec<(Request<'_>, &[&str])> = vec![
            (Request::default(), &[]),
            (
                Request {
                    model: Some("openai/gpt-5"),
                    tools: Some(&tools),
                    extra: &extra,
                    ..Request::default()
                },
                &["--model", "openai/gpt-5", "--tools", "read,bash", "--thinking", "high"],
            ),
            (Request { tools: Some(&[]), ..Request::default() }, &["--no-tools"]),
            (
                Request { tools: Some(&tools), role: Some(&role), ..Request::default() },
                &["--tools", "read,bash,role_cycle_done", "-e", "/.pier/role-manager"],
            ),
            (
                Request { mode: headless(Some("do it")), extra: &extra, ..Request::default() },
                &["--mode", "json", "--thinking", "high", "--print", "do it"],
            ),
            (
                Request { mode: headless(Some("-x")), args: &json, ..Request::default() },
                &["--mode", "text", "--print", " -x"],
            ),
            (
                Request { mode: headless(Some("@secret")), ..Request::default() },
                &["--mode", "json", "--print", " @secret"],
            ),
            (Request { mode: headless(None), ..Request::default() }, &["--print"]),
            (
                Request { mode: headless(None), args: &printed, ..Request::default() },
                &["--tools", "read", "--print", "do it"],
            ),
            (Request { mode: headless(None), args: &short, ..Request::default() }, &["-p", "do it"]),
        ];
        for (request, expected) in table {
            assert_eq!(Pi.command(&request), words(expected), "{request:?}");
        }
    }

    #[test]
    fn sessions_use_the_encoded_leaf_of_each_side() {
        let places =
            Places { host_cwd: Utf8Path::new("/tmp/exp/a:b"), inside_cwd: Utf8Path::new("/workspace/sub") };
        let copies = Pi.imports(ImportKind::Sessions, None, &places);
        assert_eq!(copies[0].from, "~/.pi/agent/sessions/--tmp-exp-a-b--");
        assert_eq!(copies[0].to, ".pi/agent/sessions/--workspace-sub--");
    }

    #[test]
    fn the_session_directory_is_never_set() {
        assert!(Pi.refuses().contains(&"PI_CODING_AGENT_SESSION_DIR"));
    }

    #[test]
    fn the_last_message_decides_whatever_the_exit_code_says() {
        let line = |reason: &str, rest: &str| {
            format!(
                r#"{{"type":"message_end","message":{{"role":"assistant","stopReason":"{reason}"{rest}}}}}"#
            )
        };
        let failed = |reason: &str| Verdict::Failed { reason: reason.to_owned() };
        assert_eq!(Pi.verdict(0, &line("stop", "")), Verdict::Finished);
        assert_eq!(Pi.verdict(0, &line("error", r#","errorMessage":"401 no""#)), failed("401 no"));
        assert_eq!(Pi.verdict(0, &line("toolUse", "")), Verdict::Unknown);
        assert_eq!(Pi.verdict(1, &line("stop", "")), failed("exit code 1"));
        assert_eq!(Pi.verdict(0, ""), Verdict::Unknown);
    }
}
