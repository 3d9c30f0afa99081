//! What pier keeps of sessions by itself, with an agent that a file declares: it copies a log that a real one has left.

use std::time::Duration;

use serde_json::Value;

use super::fixtures;
use crate::sandbox::{Project, within};

/// A project with an agent that does as `script` says, and beside it the log of a real session.
pub fn project(script: &str) -> Project {
    let project = Project::new(&format!(
        "agent mine default=#true {{ run \"sh\" \"-c\" {script:?}; logs \"~/.mine/*.jsonl\"; }}\n"
    ));
    let native = fixtures().join("agent-logs/claude/hello/native");
    let log = super::native::files(&native, ".jsonl").remove(0);
    project.write("log.jsonl", fs_err::read(log).unwrap());
    project.pier(&["trust"]).expect(0);
    project
}

pub fn runs(project: &Project, words: &[&str]) -> Vec<Value> {
    let all = [&["trajectory", "list", "--json"], words].concat();
    serde_json::from_str(&project.pier(&all).expect(0).text()).unwrap()
}

#[test]
fn each_session_has_a_trajectory_of_its_own_that_nothing_inside_sees() {
    let project = project(
        "mkdir -p ~/.mine; cp log.jsonl ~/.mine/one.jsonl; ln -s /etc/passwd ~/.mine/two.jsonl; \
        find / -name run.json -o -name trajectory.json 2>/dev/null >> found.txt; true",
    );
    project.pier(&["up"]).expect(0);
    let [run] = &runs(&project, &[])[..] else { panic!() };
    assert_eq!((run["agent"].as_str(), run["exit_code"].as_u64()), (Some("mine"), Some(0)), "{run}");
    assert_eq!(run["run"]["outcome"], "finished", "{run}");
    assert!(run["steps"].as_u64().unwrap() > 2 && run["wire"].is_null(), "{run}");
    // The link is left out, and what it leads to is in no trajectory.
    let document = fs_err::read_to_string(run["trajectory"].as_str().unwrap()).unwrap();
    assert!(!document.contains("root:"), "{document}");
    // Another session that writes nothing has none, and what was there before is not its own.
    project.pier(&["exec", "true"]).expect(0);
    project.write("log.jsonl", "");
    assert!(!project.pier(&["up"]).expect(0).flat().contains("no trajectory"));
    assert_eq!(runs(&project, &[]).len(), 1);
    // One whose log nobody can read says so.
    project.write("log.jsonl", "what another version writes\n");
    let said = project.pier(&["up"]).expect(0).flat();
    assert!(
        said.contains("no trajectory of this session: `~/.mine/one.jsonl`: pier does not know"),
        "{said}"
    );
    assert_eq!(runs(&project, &[]).len(), 1);
    assert_eq!(project.read("found.txt"), "");
    let id = run["id"].as_str().unwrap();
    for name in [id, &id[..4]] {
        let stats = project.pier(&["trajectory", "stats", name, "--json"]).expect(0).text();
        assert!(stats.contains(&format!("mine-{id}")), "{stats}");
    }
    assert_eq!(runs(&project, &["--all"]).len(), 1);
    let refused = project.pier(&["trajectory", "show", "zzzzzzzz"]).refused(1, "trajectory::read");
    assert!(refused.flat().contains("neither a file nor the name of a session"), "{}", refused.flat());
    assert_eq!(project.pier(&["trajectory", "validate", id]).expect(0).text().matches(": valid").count(), 1);
    // A search goes through all of them.
    project.write(
        "log.jsonl",
        "{\"type\":\"user\",\"message\":{\"content\":\"only here\"},\"uuid\":\"1\",\"sessionId\":\"s\"}\n",
    );
    project.pier(&["up"]).expect(0);
    assert_eq!(runs(&project, &[]).len(), 2);
    let search = |text: &str| project.pier(&["trajectory", "search", "-l", "-t", text]).expect(0).text();
    assert!(search("hello.txt").contains(id) && !search("only here").contains(id));
}

#[test]
fn a_session_that_runs_is_shown_as_far_as_it_is() {
    let project =
        project("mkdir -p ~/.mine; cp log.jsonl ~/.mine/one.jsonl; until [ -e done ]; do sleep 0.1; done");
    let id = project.pier(&["up", "--detach"]).expect(0).text().trim().to_owned();
    let is_there = || project.pier(&["trajectory", "show", "--no-pager", &id]).code() == Some(0);
    assert!(within(Duration::from_secs(30), is_there));
    let shown = project.pier(&["trajectory", "show", "--no-pager"]).expect(0);
    assert!(shown.said().contains("still runs") && shown.text().contains("hello.txt"), "{}", shown.text());
    let stats = project.pier(&["trajectory", "stats", &id]).expect(0).text();
    assert!(stats.starts_with(&format!("session {id}: ")) && stats.contains(", running"), "{stats}");
    assert!(runs(&project, &[]).is_empty());
    project.write("done", "");
    assert!(within(Duration::from_secs(30), || runs(&project, &[]).len() == 1));
}
