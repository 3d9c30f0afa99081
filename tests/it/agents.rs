//! The real command line agents, installed by pier and driven by the scripted model server.
//!
//! They are installed once per machine, into `PIER_TEST_CACHE` or a directory in `/var/tmp`. Where the registry
//! cannot be reached a test prints why it did not run; with `CI=true` that is a failure.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::docker::with_engine;
use crate::model_server::{ModelServer, Script};
use crate::sandbox::{Call, Output, PIER, Project};

/// Long enough for an installation of some hundred megabytes.
const INSTALLED: Duration = Duration::from_mins(10);

/// What no agent may see, in files and variables of the host.
const SECRET: &str = "top-secret-of-the-host";

pub const PROMPT: &str = "Write hello.txt";

#[expect(clippy::disallowed_methods, reason = "the machine says where its registry is")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

pub fn cache(project: &Project) -> PathBuf {
    let fallback = || format!("/var/tmp/pier-test-cache-{}", project.owner()).into();
    let cache = variable("PIER_TEST_CACHE").map_or_else(fallback, PathBuf::from);
    fs_err::create_dir_all(&cache).unwrap();
    std::os::unix::fs::chown(&cache, Some(project.owner()), None).unwrap();
    cache
}

/// A host full of secrets, and a model that looks for them after it has done its work.
fn project(config: &str) -> (Project, ModelServer) {
    let project = Project::new(config);
    project.write_beside("home/.ssh/id_ed25519", SECRET);
    project.write_beside("home/.aws/credentials", SECRET);
    project.write_beside("other/notes", SECRET);
    let home = project.home();
    let base = project.base().display();
    let look = format!(
        "(env; ls -A ~ /home {base}; cat ~/.ssh/id_ed25519 ~/.aws/credentials {}/.ssh/id_ed25519 {base}/other/notes \
        /proc/[0-9]*/environ) > seen.txt 2>&1",
        home.display()
    );
    let turns = ["printf 'Hello, world!\\n' > hello.txt", look.as_str(), "id -u > uid.txt"];
    let turns = turns.map(|command| vec![command.to_owned()]).to_vec();
    (project, ModelServer::start(Script::Commands(turns)))
}

/// Adds where the registry is, as the machine has it, and the engine of containers.
pub fn with_registry(project: &Project, mut call: Call) -> Call {
    let names = [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "NPM_CONFIG_REGISTRY",
        "npm_config_registry",
        "NPM_CONFIG_CAFILE",
        "npm_config_cafile",
        "NODE_EXTRA_CA_CERTS",
        "SSL_CERT_FILE",
        "PIP_INDEX_URL",
        "PIP_CERT",
        "REQUESTS_CA_BUNDLE",
    ];
    for (name, value) in names.iter().filter_map(|name| Some((name, variable(name)?))) {
        call = call.env(name, value);
    }
    with_engine(call).env("XDG_CACHE_HOME", cache(project)).env("GITHUB_TOKEN", SECRET).deadline(INSTALLED)
}

/// Installs the agent by asking it for its version; false where the machine cannot.
pub fn is_installed(project: &Project, agent: &str, version: &str) -> bool {
    with_engine(project.call(["trust"])).run().expect(0);
    let call = project.call(["up", agent, "--", "--version"]);
    let output = with_registry(project, call).run();
    if !reached_the_registry(&output) {
        return false;
    }
    let output = output.expect(0);
    // Pi answers on standard error.
    assert!(output.text().contains(version) || output.said().contains(version), "{}", output.text());
    true
}

/// Says whether an installation got as far as its registry; with `CI=true` it has to.
pub fn reached_the_registry(output: &Output) -> bool {
    let missing = ["cannot reach the registry", "is not on `PATH`", "is on `PATH`", "needs Node"];
    let reason = output.flat();
    if output.code() != Some(0) && missing.iter().any(|text| reason.contains(text)) {
        assert_ne!(variable("CI").as_deref(), Some("true"), "{reason}");
        println!("skipped: {reason}");
        return false;
    }
    true
}

/// The work is done as the owner, and nothing of the host was there to see.
fn check(project: &Project, server: &ModelServer) {
    assert_eq!(project.read("hello.txt"), "Hello, world!\n");
    let owner = fs_err::metadata(project.root().join("hello.txt")).unwrap().uid();
    assert_eq!(owner, project.owner());
    assert_eq!(project.read("uid.txt"), format!("{owner}\n"));
    let seen = project.read("seen.txt");
    assert!(seen.contains("PIER_SANDBOX=1"), "{seen}");
    assert!(!seen.contains(SECRET), "{seen}");
    assert!(!seen.contains("GITHUB_TOKEN"), "{seen}");
    assert!(seen.matches("No such file or directory").count() >= 4, "{seen}");
    assert!(!server.requests().is_empty());
}

#[test]
fn claude_code_edits_the_project_and_sees_nothing_else() {
    let (project, server) = project(
        "network host\nenv { pass \"ANTHROPIC_BASE_URL\" \"ANTHROPIC_API_KEY\"; }\n\
        agent claude-code default=#true { version \"2.1.197\"; }\n",
    );
    if !is_installed(&project, "claude-code", "2.1.197") {
        return;
    }
    let args = ["up", "claude-code", "--", "--permission-mode", "bypassPermissions", "-p", PROMPT];
    let call = with_registry(&project, project.call(args));
    let call = call.env("ANTHROPIC_BASE_URL", server.url()).env("ANTHROPIC_API_KEY", "sk-test");
    call.run().expect(0);
    check(&project, &server);
    // Its own home is the one of the sandbox.
    assert!(!project.home().join(".claude").exists() && !project.home().join(".claude.json").exists());
}

#[test]
fn codex_edits_the_project_and_sees_nothing_else() {
    let (project, server) = project(
        "network host\nenv { pass \"MODEL_KEY\"; }\n\
        agent codex default=#true {\n    version \"0.169.0\"\n    import \"settings\"\n}\n",
    );
    let settings = format!(
        "model = \"m\"\nmodel_provider = \"x\"\n[model_providers.x]\nname = \"x\"\nwire_api = \"responses\"\n\
        base_url = \"{}/v1\"\nenv_key = \"MODEL_KEY\"\n",
        server.url()
    );
    project.write_beside("home/.codex/config.toml", settings);
    if !is_installed(&project, "codex", "0.169.0") {
        return;
    }
    let call = with_registry(&project, project.call(["up", "codex", "--", "exec", PROMPT]));
    call.env("MODEL_KEY", "sk-test").run().expect(0);
    check(&project, &server);
    assert_eq!(fs_err::read_dir(project.home().join(".codex")).unwrap().count(), 1);
}

#[test]
fn gemini_cli_edits_the_project_and_sees_nothing_else() {
    let (project, server) = project(
        "network host\nenv { pass \"GOOGLE_GEMINI_BASE_URL\" \"GEMINI_API_KEY\"; }\n\
        agent gemini-cli default=#true { version \"0.61.0\"; }\n",
    );
    if !is_installed(&project, "gemini-cli", "0.61.0") {
        return;
    }
    let call = with_registry(&project, project.call(["up", "gemini-cli", "--", "-p", PROMPT]));
    let call = call.env("GOOGLE_GEMINI_BASE_URL", server.url()).env("GEMINI_API_KEY", "sk-test");
    call.run().expect(0);
    check(&project, &server);
    assert!(!project.home().join(".gemini").exists());
}

#[test]
fn qwen_coder_edits_the_project_and_sees_nothing_else() {
    let (project, server) = project(
        "network host\nenv { pass \"OPENAI_BASE_URL\" \"OPENAI_API_KEY\"; }\n\
        agent qwen-coder default=#true { version \"0.15.10\"; model \"qwen3-coder-plus\"; }\n",
    );
    if !is_installed(&project, "qwen-coder", "0.15.10") {
        return;
    }
    let call = with_registry(&project, project.call(["up", "qwen-coder", "--", "-p", PROMPT]));
    let call = call.env("OPENAI_BASE_URL", format!("{}/v1", server.url())).env("OPENAI_API_KEY", "sk-test");
    call.run().expect(0);
    check(&project, &server);
    assert!(!project.home().join(".qwen").exists());
}

#[test]
fn opencode_edits_the_project_and_sees_nothing_else() {
    let (project, server) = project(
        "network host\nagent opencode default=#true {\n    version \"1.18.33\"\n    import \"settings\"\n    \
        model \"x/m\"\n}\n",
    );
    let settings = serde_json::json!({ "provider": { "x": {
        "npm": "@ai-sdk/openai-compatible",
        "options": { "baseURL": format!("{}/v1", server.url()), "apiKey": "sk-test" },
        "models": { "m": {} },
    }}});
    project.write_beside("home/.config/opencode/opencode.json", settings.to_string());
    if !is_installed(&project, "opencode", "1.18.33") {
        return;
    }
    let call = project.call(["up", "opencode", "--", "run", PROMPT]);
    with_registry(&project, call).run().expect(0);
    check(&project, &server);
    assert_eq!(fs_err::read_dir(project.home().join(".config/opencode")).unwrap().count(), 1);
}

#[test]
fn cline_edits_the_project_and_sees_nothing_else() {
    let (project, server) = project(
        "network host\nagent cline default=#true {\n    version \"3.0.65\"\n    import \"auth\"\n    \
        model \"openai-compatible/m\"\n}\n",
    );
    project.write_beside("home/.cline/data/settings/providers.json", cline_providers(&server.url()));
    if !is_installed(&project, "cline", "3.0.65") {
        return;
    }
    let call = project.call(["up", "cline", "--", PROMPT]);
    with_registry(&project, call).run().expect(0);
    check(&project, &server);
    assert_eq!(fs_err::read_dir(project.home().join(".cline/data")).unwrap().count(), 1);
}

/// What `cline auth` writes of a server of one's own, which no variable names.
fn cline_providers(url: &str) -> String {
    let settings = serde_json::json!({
        "provider": "openai-compatible",
        "apiKey": "sk-test",
        "model": "m",
        "baseUrl": format!("{url}/v1"),
    });
    let provider = serde_json::json!({ "settings": settings, "updatedAt": "2026-01-01T00:00:00.000Z", "tokenSource": "manual" });
    serde_json::json!({
        "version": 1,
        "lastUsedProvider": "openai-compatible",
        "modes": {},
        "providers": { "openai-compatible": provider },
    })
    .to_string()
}

#[test]
fn copilot_cli_edits_the_project_and_sees_nothing_else() {
    let (project, server) = project(
        "network host\nenv { pass \"COPILOT_PROVIDER_BASE_URL\" \"COPILOT_PROVIDER_API_KEY\" \"COPILOT_OFFLINE\"; }\n\
        agent copilot-cli default=#true { version \"1.0.102\"; model \"gpt-4.1\"; }\n",
    );
    if !is_installed(&project, "copilot-cli", "1.0.102") {
        return;
    }
    let call = with_registry(&project, project.call(["up", "copilot-cli", "--", "-p", PROMPT]));
    let call = call
        .env("COPILOT_PROVIDER_BASE_URL", format!("{}/v1", server.url()))
        .env("COPILOT_PROVIDER_API_KEY", "sk-test")
        .env("COPILOT_OFFLINE", "true");
    call.run().expect(0);
    check(&project, &server);
    assert!(!project.home().join(".copilot").exists());
}

/// Installs Pi, with a provider of the user's own that is the server; false where the machine cannot.
pub fn has_pi(project: &Project, server: &ModelServer) -> bool {
    let models = serde_json::json!({ "providers": { "x": {
        "baseUrl": format!("{}/v1", server.url()),
        "api": "openai-completions",
        "apiKey": "sk-test",
        "models": [{ "id": "m" }],
    }}});
    project.write_beside("home/.pi/agent/models.json", models.to_string());
    is_installed(project, "pi", "0.74.2")
}

#[test]
fn pi_edits_the_project_and_sees_nothing_else() {
    let (project, server) = project(
        "network host\nagent pi default=#true {\n    version \"0.74.2\"\n    import \"auth\" \"settings\"\n}\n",
    );
    if !has_pi(&project, &server) {
        return;
    }
    let args = ["up", "pi", "--", "--provider", "x", "--model", "m", "-p", PROMPT];
    with_registry(&project, project.call(args)).run().expect(0);
    check(&project, &server);
    assert_eq!(fs_err::read_dir(project.home().join(".pi/agent")).unwrap().count(), 1);
}

#[test]
fn pi_works_by_the_older_name() {
    let (project, server) = project("agent pi { version \"0.74.2\"; }\n");
    if !has_pi(&project, &server) {
        return;
    }
    let link = project.base().join("pi-env");
    std::os::unix::fs::symlink(PIER, &link).unwrap();
    let mut command = Command::new(link);
    command.args(["--provider", "x", "--model", "m", "-p", PROMPT]);
    with_registry(&project, project.surround(command)).run().expect(0);
    check(&project, &server);
    // `--continue` finds what was said before, in the home that the older tool would have.
    let first = server.requests().len();
    let mut command = Command::new(project.base().join("pi-env"));
    command.args(["--provider", "x", "--model", "m", "-p", "and again"]);
    with_registry(&project, project.surround(command)).run().expect(0);
    let again = server.requests().split_off(first);
    assert!(again.iter().any(|request| format!("{request:?}").contains(PROMPT)), "{again:?}");
}
