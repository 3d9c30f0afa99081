//! Trajectories of real agents that ran only now, against the scripted model server: what `pier up` keeps of a session by itself.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::{all_calls, all_steps, all_texts, native};
use crate::agents::{reached_the_registry, with_registry};
use crate::model_server::{Failure, ModelServer, Request, Script, is_model_call};
use crate::sandbox::{Call, Project};

const PROMPT: &str = "Write hello.txt";

/// An agent, and how it comes to the server.
struct Agent {
    name: &'static str,
    version: &'static str,
    /// Lines of its block.
    block: &'static str,
    /// Variables with `{}` for the server's address.
    variables: &'static [(&'static str, &'static str)],
    /// Files of the user's home, with the same.
    files: &'static [(&'static str, &'static str)],
    /// Where its logs are, below the home inside.
    logs: &'static str,
    /// Whether it calls tools as others do; otherwise it is told of a command's output only where a person asks for that.
    has_tools: bool,
    /// When it writes its log, where that is not at once.
    late: Option<Late>,
    /// How its log says that it ended well.
    outcome: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Late {
    /// With the first answer.
    Answer,
    /// With the first result of a call.
    Result,
}

const AGENTS: &[Agent] = &[
    Agent {
        name: "claude-code",
        version: "2.1.197",
        block: "settings max_turns=20 reasoning_effort=\"low\"",
        variables: &[
            ("ANTHROPIC_BASE_URL", "{}"),
            ("ANTHROPIC_API_KEY", "sk-test"),
            ("CLAUDE_CODE_MAX_RETRIES", "1"),
        ],
        files: &[],
        logs: ".claude/projects",
        has_tools: true,
        late: None,
        outcome: "finished",
    },
    Agent {
        name: "codex",
        version: "0.169.0",
        block: "import \"settings\"\n    settings reasoning_effort=\"low\" verbosity=\"low\"",
        variables: &[("MODEL_KEY", "sk-test")],
        files: &[(
            ".codex/config.toml",
            "model = \"m\"\nmodel_provider = \"x\"\n[model_providers.x]\nname = \"x\"\nwire_api = \"responses\"\n\
            base_url = \"{}/v1\"\nenv_key = \"MODEL_KEY\"\n",
        )],
        logs: ".codex/sessions",
        has_tools: true,
        late: None,
        outcome: "finished",
    },
    Agent {
        name: "gemini-cli",
        version: "0.61.0",
        block: "settings approval_mode=\"yolo\"",
        variables: &[("GOOGLE_GEMINI_BASE_URL", "{}"), ("GEMINI_API_KEY", "sk-test")],
        files: &[],
        logs: ".gemini",
        has_tools: true,
        late: None,
        // It says so only where it is asked for events, which go to the caller.
        outcome: "unknown",
    },
    Agent {
        name: "qwen-coder",
        version: "0.15.10",
        block: "model \"qwen3-coder-plus\"\n    settings max_turns=20 max_output_tokens=5000",
        variables: &[("OPENAI_BASE_URL", "{}/v1"), ("OPENAI_API_KEY", "sk-test")],
        files: &[],
        logs: ".qwen",
        has_tools: true,
        late: None,
        outcome: "finished",
    },
    Agent {
        name: "pi",
        version: "0.74.2",
        block: "import \"auth\" \"settings\"\n    model \"x/m\"\n    settings reasoning_effort=\"off\"",
        variables: &[],
        files: &[(
            ".pi/agent/models.json",
            r#"{"providers":{"x":{"baseUrl":"{}/v1","api":"openai-completions","apiKey":"sk-test","models":[{"id":"m"}]}}}"#,
        )],
        logs: ".pi/agent",
        has_tools: true,
        late: Some(Late::Answer),
        outcome: "finished",
    },
    Agent {
        name: "opencode",
        version: "1.18.33",
        block: "import \"settings\"\n    model \"x/m\"\n    settings temperature=0.5 max_steps=20",
        variables: &[],
        files: &[(
            ".config/opencode/opencode.json",
            r#"{"provider":{"x":{"npm":"@ai-sdk/openai-compatible","options":{"baseURL":"{}/v1","apiKey":"sk-test"},"models":{"m":{"name":"m"}}}}}"#,
        )],
        logs: ".local/share/opencode",
        has_tools: true,
        late: None,
        outcome: "finished",
    },
    Agent {
        name: "mini-swe-agent",
        version: "2.4.6",
        block: "model \"openai/m\"\n    settings step_limit=20 cost_limit=3",
        variables: &[("OPENAI_API_BASE", "{}/v1"), ("OPENAI_API_KEY", "sk-test")],
        files: &[],
        logs: ".config/mini-swe-agent",
        has_tools: true,
        late: Some(Late::Result),
        outcome: "finished",
    },
    Agent {
        name: "aider",
        version: "0.86.2",
        block: "model \"openai/m\"\n    settings edit_format=\"whole\"",
        variables: &[("OPENAI_API_BASE", "{}/v1"), ("OPENAI_API_KEY", "sk-test")],
        files: &[],
        logs: ".aider",
        has_tools: false,
        late: None,
        outcome: "finished",
    },
    Agent {
        name: "hermes",
        version: "0.19.0",
        block: "model \"openai/m\"\n    settings max_turns=20",
        variables: &[("OPENAI_BASE_URL", "{}/v1"), ("OPENAI_API_KEY", "sk-test")],
        files: &[],
        logs: ".hermes",
        has_tools: true,
        late: None,
        outcome: "finished",
    },
    Agent {
        name: "cline",
        version: "3.0.65",
        block: "import \"auth\"\n    model \"openai-compatible/m\"\n    settings reasoning_effort=\"low\" compaction=\"off\"",
        variables: &[],
        // Two braces without a space are where the server's address goes.
        files: &[(
            ".cline/data/settings/providers.json",
            r#"{"version":1,"lastUsedProvider":"openai-compatible","modes":{ },"providers":{"openai-compatible":{"settings":{"provider":"openai-compatible","apiKey":"sk-test","model":"m","baseUrl":"{}/v1"},"updatedAt":"2026-01-01T00:00:00.000Z","tokenSource":"manual"}}}"#,
        )],
        logs: ".cline",
        has_tools: true,
        late: None,
        outcome: "finished",
    },
    Agent {
        name: "copilot-cli",
        version: "1.0.102",
        block: "model \"gpt-4.1\"\n    settings reasoning_effort=\"low\" max_output_tokens=5000",
        variables: &[
            ("COPILOT_PROVIDER_BASE_URL", "{}/v1"),
            ("COPILOT_PROVIDER_API_KEY", "sk-test"),
            ("COPILOT_OFFLINE", "true"),
        ],
        files: &[],
        logs: ".copilot",
        has_tools: true,
        late: None,
        outcome: "finished",
    },
    Agent {
        name: "kimi-cli",
        version: "1.50.0",
        block: "settings max_steps=20 temperature=0 thinking=#false",
        variables: &[("KIMI_BASE_URL", "{}/v1"), ("KIMI_API_KEY", "sk-test"), ("KIMI_MODEL_NAME", "m")],
        files: &[],
        logs: ".kimi",
        has_tools: true,
        late: None,
        outcome: "finished",
    },
    Agent {
        name: "openhands",
        version: "1.16.0",
        block: "model \"openai/m\"",
        variables: &[("LLM_BASE_URL", "{}/v1"), ("LLM_API_KEY", "sk-test")],
        files: &[],
        logs: ".openhands",
        has_tools: true,
        late: None,
        outcome: "finished",
    },
];

impl Agent {
    fn of(name: &str) -> &'static Self {
        AGENTS.iter().find(|agent| agent.name == name).unwrap()
    }

    /// A project with the agent and with what it needs to reach a server.
    fn project(&self, server: &ModelServer) -> Project {
        let names: Vec<String> = self.variables.iter().map(|(name, _)| format!("{name:?}")).collect();
        let pass =
            if names.is_empty() { String::new() } else { format!("env {{ pass {}; }}\n", names.join(" ")) };
        let project = Project::new(&format!(
            "network host\n{pass}agent {} default=#true {{\n    version {:?}\n    {}\n}}\n",
            self.name, self.version, self.block
        ));
        for (path, text) in self.files {
            project.write_beside(format!("home/{path}"), text.replace("{}", &server.url()));
        }
        project
    }

    fn call(&self, project: &Project, server: &ModelServer, words: &[&str]) -> Call {
        let mut call = with_registry(project, project.call(words));
        for (name, value) in self.variables {
            call = call.env(name, value.replace("{}", &server.url()));
        }
        call
    }

    /// Says whether this machine can have it, as far as that is known before it is installed.
    fn can_be(&self) -> bool {
        let pythons: &[&str] = match self.name {
            "openhands" => &["3.12"],
            "kimi-cli" => &["3.12", "3.13"],
            _ => return true,
        };
        let has = |version: &&str| {
            let directories = ["/usr/local/bin", "/usr/bin"];
            directories.iter().any(|directory| Path::new(directory).join(format!("python{version}")).exists())
        };
        if pythons.iter().any(has) {
            return true;
        }
        println!("skipped: it needs Python {pythons:?}, which this system has not; its stored runs are read");
        false
    }

    /// Runs it on the prompt; `None` where the machine cannot install it.
    fn run(&self, script: Script) -> Option<(Project, i32)> {
        self.run_until(script, |_| false)
    }

    /// The same; it is stopped when the server has been asked something.
    fn run_until(&self, script: Script, is_time: impl Fn(&ModelServer) -> bool) -> Option<(Project, i32)> {
        if !self.can_be() {
            return None;
        }
        let server = ModelServer::start(script);
        let project = self.project(&server);
        crate::docker::with_engine(project.call(["trust"])).run().expect(0);
        let call = self.call(&project, &server, &["up", "--prompt", PROMPT, "--front", "json"]);
        let output = thread::scope(|scope| {
            let running = scope.spawn(|| call.run());
            while !running.is_finished() {
                if is_time(&server) {
                    // It writes its log down meanwhile, and begins what it was told to do.
                    thread::sleep(Duration::from_secs(2));
                    project.pier(&["stop", "--all"]);
                    break;
                }
                thread::sleep(Duration::from_millis(20));
            }
            running.join().unwrap()
        });
        if !reached_the_registry(&output) {
            return None;
        }
        assert!(!server.requests().is_empty(), "{}: {} {}", self.name, output.flat(), output.text());
        Some((project, output.code().unwrap()))
    }
}

/// What pier kept of the only run in a project: its file, and the document, which is valid.
fn kept(project: &Project) -> (Value, Value) {
    kept_if(project).expect("a run was kept")
}

/// The same; `None` where nothing was kept.
fn kept_if(project: &Project) -> Option<(Value, Value)> {
    let listed = project.pier(&["trajectory", "list", "--json"]).expect(0);
    let runs: Value = serde_json::from_str(&listed.text()).unwrap();
    let run = match &runs.as_array().unwrap()[..] {
        [] => return None,
        [run] => run,
        _ => panic!("{runs}"),
    };
    let file = run["trajectory"].as_str().unwrap();
    let valid = project.pier(&["trajectory", "validate", "--strict", file]);
    assert_eq!(valid.code(), Some(0), "{}", valid.text());
    Some((run.clone(), serde_json::from_slice(&fs_err::read(file).unwrap()).unwrap()))
}

/// The home inside, on the host.
fn home(project: &Project) -> PathBuf {
    let projects = project.state().join("projects");
    let homes: Vec<PathBuf> = fs_err::read_dir(projects)
        .unwrap()
        .map(|entry| entry.unwrap().path().join("home"))
        .filter(|home| home.is_dir())
        .collect();
    assert_eq!(homes.len(), 1, "{homes:?}");
    homes[0].clone()
}

/// Puts an agent's logs where the readers of these tests expect those of a stored run.
fn as_stored(agent: &Agent, home: &Path, to: &Path) {
    let from = home.join(agent.logs);
    match agent.name {
        "mini-swe-agent" => {
            fs_err::copy(from.join("last_mini_run.traj.json"), to.join("trajectory.json")).unwrap();
            fs_err::write(to.join("stdout.txt"), "").unwrap();
        }
        "aider" => {
            fs_err::copy(from.join("chat.history.md"), to.join("chat.md")).unwrap();
            fs_err::copy(from.join("llm.history.txt"), to.join("llm_history.txt")).unwrap();
        }
        _ => {
            copy(&from, &to.join("native"));
            // What it printed went to the caller.
            fs_err::write(to.join("stdout.jsonl"), "").unwrap();
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs_err::create_dir_all(to).unwrap();
    for entry in fs_err::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &place);
        } else if entry.file_type().unwrap().is_file() {
            fs_err::copy(entry.path(), place).unwrap();
        }
    }
}

/// How often the model was asked.
fn calls(server: &ModelServer) -> usize {
    server.requests().iter().filter(|request| is_model_call(request)).count()
}

/// How many answers of the model a document has.
fn answers(document: &Value) -> usize {
    all_steps(document).into_iter().filter(|step| step["llm_call_count"] == 1).count()
}

/// Everything in the native log is in the trajectory that pier kept; returns how many texts that were.
fn is_found_again(agent: &Agent, project: &Project, run: &Value, document: &Value) -> usize {
    assert_eq!(run["unknown"], serde_json::json!({}), "{run}");
    let stored = tempfile::tempdir().unwrap();
    as_stored(agent, &home(project), stored.path());
    let native = native::of(agent.name, stored.path());
    let all = all_texts(document);
    for text in &native.texts {
        assert!(all.contains(text.as_str()), "{}: {text:?} is not in the trajectory", agent.name);
    }
    assert_eq!(all_calls(document), native.calls, "{run}");
    native.texts.len()
}

/// A session that goes well.
fn is_lossless(name: &str, script: Script) {
    let agent = Agent::of(name);
    // Besides those that ask for a command there is the last one.
    let turns = match script {
        Script::Multi => 5,
        Script::Big => 3,
        _ => panic!("{script:?}"),
    };
    let Some((project, code)) = agent.run(script) else { return };
    let (run, document) = kept(&project);
    assert_eq!((code, &run["exit_code"]), (0, &Value::from(0)), "{run}");
    assert_eq!(
        (run["status"].as_str(), run["run"]["outcome"].as_str()),
        (Some("complete"), Some(agent.outcome)),
        "{run}"
    );
    assert_eq!(answers(&document), if agent.has_tools { turns } else { 1 }, "{run}");
    assert!(is_found_again(agent, &project, &run, &document) > 2, "the log was read: {document}");
    let shown = project.pier(&["trajectory", "show", "--no-pager"]).expect(0).text();
    assert!(shown.contains(PROMPT), "{shown}");
}

/// A session whose service refuses the key.
fn tells_a_refusal(name: &str) {
    let agent = Agent::of(name);
    let Some((project, _)) = agent.run(Script::Fail(Failure::Status(401))) else { return };
    let (run, document) = kept(&project);
    assert_eq!(run["run"]["outcome"], "failed", "{run}");
    assert_eq!(answers(&document), 0, "{document}");
    is_found_again(agent, &project, &run, &document);
}

/// A session without any answer of the model, which was stopped, or gave up.
fn is_kept_without_an_answer(name: &str, failure: Failure, outcomes: &[&str]) {
    let agent = Agent::of(name);
    // The second request is one that is tried again, where that is done.
    let asked = if failure == Failure::Hang { 1 } else { 2 };
    let run = agent.run_until(Script::Fail(failure), |server| calls(server) >= asked);
    let Some((project, _)) = run else { return };
    let Some((run, document)) = kept_if(&project) else {
        assert!(agent.late.is_some(), "{name}: nothing was kept");
        let stored = tempfile::tempdir().unwrap();
        copy(&home(&project), stored.path());
        let logs = native::files(stored.path(), "");
        let has = |file: &PathBuf| String::from_utf8_lossy(&fs_err::read(file).unwrap()).contains(PROMPT);
        assert!(!logs.iter().any(has), "{name}: {logs:?}");
        return;
    };
    let outcome = run["run"]["outcome"].as_str().unwrap();
    assert!(outcomes.contains(&outcome), "{run}");
    assert_eq!(answers(&document), 0, "{document}");
    is_found_again(agent, &project, &run, &document);
}

/// A session that was stopped in its fourth command.
fn is_kept_of_a_command(name: &str) {
    let agent = Agent::of(name);
    if !agent.has_tools {
        return;
    }
    // The answer to a request that has the third command is the fourth.
    let is_third = |request: &Request| request.body.to_string().contains("echo three");
    let run = agent.run_until(Script::Late, |server| server.requests().iter().any(is_third));
    let Some((project, _)) = run else { return };
    let (run, document) = kept(&project);
    assert_eq!(run["run"]["outcome"], "interrupted", "{run}");
    let written = if agent.late == Some(Late::Result) { 3 } else { 4 };
    assert_eq!(answers(&document), written, "{run}");
    assert!(is_found_again(agent, &project, &run, &document) > 2, "the log was read: {document}");
}

/// Two sessions at the same time have one home, and each has what it was asked.
fn is_told_from_another(name: &str) {
    let agent = Agent::of(name);
    let Some((project, _)) = agent.run(Script::Hello) else { return };
    let server = ModelServer::start(Script::Hello);
    for (path, text) in agent.files {
        // They were imported by the first.
        fs_err::write(home(&project).join(path), text.replace("{}", &server.url())).unwrap();
    }
    let prompts = ["Write this one", "Write that one"];
    let said: Vec<String> = thread::scope(|scope| {
        let calls = prompts.map(|prompt| {
            let call = agent.call(&project, &server, &["up", "--prompt", prompt, "--front", "json"]);
            scope.spawn(move || call.run().expect(0))
        });
        calls.into_iter().map(|call| call.join().unwrap()).map(|said| said.text() + &said.said()).collect()
    });
    let listed = project.pier(&["trajectory", "list", "--json"]).expect(0);
    let runs: Vec<Value> = serde_json::from_str(&listed.text()).unwrap();
    let [_, one, other] = &runs[..] else { panic!("{runs:?} {said:?}") };
    assert!(one["finished_at"].as_str() > other["started_at"].as_str(), "they ran at one time: {runs:?}");
    let mut found = Vec::new();
    let mut lost = Vec::new();
    for run in [one, other] {
        assert_eq!(
            (&run["beside"], &run["shared"]),
            (&serde_json::json!([]), &serde_json::json!([])),
            "{run}"
        );
        let document = fs_err::read(run["trajectory"].as_str().unwrap()).unwrap();
        let texts = all_texts(&serde_json::from_slice(&document).unwrap());
        let own: Vec<&str> = prompts.into_iter().filter(|prompt| texts.contains(prompt)).collect();
        // Gemini CLI clears away logs that have no message yet, also one that another process has just begun.
        let has_lost = |reason: &Value| reason["code"] == "no-beginning";
        if own.is_empty() && run["reasons"].as_array().unwrap().iter().any(has_lost) {
            lost.push(run);
            continue;
        }
        assert_eq!(own.len(), 1, "{texts}");
        found.extend(own);
    }
    found.sort_unstable();
    if lost.is_empty() {
        assert_eq!(found, ["Write that one", "Write this one"]);
        return;
    }
    // What is in no trajectory is in no log either.
    assert_eq!((name, found.len(), lost.len()), ("gemini-cli", 1, 1), "{runs:?}");
    let logs = native::files(&home(&project).join(agent.logs), ".jsonl");
    let logs: String = logs.iter().map(|log| fs_err::read_to_string(log).unwrap()).collect();
    for prompt in prompts {
        assert_eq!(logs.contains(prompt), found.contains(&prompt), "{prompt}: {logs}");
    }
}

macro_rules! told_apart {
    ($($module:ident $name:literal;)*) => {$(
        #[test]
        fn $module() {
            is_told_from_another($name);
        }
    )*};
}

/// Those of which each session has a log, or a part of one, of its own: aider and mini-SWE-agent have one file for all.
mod two_at_once_are_told_apart {
    use super::is_told_from_another;

    told_apart! {
        claude_code "claude-code";
        codex "codex";
        gemini_cli "gemini-cli";
        qwen_coder "qwen-coder";
        opencode "opencode";
        pi "pi";
        hermes "hermes";
        cline "cline";
        copilot_cli "copilot-cli";
        kimi_cli "kimi-cli";
        openhands "openhands";
    }
}

macro_rules! fresh {
    ($($module:ident $name:literal;)*) => {$(
        mod $module {
            use crate::model_server::{Failure, Script};

            #[test]
            fn a_fresh_run_is_kept_whole() {
                super::is_lossless($name, Script::Multi);
            }

            #[test]
            fn a_fresh_run_with_much_output_is_kept_whole() {
                super::is_lossless($name, Script::Big);
            }

            #[test]
            fn a_fresh_run_that_is_refused_says_so() {
                super::tells_a_refusal($name);
            }

            #[test]
            fn a_fresh_run_that_only_fails_is_kept() {
                super::is_kept_without_an_answer($name, Failure::Status(500), &["failed", "interrupted"]);
            }

            #[test]
            fn a_fresh_run_that_is_stopped_before_any_answer_is_kept() {
                super::is_kept_without_an_answer($name, Failure::Hang, &["interrupted"]);
            }

            #[test]
            fn a_fresh_run_that_is_stopped_in_a_command_is_kept() {
                super::is_kept_of_a_command($name);
            }
        }
    )*};
}
fresh! {
    claude_code "claude-code";
    codex "codex";
    gemini_cli "gemini-cli";
    qwen_coder "qwen-coder";
    opencode "opencode";
    pi "pi";
    mini_swe_agent "mini-swe-agent";
    aider "aider";
    hermes "hermes";
    cline "cline";
    copilot_cli "copilot-cli";
    kimi_cli "kimi-cli";
    openhands "openhands";
}

/// One database has the sessions of all runs.
#[test]
fn a_second_run_of_opencode_has_its_own_session_alone() {
    let agent = Agent::of("opencode");
    let Some((project, _)) = agent.run(Script::Hello) else { return };
    let (first, document) = kept(&project);
    let server = ModelServer::start(Script::Hello);
    let (path, text) = agent.files[0];
    // It was imported by the first.
    fs_err::write(home(&project).join(path), text.replace("{}", &server.url())).unwrap();
    agent.call(&project, &server, &["up", "--prompt", "Once more", "--front", "json"]).run().expect(0);
    let listed = project.pier(&["trajectory", "list", "--json"]).expect(0);
    let runs: Vec<Value> = serde_json::from_str(&listed.text()).unwrap();
    let second = runs.iter().find(|run| run["id"] != first["id"]).unwrap();
    assert_eq!((runs.len(), &second["counts"]["older-sessions"]), (2, &Value::from(1)), "{second}");
    let again: Value =
        serde_json::from_slice(&fs_err::read(second["trajectory"].as_str().unwrap()).unwrap()).unwrap();
    assert_ne!(again["session_id"], document["session_id"]);
    let texts = all_texts(&again);
    assert!(texts.contains("Once more") && !texts.contains(PROMPT), "{texts}");
    assert_eq!(again["steps"].as_array().unwrap().len(), document["steps"].as_array().unwrap().len());
}
