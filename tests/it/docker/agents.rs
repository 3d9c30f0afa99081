//! Agents in containers: of the cache, with what they need of a C library and of Node, and of the image itself.
//!
//! The agents are programs that say what they were given; `network/agents.rs` has the real ones.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{BUSYBOX, DEBIAN, Image, can_run, docker, project, with_engine};
use crate::sandbox::{Output, Project};

pub const VERSION: &str = "2.1.197";

/// Puts an agent into the cache of a project, as an installation leaves it.
pub fn install(project: &Project, agent: &str, package: &str, program: &[u8]) -> PathBuf {
    let integrity = format!("sha512-{}==", "A".repeat(86));
    let digest = Sha256::digest(format!("{package}\n{integrity}"));
    let name = u32::from_be_bytes(digest[..4].try_into().unwrap());
    let directory = format!("home/.cache/pier/agents/{agent}/{VERSION}-{name:08x}");
    let manifest = serde_json::json!({
        "schema": 1, "package": package, "version": VERSION, "integrity": integrity, "node": null,
        "program": "agent",
    });
    project.write_beside(format!("{directory}/pier-install.json"), manifest.to_string());
    let path = project.base().join(directory).join("agent");
    fs_err::write(&path, program).unwrap();
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    project.give_away();
    path
}

/// A project with a Claude Code that is the host's `echo`.
fn with_echo(image: &str) -> Project {
    let project = project(image, &format!("agent claude-code default=#true {{ version \"{VERSION}\"; }}"));
    install(&project, "claude-code", "@anthropic-ai/claude-code", &fs_err::read("/bin/echo").unwrap());
    project
}

fn up(project: &Project, words: &[&str]) -> Output {
    with_engine(project.call(["up"].iter().chain(words))).run()
}

#[test]
fn a_native_agent_runs_with_the_libraries_of_the_image_or_of_the_host() {
    if !can_run() {
        return;
    }
    for image in [DEBIAN, BUSYBOX] {
        let project = with_echo(image);
        assert_eq!(up(&project, &["claude-code", "--", "hello"]).expect(0).text(), "hello", "{image}");
        // By name, in a shell.
        let script = "claude again; readlink /.pier/bin/claude | grep -c /agents/claude-code/; (echo x > /.pier/bin/x) 2>&- || echo kept";
        let said = with_engine(project.call(["exec", "--", "sh", "-c", script])).run();
        assert_eq!(said.expect(0).text(), "again\n1\nkept", "{image}");
        let plan = with_engine(project.call(["plan", "--agent", "claude-code"])).run().expect(0).text();
        assert_eq!(plan.contains("libc.so.6"), image == BUSYBOX, "{plan}");
    }
}

/// Where this host has a library.
fn of_host(name: &str) -> PathBuf {
    let places = ["/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/lib64"];
    let mut paths = places.iter().map(|place| Path::new(place).join(name));
    paths.find(|path| path.exists()).unwrap()
}

#[test]
fn a_native_agent_is_refused_by_what_the_image_lacks() {
    if !can_run() {
        return;
    }
    let loader =
        if cfg!(target_arch = "x86_64") { "lib64/ld-linux-x86-64.so.2" } else { "lib/ld-linux-aarch64.so.1" };
    let without = Image::new(&[(loader, "a loader")], &[]);
    let said = up(&with_echo(&without.0), &["claude-code"]).refused(125, "agent::image");
    assert!(said.flat().contains("it needs `libc.so.6`, which the image lacks"), "{}", said.said());
    // A library by that name, which offers other versions.
    let mut archive = tar::Builder::new(Vec::new());
    let library = fs_err::canonicalize(of_host("libm.so.6")).unwrap();
    archive.append_path_with_name(library, "usr/lib/libc.so.6").unwrap();
    let older = Image::import(archive, &[(loader, "a loader")], &[]);
    let project = with_echo(&older.0);
    let said = up(&project, &["claude-code"]).refused(125, "agent::image");
    assert!(said.flat().contains("of `libc.so.6`, and that of the image is older"), "{}", said.said());
    with_engine(project.call(["plan", "--agent", "claude-code"])).run().refused(125, "agent::image");
    // Links of an image do not lead what the host shows into the project.
    let mut archive = tar::Builder::new(Vec::new());
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    archive.append_link(&mut link, loader.split_once('/').unwrap().0, "/workspace").unwrap();
    let linked = Image::import(archive, &[("file", "")], &[]);
    let project = with_echo(&linked.0);
    let said = up(&project, &["claude-code"]).refused(125, "agent::image");
    assert!(said.flat().contains("something else there"), "{}", said.said());
    let mut made = fs_err::read_dir(project.root()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!made.any(|name| name.to_string_lossy().starts_with("ld-")), "made in the project");
    // What the host would show must be at a place that nobody has.
    let taken = Image::new(&[(&format!("{loader}/file"), "")], &[]);
    let said = up(&with_echo(&taken.0), &["claude-code"]).refused(125, "agent::image");
    assert!(said.flat().contains("the image has something else there"), "{}", said.said());
}

#[test]
fn an_agent_of_the_image_is_found_by_its_name() {
    if !can_run() {
        return;
    }
    let image = Image::with_tools(
        &[("opt/tool/pi", "#!/bin/sh\necho image $*\n"), ("opt/own", "#!/bin/sh\necho own $*\n")],
        &["ENV PATH=/opt/tool:/bin"],
    );
    let project = project(&image.0, "agent pi\nagent codex\nagent own { run \"/opt/own\" \"word\"; }");
    assert_eq!(up(&project, &["pi", "--", "--help"]).expect(0).text(), "image --help");
    assert_eq!(up(&project, &["own", "--", "more"]).expect(0).text(), "own word more");
    let said = up(&project, &["codex"]).refused(2, "agent::missing");
    assert!(said.flat().contains("`codex` is not in the image"), "{}", said.said());
    assert!(said.flat().contains("choose an image that has it"), "{}", said.said());
    // Asked once: what is remembered by the image's digest decides.
    let digest = docker(&["image", "inspect", "--format", "{{.Id}}", &image.0], b"");
    let digest = digest.trim_start_matches("sha256:");
    let kept = project.home().join(format!(".cache/pier/images/{digest}.places.json"));
    let text = fs_err::read_to_string(&kept).unwrap();
    assert!(text.contains(r#""/opt/tool/pi":{"file":{"executable":true}}"#), "{text}");
    fs_err::write(
        &kept,
        text.replace("/opt/tool/pi\":{\"file\":{\"executable\":true}}", "/opt/tool/pi\":\"missing\""),
    )
    .unwrap();
    up(&project, &["pi"]).refused(2, "agent::missing");
}

#[test]
fn a_node_of_the_image_is_used_where_it_is_new_enough() {
    if !can_run() {
        return;
    }
    let node = ("opt/tool/node", "#!/bin/sh\necho node of the image, ${1##*/} ${2}\n");
    let settings = |version| [format!("ENV PATH=/opt/tool:/bin NODE_VERSION={version}")];
    for (version, is_used) in [("24.1.0", true), ("12.0.0", false)] {
        let settings = settings(version);
        let image = Image::with_tools(&[node], &[settings[0].as_str()]);
        let project = project(&image.0, &format!("agent pi default=#true {{ version \"{VERSION}\"; }}"));
        let script = b"#!/usr/bin/env node\n";
        install(&project, "pi", "@earendil-works/pi-coding-agent", script);
        if is_used {
            let said = up(&project, &["pi", "--", "--help"]).expect(0).text();
            assert_eq!(said, "node of the image, agent --help");
        } else {
            // Nothing is fetched for a plan.
            let plan = with_engine(project.call(["plan", "--agent", "pi"])).run().expect(0).text();
            assert!(plan.contains("Node, which `pi` runs on, is not installed yet"), "{plan}");
        }
    }
}

#[test]
fn what_an_unknown_image_has_is_not_known() {
    if let Some(why) = super::missing() {
        println!("skipped: {why}");
        return;
    }
    let project = project("127.0.0.1:9/none:1", "agent pi default=#true");
    let plan = with_engine(project.call(["plan", "--agent", "pi"])).run().expect(0).text();
    assert!(plan.contains("whether `pi` runs in the image is not known"), "{plan}");
}

#[test]
fn doctor_says_what_the_engine_is() {
    let project = Project::new("");
    let checks = |call: crate::sandbox::Call| {
        let said: serde_json::Value = serde_json::from_str(&call.run().text()).unwrap();
        let all = said["checks"].as_array().unwrap().clone();
        all.into_iter().find(|check| check["what"] == "containers").unwrap()
    };
    let none = checks(project.call(["doctor", "--json"]).env("DOCKER_HOST", "unix:///nonexistent/x.sock"));
    assert_eq!(none["status"], "ok", "{none}");
    assert!(none["detail"].as_str().unwrap().starts_with("no engine"), "{none}");
    let far = checks(project.call(["doctor", "--json"]).env("DOCKER_HOST", "tcp://127.0.0.1:1"));
    assert_eq!(far["status"], "warn", "{far}");
    if can_run() {
        let found = checks(with_engine(project.call(["doctor", "--json"])));
        let version = docker(
            &["version", "--format", "engine {{.Server.Version}}, interface {{.Server.APIVersion}}"],
            b"",
        );
        let detail = found["detail"].as_str().unwrap();
        assert!(detail.contains(&version) && detail.contains("storage "), "{found}");
    }
}
