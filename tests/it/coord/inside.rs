//! The coordination repository inside: what a sandbox sees of it, and what an agent does there.

use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::Value;

use super::{Domain, json};
use crate::sandbox::{Call, Project};

mod container;

fn plan(domain: &Domain, set: &[(&str, &str)]) -> Value {
    json(&with(domain.0.call(["plan", "--json"]), set).run().expect(0))
}

fn with(call: Call, set: &[(&str, &str)]) -> Call {
    set.iter().fold(call, |call, (name, value)| call.env(name, value))
}

fn bash(domain: &Domain, script: &str) -> Call {
    domain.0.call(["exec", "--", "bash", "-c", script])
}

fn warnings(plan: &Value) -> String {
    let all = plan["warnings"].as_array().unwrap().iter();
    all.map(|warning| warning.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

fn mounted(plan: &Value, at: &str) -> Option<String> {
    let mount = plan["mounts"].as_array().unwrap().iter().find(|mount| mount["at"] == at)?.clone();
    Some(mount["access"].as_str().unwrap_or_else(|| mount["kind"].as_str().unwrap()).to_owned())
}

fn subjects(domain: &Domain, remote: &Path) -> String {
    domain.git(remote, &["log", "--format=%s"])
}

/// Puts clone and remote outside of the project, with a remote that the clone knows by an absolute path.
fn outside(domain: &Domain) -> (String, String) {
    let (clone, remote) = (domain.0.base().join("shared/clone"), domain.0.base().join("shared/r.git"));
    fs_err::create_dir(domain.0.base().join("shared")).unwrap();
    fs_err::rename(domain.clone_of(), &clone).unwrap();
    fs_err::rename(domain.remote(), &remote).unwrap();
    let (clone_text, remote_text) = (clone.display().to_string(), remote.display().to_string());
    domain.git(&clone, &["config", "remote.origin.url", &remote_text]);
    domain.0.give_away();
    (clone_text, remote_text)
}

#[test]
fn an_agent_takes_an_issue_and_gives_it_back_by_both_names() {
    let domain = Domain::new();
    let id = domain.issue("One");
    let script = "agent-coord-list issues && pier coord claim \"$ID\" && pi-env-coord-done \"$ID\" --result ready && \
        cd /tmp && agent-coord-cat --path \"$ID\"";
    let call = bash(&domain, &format!("ID={id}; {script}"));
    let output = call.env("PI_COORD_AGENT_ID", "robot").env("PI_ENV_COORD_ROLE", "developer").run().expect(0);
    let text = output.text();
    assert!(text.starts_with(&format!("{id}\topen\tOne\n")), "{text}");
    assert!(text.ends_with(&format!("issues/done/{id}.yaml")), "{text}");
    let expected = format!("Mark {id} done\nClaim {id}\nAdd {id}\n");
    assert!(subjects(&domain, &domain.remote()).starts_with(&expected));
    let item = domain.pier(&["show", &id]).expect(0).text();
    assert!(item.contains("robot") && item.contains("developer"), "{item}");

    let shown = plan(&domain, &[]);
    assert_eq!(shown["coordination"]["at"], "/workspace/.pi-env/coordination");
    assert!(
        shown["coordination"]["remote_at"].as_str().unwrap().starts_with("/workspace/.pi-env/agent-remotes/")
    );
    assert_eq!(shown["grants"], Value::Array(Vec::new()));
    let text = domain.0.pier(&["plan"]).expect(0).text();
    assert!(text.contains(" at /workspace/.pi-env/coordination  [built-in]\n"), "{text}");
    assert!(text.contains("`agent-coord-…`") && !text.contains("agent-coord-list"), "{text}");
}

#[test]
fn without_a_clone_there_are_no_commands() {
    let project = Project::new("");
    let output = project.bash("env; ls /.pier/bin; command -v agent-coord-list pier").expect(1);
    assert!(!output.text().contains("COORD") && !output.text().contains("agent-coord"), "{}", output.text());
}

#[test]
fn a_role_that_only_reads_claims_as_well() {
    let domain = Domain::new();
    let id = domain.issue("One");
    let script = format!("pier coord claim {id} && echo $PIER_COORD_ROLE; touch new");
    let words = ["exec", "--role", "reviewer", "--", "bash", "-c", &script];
    let output = domain.0.call(words).env("PIER_COORD_ROLE", "boss").run().expect(1);
    assert!(output.text().ends_with("\nreviewer"), "{}", output.text());
    assert!(output.said().contains("Read-only file system"), "{}", output.said());
    assert!(subjects(&domain, &domain.remote()).starts_with(&format!("Claim {id}\n")));
}

#[test]
fn beside_a_private_clone_of_the_project_it_has_a_place_of_its_own() {
    let domain = Domain::new();
    domain.0.bash("git -c user.name=a -c user.email=b commit -q --allow-empty -m first").expect(0);
    domain.0.write("pier.kdl", "workspace { clone #true; }\n");
    let id = domain.issue("One");
    let script = format!(
        "echo $PI_COORD_DIR $PI_COORD_ROOT $PI_ENV_COORD_REMOTE; agent-coord-claim {id}; ls .pi-env; \
         cd /coordination; echo x > .git/config; mv .git moved; echo x > .git/hooks/pre-push; \
         cd $PI_ENV_COORD_REMOTE; echo x > config; echo x > hooks/update; echo x > objects/info/alternates"
    );
    let output = bash(&domain, &script).run().expect(1);
    let remote = "/agent-remotes/project-coordination.git";
    assert!(
        output.text().starts_with(&format!("/coordination /agent-remotes {remote}\n")),
        "{}",
        output.text()
    );
    assert!(subjects(&domain, &domain.remote()).starts_with(&format!("Claim {id}\n")), "{}", output.said());
    assert_eq!(output.said().matches("Read-only file system").count(), 5, "{}", output.said());
    assert!(output.said().contains("Device or resource busy"), "{}", output.said());
    domain.pier(&["comment", &id, "from outside"]).expect(0);
}

#[test]
fn what_is_outside_of_the_project_is_shown_where_the_user_names_it() {
    let domain = Domain::new();
    let id = domain.issue("One");
    let (clone, remote) = outside(&domain);
    // Not by anything that an agent can write.
    domain.0.write(".pi-env-coordination.yaml", format!("coordination_remote: {remote}\n"));
    assert!(plan(&domain, &[]).get("coordination").is_none());
    let half = plan(&domain, &[("PI_COORD_DIR", "../shared/clone")]);
    assert_eq!(half["coordination"]["at"], "/coordination");
    assert_eq!(half["coordination"]["remote"], Value::Null);
    let said = format!("the clone pushes to `{remote}`, which is not visible inside");
    assert!(warnings(&half).contains(&said), "{}", warnings(&half));

    let names: [[(&str, &str); 2]; 3] = [
        [("PI_COORD_DIR", &clone), ("PI_ENV_COORD_REMOTE", "../shared/r.git")],
        [("PI_ENV_BWRAP_COORDINATION_DIR", &clone), ("PI_COORD_REMOTE_URL", &format!("file://{remote}"))],
        [("PIER_COORD_DIR", "../shared/clone"), ("PIER_COORD_REMOTE", &remote)],
    ];
    for set in &names {
        let shown = plan(&domain, set);
        assert_eq!(mounted(&shown, "/coordination").as_deref(), Some("read-write"), "{set:?}");
        // By its own name, and where the clone looks for it.
        for at in ["/agent-remotes/r.git", &remote] {
            assert_eq!(mounted(&shown, at).as_deref(), Some("read-write"), "{set:?}");
            assert_eq!(mounted(&shown, &format!("{at}/config")).as_deref(), Some("read-only"), "{set:?}");
        }
        assert_eq!(shown["grants"], Value::Array(Vec::new()));
        let mut names = shown["environment"]
            .as_array()
            .unwrap()
            .iter()
            .map(|variable| variable["name"].as_str().unwrap());
        assert!(!names.any(|name| name.ends_with("REMOTE_URL")), "{set:?}");
        let output =
            with(bash(&domain, &format!("pier coord claim {id} --force; pier coord unclaim {id}")), set);
        output.run().expect(0);
        assert!(subjects(&domain, Path::new(&remote)).starts_with("Release "), "{set:?}");
    }
    let root = domain.0.base().join("shared").display().to_string();
    fs_err::rename(&remote, format!("{root}/project-coordination.git")).unwrap();
    let shown = plan(&domain, &[("PI_COORD_DIR", &clone), ("PI_COORD_ROOT", &root)]);
    assert_eq!(shown["coordination"]["remote_at"], "/agent-remotes/project-coordination.git");
    assert!(warnings(&shown).contains("`pier coord clone` mends it"), "{}", warnings(&shown));
}

#[test]
fn a_repository_that_names_what_is_outside_needs_approval() {
    let domain = Domain::new();
    outside(&domain);
    domain.0.write("pier.kdl", "coordination { dir \"../shared/clone\"; remote \"../shared/r.git\"; }\n");
    let output = domain.0.exec(&["true"]).refused(125, "trust::needed");
    assert!(output.flat().contains("read and write the coordination clone `"), "{}", output.flat());
    assert!(output.flat().contains("push to the coordination repository `"), "{}", output.flat());
    // What the user names in its place is the user's word.
    let set = [("PI_COORD_DIR", "../shared/clone"), ("PI_ENV_COORD_REMOTE", "../shared/r.git")];
    with(bash(&domain, "agent-coord-status"), &set).run().expect(0);
}

#[test]
fn what_is_no_repository_of_its_own_is_refused() {
    let domain = Domain::new();
    let (clone, _) = outside(&domain);
    let refused = |set: &[(&str, &str)], why: &str| {
        let output = with(domain.0.call(["plan"]), set).run().refused(2, "mount::refused");
        assert!(output.flat().contains(why), "{}", output.flat());
    };
    refused(
        &[("PI_COORD_DIR", &clone), ("PI_ENV_COORD_REMOTE", ".git")],
        "it is the repository of the project",
    );
    let linked = domain.0.base().join("shared/linked.git").display().to_string();
    symlink(domain.0.base().join("shared/r.git"), &linked).unwrap();
    refused(&[("PI_COORD_DIR", &clone), ("PI_ENV_COORD_REMOTE", &linked)], "through a symbolic link");
    let home = domain.0.home().display().to_string();
    for part in ["objects", "refs", ".git"] {
        fs_err::create_dir_all(domain.0.home().join(part)).unwrap();
    }
    domain.0.write_beside("home/HEAD", "ref: refs/heads/main\n");
    domain.0.write_beside("home/AGENTS.md", "rules");
    refused(&[("PI_COORD_DIR", &clone), ("PI_ENV_COORD_REMOTE", &home)], "home directory");
    refused(&[("PI_COORD_DIR", &home)], "home directory");

    // Said, and nothing is there.
    for (dir, why) in [
        ("nowhere", "it is not there"),
        ("..", "the project is in it"),
        ("../shared", "it is no clone of a coordination repository"),
        ("../shared/r.git/HEAD", "it is no directory"),
    ] {
        let shown = plan(&domain, &[("PI_COORD_DIR", dir)]);
        assert!(shown.get("coordination").is_none(), "{dir}");
        assert!(warnings(&shown).contains(why), "{dir}: {}", warnings(&shown));
    }
    let gone = plan(&domain, &[("PI_COORD_DIR", &clone), ("PI_ENV_COORD_REMOTE", "../shared/gone.git")]);
    assert!(warnings(&gone).contains("no repository is there"), "{}", warnings(&gone));
}

#[test]
fn the_clones_own_word_shows_nothing() {
    let domain = Domain::new();
    domain.0.bash("git -c user.name=a -c user.email=b commit -q --allow-empty -m first").expect(0);
    domain.0.write("pier.kdl", "workspace { clone #true; }\n");
    domain.0.write_beside("victim/HEAD", "ref: refs/heads/main\n");
    domain.0.write_beside("victim/objects/x", "x");
    for (url, why) in [
        ("../../../victim", "is not visible inside"),
        ("../../.git", "is not visible inside"),
        ("../coordination", "is not visible inside"),
        ("git@example.com:team/x.git", "without your keys"),
    ] {
        domain.git(&domain.clone_of(), &["config", "remote.origin.url", url]);
        let shown = plan(&domain, &[]);
        assert_eq!(shown["coordination"]["remote"], Value::Null, "{url}");
        assert!(warnings(&shown).contains(why), "{url}: {}", warnings(&shown));
    }
}

#[test]
fn the_directory_of_the_configuration_is_the_one_of_roles_too() {
    let domain = Domain::new();
    let elsewhere = domain.0.root().join("plans");
    fs_err::rename(domain.clone_of(), &elsewhere).unwrap();
    domain.git(
        &elsewhere,
        &["config", "remote.origin.url", "../.pi-env/agent-remotes/project-coordination.git"],
    );
    let role = "---\nname: planner\ndescription: Of a test.\ntools: [read]\n---\n\n## Mission\n\nPlan.\n";
    domain.0.write("plans/roles/planner.md", role);
    domain.0.write("pier.kdl", "coordination { dir \"plans\"; }\n");
    domain.0.give_away();
    domain.0.pier(&["role", "show", "planner"]).expect(0);
    domain.0.trust();
    assert_eq!(plan(&domain, &[])["coordination"]["at"], "/workspace/plans");
    let id = domain.issue("One");
    domain.0.call(["exec", "--role", "planner", "--", "agent-coord-claim", &id]).run().expect(0);
    assert!(subjects(&domain, &domain.remote()).starts_with(&format!("Claim {id}\n")));
}

#[test]
fn an_image_has_the_commands_in_the_directory_of_links() {
    let domain = Domain::new();
    domain.0.write("pier.kdl", "runtime container { image \"debian:12\"; }\n");
    let shown = plan(&domain, &[("DOCKER_HOST", "unix:///nonexistent/engine.sock")]);
    assert_eq!(shown["coordination"]["at"], "/workspace/.pi-env/coordination");
    assert_eq!(mounted(&shown, "/.pier/bin").as_deref(), Some("read-only"));
    assert_eq!(mounted(&shown, "/.pier/bin/agent-coord-list").as_deref(), Some("symlink"));
    let environment = shown["environment"].as_array().unwrap();
    let path = environment.iter().find(|variable| variable["name"] == "PATH").unwrap();
    assert!(path["value"].as_str().unwrap().starts_with("/.pier/bin:"), "{path}");
}

#[test]
fn a_remote_that_is_not_shown_is_told_once() {
    let domain = Domain(Project::new(""));
    let server = domain.0.base().join("server.git");
    domain.pier(&["bootstrap", "--remote", server.to_str().unwrap()]).expect(0);
    let id = domain.issue("One");
    let script =
        format!("pier coord comment {id} first; pier coord comment --json {id} second | grep pushed");
    let output = bash(&domain, &script).run().expect(0);
    assert_eq!(output.said().matches("warning:").count(), 1, "{}", output.said());
    assert!(output.flat().contains("waits for `pier coord push` outside"), "{}", output.flat());
    assert!(output.text().contains("\"pushed\": false"), "{}", output.text());
    // What only one may have is not had.
    bash(&domain, &format!("pier coord claim {id}")).run().refused(1, "coord::remote");
    domain.pier(&["push"]).expect(0);
    assert_eq!(subjects(&domain, &server).matches(&format!("Comment on {id}")).count(), 2);
}
