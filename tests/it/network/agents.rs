//! The real command line agents behind the gateway: reached by name, their key outside.

use std::process::Command;

use super::servers::Servers;
use super::surrounded;
use crate::agents::{PROMPT, is_installed, with_registry};
use crate::model_server::Script;
use crate::sandbox::{PIER, Project};

const HOSTS: &str = "127.0.0.1 localhost\n11.93.7.4 api.anthropic.com model.test\n";

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
fn pi_works_behind_the_gateway_with_its_key_outside() {
    let models = serde_json::json!({ "providers": { "x": {
        "baseUrl": "https://model.test/v1",
        "api": "openai-completions",
        "apiKey": "MODEL_KEY",
        "models": [{ "id": "m" }],
    }}});
    let ran = run(
        "env { secret MODEL_KEY host=model.test from=\"file:~/key\"; }\nnetwork allowlist { allow model.test; }\n\
        agent pi default=#true {\n    version \"0.74.2\"\n    import \"auth\" \"settings\"\n}\n",
        "pi",
        "0.74.2",
        &[("home/.pi/agent/models.json", models.to_string())],
        &["--provider", "x", "--model", "m", "-p"],
    );
    let Some((servers, _)) = ran else { return };
    assert!(servers.web.told().contains(&format!("Bearer {KEY}")), "{}", servers.web.told());
}
