//! The real command line agents behind the gateway, on both backends: reached by name, their key outside.

use std::process::Command;

use serde_json::Value;

use super::servers::Servers;
use super::surrounded;
use crate::agents::{PROMPT, is_installed, with_registry};
use crate::docker;
use crate::model_server::Script;
use crate::parity::Backend;
use crate::sandbox::{PIER, Project};

/// What an agent asks for by itself is here too: nothing is to be looked up elsewhere.
const HOSTS: &str = "127.0.0.1 localhost\n\
    11.93.7.4 api.anthropic.com chatgpt.com generativelanguage.googleapis.com model.test\n";

/// For a model of one's own.
const MODEL_KEY: &str = "secret MODEL_KEY host=model.test from=\"file:~/key\"";

const KEY: &str = "sk-ant-api03-RealKeyOfTheHost_0123456789-abcdefghijk";

/// One agent, and how it gets its key to the model.
struct Case {
    agent: &'static str,
    version: &'static str,
    /// What its block has besides the version.
    block: &'static str,
    secret: &'static str,
    files: Vec<(&'static str, String)>,
    args: &'static [&'static str],
    /// What the model's server hears, in lower case: the key, put in outside.
    told: String,
}

/// Runs an agent on both backends, which does as the model says: writes a file, and looks for the key.
fn run(case: &Case) {
    for backend in [Backend::Bubblewrap, Backend::Container] {
        match docker::missing() {
            Some(why) if backend == Backend::Container => println!("skipped: {why}"),
            _ => run_on(backend, case),
        }
    }
}

fn run_on(backend: Backend, case: &Case) {
    println!("{} in {}", case.agent, backend.name());
    let look = "(env; cat /proc/[0-9]*/environ; grep -rs 'RealKe[y]Of' ~ /tmp) > seen.txt 2>&1";
    let turns = ["printf 'Hello, world!\\n' > hello.txt", look];
    let script = Script::Commands(turns.map(|command| vec![command.to_owned()]).to_vec());
    let Case { agent, version, block, secret, .. } = case;
    let project = Project::new(&format!(
        "{}\nenv {{ {secret}; }}\nnetwork allowlist\nagent {agent} default=#true {{\n    version \"{version}\"\n{block}\n}}\n",
        backend.runtime()
    ));
    project.write_beside("home/key", KEY);
    for (name, text) in &case.files {
        project.write_beside(name, text);
    }
    if !is_installed(&project, agent, version) {
        return;
    }
    let Some(servers) = Servers::start_with(script) else { return };
    project.write_beside("bundle.pem", &servers.web.authority);
    let mut command = Command::new(PIER);
    command.arg("up").arg(agent).arg("--").args(case.args).arg(PROMPT);
    with_registry(&project, surrounded(&project, HOSTS, &command)).run().expect(0);
    assert_eq!(project.read("hello.txt"), "Hello, world!\n");
    let seen = project.read("seen.txt");
    assert!(seen.contains("PIER_SANDBOX=1") && !seen.contains("RealKeyOf"), "{seen}");
    let told = servers.web.told().to_ascii_lowercase();
    assert!(told.contains(&case.told.to_ascii_lowercase()), "{told}");
    println!("{}", project.pier(&["net", "log"]).expect(0).text());
    is_counted(&project, agent);
}

/// What the gateway has seen of the model is what the agent wrote down, as far as that says it.
fn is_counted(project: &Project, agent: &str) {
    let listed = project.pier(&["trajectory", "list", "--json"]).expect(0).text();
    let runs: Value = serde_json::from_str(&listed).unwrap();
    let [run] = &runs.as_array().unwrap()[..] else { panic!("{agent}: {runs}") };
    let wire = &run["wire"];
    assert!(wire["answered"].as_u64().unwrap() >= 2 && wire["prompt_tokens"].as_u64().unwrap() > 0, "{run}");
    println!("{agent}: {wire}");
    assert!(wire["unread"].is_null(), "{run}");
    // Gemini CLI asks the model who is to speak next, opencode for a title; neither writes that down.
    let is_more = ["gemini-cli", "opencode"].contains(&agent);
    let logged = wire["answered"].as_u64().unwrap() - u64::from(is_more);
    assert_eq!(run["calls"], logged, "{run}");
    assert_eq!(wire["differences"] != serde_json::json!([]), is_more, "{run}");
}

#[test]
fn claude_code_works_behind_the_gateway_with_its_key_outside() {
    run(&Case {
        agent: "claude-code",
        version: "2.1.197",
        block: "",
        secret: "secret ANTHROPIC_API_KEY host=api.anthropic.com from=\"file:~/key\" header=\"x-api-key\"",
        files: vec![],
        args: &["--permission-mode", "bypassPermissions", "-p"],
        told: format!("x-api-key: {KEY}"),
    });
}

#[test]
fn codex_works_behind_the_gateway_with_its_key_outside() {
    let settings = "model = \"m\"\nmodel_provider = \"x\"\n[model_providers.x]\nname = \"x\"\nwire_api = \"responses\"\n\
        base_url = \"https://model.test/v1\"\nenv_key = \"MODEL_KEY\"\n";
    run(&Case {
        agent: "codex",
        version: "0.169.0",
        block: "    import \"settings\"",
        secret: MODEL_KEY,
        files: vec![("home/.codex/config.toml", settings.to_owned())],
        args: &["exec"],
        told: format!("Bearer {KEY}"),
    });
}

#[test]
fn gemini_cli_works_behind_the_gateway_with_its_key_outside() {
    run(&Case {
        agent: "gemini-cli",
        version: "0.61.0",
        block: "",
        secret: "secret GEMINI_API_KEY host=generativelanguage.googleapis.com from=\"file:~/key\" \
            header=\"x-goog-api-key\"",
        files: vec![],
        args: &["-p"],
        told: format!("x-goog-api-key: {KEY}"),
    });
}

#[test]
fn opencode_works_behind_the_gateway_with_its_key_outside() {
    let settings = serde_json::json!({ "provider": { "x": {
        "npm": "@ai-sdk/openai-compatible",
        "options": { "baseURL": "https://model.test/v1", "apiKey": "{env:MODEL_KEY}" },
        "models": { "m": {} },
    }}});
    run(&Case {
        agent: "opencode",
        version: "1.18.33",
        block: "    import \"settings\"\n    model \"x/m\"",
        secret: MODEL_KEY,
        files: vec![("home/.config/opencode/opencode.json", settings.to_string())],
        args: &["run"],
        told: format!("Bearer {KEY}"),
    });
}

#[test]
fn pi_works_behind_the_gateway_with_its_key_outside() {
    let models = serde_json::json!({ "providers": { "x": {
        "baseUrl": "https://model.test/v1",
        "api": "openai-completions",
        "apiKey": "MODEL_KEY",
        "models": [{ "id": "m" }],
    }}});
    run(&Case {
        agent: "pi",
        version: "0.74.2",
        block: "    import \"auth\" \"settings\"",
        secret: MODEL_KEY,
        files: vec![("home/.pi/agent/models.json", models.to_string())],
        args: &["--provider", "x", "--model", "m", "-p"],
        told: format!("Bearer {KEY}"),
    });
}
