//! Hosts that base URLs of the host's configuration name: in the plan, and only from where no agent writes.

use crate::sandbox::{Project, make_executable};

/// A host with an agent that is never started.
fn project(agent: &str, config: &str) -> Project {
    let project = Project::new(config);
    let launcher = project.base().join("tools").join(agent);
    project.write_beside(format!("tools/{agent}"), "#!/bin/sh\n");
    make_executable(&launcher);
    project
}

/// What the gateway allows, as `host:port`, then what the plan warns of.
fn allowed(project: &Project, set: &[(&str, &str)]) -> (Vec<String>, String) {
    let path = format!("{}:/usr/bin:/bin", project.base().join("tools").display());
    let mut call = project.call(["plan", "--json"]).env("PATH", path);
    for (name, value) in set {
        call = call.env(name, value);
    }
    let plan: serde_json::Value = serde_json::from_str(&call.run().expect(0).text()).unwrap();
    let rules = plan["network"]["gateway"]["rules"].as_array().unwrap();
    let host = |rule: &serde_json::Value| {
        let pattern = &rule["pattern"];
        let host = pattern["name"].as_str().unwrap_or("an address").to_owned();
        format!("{host}:{}", rule["port"])
    };
    (rules.iter().map(host).collect(), plan["warnings"].to_string() + &plan["grants"].to_string())
}

const CODEX: &str = "network allowlist\nagent codex default=#true { import \"settings\"; }\n";

#[test]
fn base_urls_in_an_imported_file_are_allowed_and_need_approval() {
    let project = project("codex", CODEX);
    project.write_beside(
        "home/.codex/config.toml",
        "openai_base_url = \"https://proxy.test/v1\"\n[model_providers.x]\nbase_url = \"https://me:pass@model.test:8443/v1\"\n",
    );
    let (hosts, said) = allowed(&project, &[]);
    // The vendor's own is not talked to any more.
    assert_eq!(hosts, ["chatgpt.com:443", "auth.openai.com:443", "model.test:8443", "proxy.test:443"]);
    assert!(
        said.contains("reach `model.test` on port 8443, where `") && said.contains("/.codex/config.toml`")
    );
    assert!(!said.contains("pass"), "{said}");
}

#[test]
fn base_urls_in_variables_are_allowed_as_far_as_they_are_passed() {
    let allowlist = "network allowlist\nagent claude-code default=#true\n";
    let given = [("ANTHROPIC_BASE_URL", "http://gate.test:4000")];
    let own = ["api.anthropic.com:443", "platform.claude.com:443"];
    assert_eq!(allowed(&project("claude", allowlist), &given).0, own);
    let passed = format!("env {{ pass \"ANTHROPIC_BASE_URL\"; }}\n{allowlist}");
    let other = ["platform.claude.com:443", "gate.test:4000"];
    assert_eq!(allowed(&project("claude", &passed), &given).0, other);
    let set = format!("env {{ set ANTHROPIC_BASE_URL=\"https://set.test\"; }}\n{allowlist}");
    assert_eq!(allowed(&project("claude", &set), &given).0, ["platform.claude.com:443", "set.test:443"]);
}

#[test]
fn a_base_url_in_place_of_the_provider_takes_it_out() {
    let text = "network allowlist\nagent opencode default=#true {\n    import \"settings\"\n    model \"anthropic/m\"\n}\n";
    let project = project("opencode", text);
    assert_eq!(allowed(&project, &[]).0, ["api.anthropic.com:443"]);
    let settings = |provider: &str| serde_json::json!({ "provider": { provider: { "options": { "baseURL": "https://model.test" } } } });
    project.write_beside("home/.config/opencode/opencode.json", settings("anthropic").to_string());
    assert_eq!(allowed(&project, &[]).0, ["model.test:443"]);
    project.write_beside("home/.config/opencode/opencode.json", settings("openai").to_string());
    assert_eq!(allowed(&project, &[]).0, ["api.anthropic.com:443", "model.test:443"]);
}

#[test]
fn a_model_or_the_keys_say_what_an_agent_of_any_provider_needs() {
    let none = "no host is allowed for it: `allow` one";
    for (agent, env, block, hosts) in [
        ("pi", "", "model \"anthropic/m\"", &["api.anthropic.com:443"][..]),
        ("pi", "pass OPENAI_API_KEY", "model \"gemini/m\"", &["generativelanguage.googleapis.com:443"]),
        ("pi", "pass OPENAI_API_KEY MINE", "", &["api.openai.com:443"]),
        ("pi", "set GROQ_API_KEY=x", "model \"m\"", &["api.groq.com:443"]),
        ("opencode", "secret XAI_API_KEY host=\"x.test\" port=8443 from=\"env:A\"", "", &["x.test:8443"]),
        // That key is not for this provider, this one is no key, and that one is read by another agent.
        ("opencode", "pass ANTHROPIC_API_KEY", "model \"mine/m\"", &[]),
        ("opencode", "pass GITHUB_TOKEN", "", &[]),
        ("opencode", "pass CLAUDE_CODE_OAUTH_TOKEN", "", &[]),
        ("pi", "", "", &[]),
    ] {
        let text = format!("env {{ {env} }}\nnetwork allowlist\nagent {agent} default=#true {{ {block} }}\n");
        let (found, said) = allowed(&project(agent, &text), &[]);
        assert_eq!(found, hosts, "{text}");
        assert_eq!(said.contains(none), hosts.is_empty(), "{text}: {said}");
        assert_eq!(said.matches("reach `").count(), hosts.len(), "{text}: {said}");
    }
    for text in ["network allowlist { allow \"x.test\"; }\nagent pi default=#true", "agent pi default=#true"]
    {
        let plan = project("pi", text);
        let path = format!("{}:/usr/bin:/bin", plan.base().join("tools").display());
        let said = plan.call(["plan", "--json"]).env("PATH", path).run().expect(0).text();
        assert!(!said.contains(none), "{text}: {said}");
    }
}

#[test]
fn a_base_url_in_place_of_the_service_of_a_key_takes_it_out() {
    let text = "env { pass OPENAI_API_KEY OPENAI_BASE_URL; }\nnetwork allowlist\nagent pi default=#true\n";
    let project = project("pi", text);
    assert_eq!(allowed(&project, &[]).0, ["api.openai.com:443"]);
    assert_eq!(allowed(&project, &[("OPENAI_BASE_URL", "https://gate.test")]).0, ["gate.test:443"]);
}

#[test]
fn servers_that_are_taken_back_are_gone_at_the_next_start() {
    let text = |mcp: &str| format!("agent opencode default=#true {{ {mcp}}}\n");
    let project = project("opencode", &text("mcp \"files\" command=\"mcp-files\"; "));
    project.write_beside("tools/opencode", "#!/bin/sh\ncat ~/.config/opencode/config.json\n");
    let path = format!("{}:/usr/bin:/bin", project.base().join("tools").display());
    let told = || {
        project.call(["trust"]).env("PATH", &path).run().expect(0);
        project.call(["up", "opencode"]).env("PATH", &path).run().expect(0).text()
    };
    assert!(told().contains("mcp-files"));
    project.write("pier.kdl", text(""));
    assert_eq!(told().trim_end(), "{\"mcp\":{}}");
}

#[test]
fn an_agent_without_an_argument_for_its_model_is_told_by_a_variable() {
    let text = |rest: &str| {
        format!("network allowlist\n{rest}agent openhands default=#true {{ model \"openai/m\"; }}\n")
    };
    let project = project("openhands", &text(""));
    project.write_beside("tools/openhands", "#!/bin/sh\necho \"$LLM_MODEL $*\"\n");
    assert_eq!(allowed(&project, &[]).0, ["api.openai.com:443"]);
    let path = format!("{}:/usr/bin:/bin", project.base().join("tools").display());
    let told = || {
        project.call(["trust"]).env("PATH", &path).run().expect(0);
        project.call(["up", "openhands", "--", "--headless"]).env("PATH", &path).run().expect(0).text()
    };
    assert_eq!(told().trim_end(), "openai/m --override-with-envs --exit-without-confirmation --headless");
    // What the file sets comes later, and wins.
    project.write("pier.kdl", text("env { set LLM_MODEL=\"other\"; }\n"));
    assert!(told().starts_with("other "));
    project.write("pier.kdl", "agent cursor-cli default=#true\n");
    let missing = project.call(["up"]).env("PATH", "/usr/bin:/bin").run().expect(2).said();
    assert!(missing.contains("install it yourself: pier does not install it"), "{missing}");
}

#[test]
fn addresses_are_allowed_where_they_are_public() {
    let project = project("codex", CODEX);
    let write = |host: &str| {
        project.write_beside("home/.codex/config.toml", format!("[p.x]\nbase_url = \"http://{host}/v1\"\n"));
        allowed(&project, &[])
    };
    let own = ["api.openai.com:443", "chatgpt.com:443", "auth.openai.com:443"];
    for host in ["127.0.0.1:11434", "localhost:11434", "[::1]", "169.254.169.254", "10.0.0.7", "2130706433"] {
        let (hosts, said) = write(host);
        assert_eq!(hosts, own, "{host}");
        assert!(said.contains("which is not allowed: it is "), "{host}: {said}");
    }
    let (hosts, said) = write("11.93.7.4:8080");
    assert_eq!(hosts, [&own[..], &["an address:8080"]].concat());
    assert!(said.contains("reach `11.93.7.4` on port 8080, where"), "{said}");
}

#[test]
fn what_is_no_settings_file_is_a_warning() {
    let project = project("codex", CODEX);
    for text in ["base_url = [[[", &format!("a = \"{}\"\n", "x".repeat(300_000))] {
        project.write_beside("home/.codex/config.toml", text);
        let (hosts, said) = allowed(&project, &[]);
        assert_eq!(hosts.len(), 3, "{hosts:?}");
        assert!(said.contains("config.toml` names no host that is allowed: "), "{said}");
    }
}

#[test]
fn a_file_that_an_agent_can_write_names_no_host() {
    let text = "[p.x]\nbase_url = \"https://evil.test/v1\"\n";
    let refused = |project: &Project| {
        let (hosts, said) = allowed(project, &[]);
        assert_eq!(hosts.len(), 3, "{hosts:?}");
        assert!(said.contains("what runs inside can write it"), "{said}");
    };
    let own = project(
        "codex",
        "network allowlist\nagent codex default=#true { import \"settings\" from=\"./agent\"; }\n",
    );
    own.write("agent/config.toml", text);
    refused(&own);
    let linked = project("codex", CODEX);
    linked.write("config.toml", text);
    fs_err::create_dir_all(linked.home().join(".codex")).unwrap();
    std::os::unix::fs::symlink(linked.root().join("config.toml"), linked.home().join(".codex/config.toml"))
        .unwrap();
    refused(&linked);
    let mounted = project("codex", &format!("{CODEX}mounts {{ rw \"~/.codex\"; }}\n"));
    mounted.write_beside("home/.codex/config.toml", text);
    refused(&mounted);
}
