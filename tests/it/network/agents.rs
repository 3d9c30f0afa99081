//! The real command line agents behind the gateway: reached by name, their key outside.

use std::process::Command;

use super::servers::Servers;
use super::surrounded;
use crate::agents::{PROMPT, is_installed, with_registry};
use crate::model_server::Script;
use crate::sandbox::{PIER, Project};

/// What an agent asks for by itself is here too: nothing is to be looked up elsewhere.
const HOSTS: &str = "127.0.0.1 localhost\n\
    11.93.7.4 api.anthropic.com chatgpt.com generativelanguage.googleapis.com model.test\n";

const KEY: &str = "sk-ant-api03-RealKeyOfTheHost_0123456789-abcdefghijk";

/// Runs an agent, which does as the model says: writes a file, and looks for the key.
fn run(
    config: &str,
    agent: &str,
    version: &str,
    files: &[(&str, String)],
    args: &[&str],
) -> Option<(Servers, Project)> {
    let look = "(env; cat /proc/[0-9]*/environ; grep -rs 'RealKe[y]Of' ~ /tmp) > seen.txt 2>&1";
    let turns = ["printf 'Hello, world!\\n' > hello.txt", look];
    let servers =
        Servers::start_with(Script::Commands(turns.map(|command| vec![command.to_owned()]).to_vec()))?;
    let project = Project::new(config);
    project.write_beside("home/key", KEY);
    project.write_beside("bundle.pem", &servers.web.authority);
    for (name, text) in files {
        project.write_beside(name, text);
    }
    if !is_installed(&project, agent, version) {
        return None;
    }
    project.trust();
    let mut command = Command::new(PIER);
    command.arg("up").arg(agent).arg("--").args(args).arg(PROMPT);
    with_registry(&project, surrounded(&project, HOSTS, &command)).run().expect(0);
    assert_eq!(project.read("hello.txt"), "Hello, world!\n");
    let seen = project.read("seen.txt");
    assert!(seen.contains("PIER_SANDBOX=1") && !seen.contains("RealKeyOf"), "{seen}");
    let log = project.pier(&["net", "log"]).expect(0).text();
    println!("{log}");
    Some((servers, project))
}

#[test]
fn claude_code_works_behind_the_gateway_with_its_key_outside() {
    let ran = run(
        "env { secret ANTHROPIC_API_KEY host=api.anthropic.com from=\"file:~/key\" header=\"x-api-key\"; }\n\
        network allowlist\nagent claude-code default=#true { version \"2.1.197\"; }\n",
        "claude-code",
        "2.1.197",
        &[],
        &["--permission-mode", "bypassPermissions", "-p"],
    );
    let Some((servers, _)) = ran else { return };
    let told = servers.web.told().to_ascii_lowercase();
    assert!(told.contains(&format!("x-api-key: {KEY}").to_ascii_lowercase()), "{told}");
}

#[test]
fn codex_works_behind_the_gateway_with_its_key_outside() {
    let settings = "model = \"m\"\nmodel_provider = \"x\"\n[model_providers.x]\nname = \"x\"\nwire_api = \"responses\"\n\
        base_url = \"https://model.test/v1\"\nenv_key = \"MODEL_KEY\"\n";
    let ran = run(
        "env { secret MODEL_KEY host=model.test from=\"file:~/key\"; }\nnetwork allowlist\n\
        agent codex default=#true {\n    version \"0.169.0\"\n    import \"settings\"\n}\n",
        "codex",
        "0.169.0",
        &[("home/.codex/config.toml", settings.to_owned())],
        &["exec"],
    );
    let Some((servers, _)) = ran else { return };
    assert!(servers.web.told().contains(&format!("Bearer {KEY}")), "{}", servers.web.told());
}

#[test]
fn gemini_cli_works_behind_the_gateway_with_its_key_outside() {
    let ran = run(
        "env { secret GEMINI_API_KEY host=generativelanguage.googleapis.com from=\"file:~/key\" \
        header=\"x-goog-api-key\"; }\n\
        network allowlist\nagent gemini-cli default=#true { version \"0.61.0\"; }\n",
        "gemini-cli",
        "0.61.0",
        &[],
        &["-p"],
    );
    let Some((servers, _)) = ran else { return };
    let told = servers.web.told().to_ascii_lowercase();
    assert!(told.contains(&format!("x-goog-api-key: {KEY}").to_ascii_lowercase()), "{told}");
}

#[test]
fn opencode_works_behind_the_gateway_with_its_key_outside() {
    let settings = serde_json::json!({ "provider": { "x": {
        "npm": "@ai-sdk/openai-compatible",
        "options": { "baseURL": "https://model.test/v1", "apiKey": "{env:MODEL_KEY}" },
        "models": { "m": {} },
    }}});
    let ran = run(
        "env { secret MODEL_KEY host=model.test from=\"file:~/key\"; }\nnetwork allowlist\n\
        agent opencode default=#true {\n    version \"1.18.33\"\n    import \"settings\"\n    model \"x/m\"\n}\n",
        "opencode",
        "1.18.33",
        &[("home/.config/opencode/opencode.json", settings.to_string())],
        &["run"],
    );
    let Some((servers, _)) = ran else { return };
    assert!(servers.web.told().contains(&format!("Bearer {KEY}")), "{}", servers.web.told());
}

#[test]
fn pi_works_behind_the_gateway_with_its_key_outside() {
    let models = serde_json::json!({ "providers": { "x": {
        "baseUrl": "https://model.test/v1",
        "api": "openai-completions",
        "apiKey": "MODEL_KEY",
        "models": [{ "id": "m" }],
    }}});
    let ran = run(
        "env { secret MODEL_KEY host=model.test from=\"file:~/key\"; }\nnetwork allowlist\n\
        agent pi default=#true {\n    version \"0.74.2\"\n    import \"auth\" \"settings\"\n}\n",
        "pi",
        "0.74.2",
        &[("home/.pi/agent/models.json", models.to_string())],
        &["--provider", "x", "--model", "m", "-p"],
    );
    let Some((servers, _)) = ran else { return };
    assert!(servers.web.told().contains(&format!("Bearer {KEY}")), "{}", servers.web.told());
}
