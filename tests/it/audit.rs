//! The records of sessions: what is in them, who sees them, and what a change of them is worth.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::sandbox::{Project, within};

/// The audit files of the project's user, the oldest first.
fn files(project: &Project) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(project.state().join("audit")).unwrap();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

fn lines(path: &PathBuf) -> Vec<serde_json::Value> {
    let text = fs_err::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_session_leaves_one_private_file_of_its_own() {
    let project = Project::new("env { pass \"LANG\"; }\n");
    project.call(["trust"]).env("LANG", "C").run().expect(0);
    project.call(["exec", "--", "bash", "-c", "exit 3", "secret"]).env("LANG", "C").run().expect(3);
    project.call(["exec", "--", "no-such"]).env("LANG", "C").run().expect(127);
    let files = files(&project);
    assert_eq!(files.len(), 2);
    for path in &files {
        let mode = |path: &std::path::Path| fs_err::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(path), mode(path.parent().unwrap())), (0o600, 0o700));
    }
    let text = fs_err::read_to_string(&files[0]).unwrap();
    assert!(!text.contains("secret"), "arguments may be secrets: {text}");
    let record = lines(&files[0]);
    let types: Vec<&str> = record.iter().map(|line| line["event"]["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["start", "approval", "walls", "end"]);
    assert_eq!(
        (&record[0]["event"]["command"], &record[0]["event"]["arguments"]),
        (&"bash".into(), &3.into())
    );
    assert_eq!((&record[3]["event"]["how"], &record[3]["event"]["code"]), (&"ended".into(), &3.into()));
    let record = lines(&files[1]);
    assert_eq!(record.last().unwrap()["event"]["how"], "refused");
    // The digest of the plan is that of the plan as it is printed.
    let plan = project.call(["plan", "--json", "--", "no-such"]).env("LANG", "C").run().expect(0);
    let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
    let digest = sha256(&serde_json::to_vec(&plan).unwrap());
    assert_eq!(record[0]["event"]["plan"].as_str(), Some(digest.as_str()));
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    let mut text = String::new();
    for byte in sha2::Sha256::digest(bytes) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[test]
fn nothing_runs_without_a_record() {
    let project = Project::new("");
    project.write_beside("home/.local/state/pier/audit", "in the way");
    project.exec(&["touch", "ran"]).refused(125, "audit::file");
    assert!(!project.root().join("ran").exists());
    project.pier(&["audit", "list"]).refused(1, "audit::file");
}

#[test]
fn records_are_listed_shown_and_chosen_by_the_beginning_of_a_name() {
    let project = Project::new("");
    project.pier(&["audit", "show"]).refused(1, "session::none");
    project.exec(&["true"]).expect(0);
    project.bash("exit 7").expect(7);
    let listed = project.pier(&["audit", "list", "--json"]).expect(0);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let name = |index: usize| listed[index]["session"].as_str().unwrap().to_owned();
    assert_eq!((&listed[0]["code"], &listed[1]["code"]), (&0.into(), &7.into()));
    assert_eq!(listed[1]["command"], "bash");
    let table = project.pier(&["audit", "list"]).expect(0).text();
    assert!(table.lines().nth(2).unwrap().starts_with(&name(1)), "{table}");
    let newest = project.pier(&["audit", "show"]).expect(0).text();
    assert!(newest.contains("start  bash, 2 more words") && newest.contains("exit code 7"), "{newest}");
    let shown = project.pier(&["audit", "show", &name(0), "--json"]).expect(0);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown[0]["session"].as_str(), Some(name(0).as_str()));
    project.pier(&["audit", "verify", ""]).refused(2, "session::ambiguous");
    project.pier(&["audit", "verify", "0"]).refused(1, "session::none");
}

#[test]
fn the_newest_session_is_one_of_this_project() {
    let project = Project::new("");
    project.pier(&["net", "log"]).refused(1, "session::none");
    project.exec(&["true"]).expect(0);
    let other = project.base().join("other");
    project.write_beside("other/pier.kdl", "");
    let refused = project.call(["net", "suggest"]).cwd(&other).run().refused(1, "session::none");
    assert!(refused.flat().contains("`pier audit list`"), "{}", refused.flat());
    project.call(["exec", "--", "true"]).cwd(&other).run().expect(0);
    let listed = project.pier(&["audit", "list", "--json"]).expect(0);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let own = listed[0]["session"].as_str().unwrap();
    for action in ["log", "suggest"] {
        let said = project.pier(&["net", action]).expect(0);
        assert!(said.said().starts_with(&format!("session {own}, started ")), "{}", said.said());
        assert_eq!(said.text(), "");
    }
    let json = project.pier(&["net", "log", "--json"]).expect(0);
    assert_eq!((json.text().as_str(), json.said().as_str()), ("[]", ""));
}

#[test]
fn a_changed_record_is_found_and_a_whole_one_passes() {
    let project = Project::new("");
    project.exec(&["true"]).expect(0);
    let path = files(&project).remove(0);
    let whole = fs_err::read_to_string(&path).unwrap();
    let said = project.pier(&["audit", "verify"]).expect(0).text();
    assert!(said.contains("3 lines, nothing changed; the command ended, exit code 0"), "{said}");
    project.pier(&["audit", "verify", path.to_str().unwrap()]).expect(0);
    let (first, last) = whole.split_at(whole.find('\n').unwrap() + 1);
    let table = [
        ("changed", whole.replace("\"code\":0", "\"code\":1"), "the line was changed"),
        ("the first removed", last.to_owned(), "lines are missing"),
        ("put in", [first, first, last].concat(), "lines are missing before it, or were put in"),
        ("cut off", whole[..whole.len() - 20].to_owned(), "cut off"),
        ("the last removed", first.to_owned(), "ended without a last line"),
        ("emptied", String::new(), "empty"),
    ];
    for (what, text, said) in table {
        fs_err::write(&path, text).unwrap();
        let output = project.pier(&["audit", "verify"]).refused(1, "audit::broken");
        assert!(output.flat().contains(said), "{what}: {}", output.said());
    }
    fs_err::write(&path, &whole).unwrap();
    project.pier(&["audit", "verify"]).expect(0);
}

#[test]
fn a_running_session_is_unfinished_and_a_killed_one_has_no_last_line() {
    let project = Project::new("");
    let mut child = project.call(["exec", "--", "bash", "-c", "echo; exec sleep 3600"]).start();
    assert!(within(std::time::Duration::from_secs(20), || {
        project.state().join("audit").is_dir()
            && files(&project).iter().any(|path| fs_err::metadata(path).unwrap().len() > 0)
    }));
    let said = project.pier(&["audit", "verify"]).expect(0).text();
    assert!(said.contains("unfinished"), "{said}");
    child.kill().unwrap();
    child.wait().unwrap();
    project.pier(&["audit", "verify"]).refused(1, "audit::broken");
}

#[test]
fn a_name_cannot_forge_a_line() {
    let project = Project::new("");
    let name = "x\n{\"seq\":1}\u{1b}]0;title\u{7}";
    project.exec(&[name]).expect(127);
    let path = files(&project).remove(0);
    assert_eq!(lines(&path)[0]["event"]["command"], name);
    let shown = project.pier(&["audit", "show"]).expect(0).text();
    assert!(!shown.contains('\u{1b}') && shown.contains("\\u{1b}]0;title"), "{shown}");
    project.pier(&["audit", "verify"]).expect(0);
}

#[test]
fn the_sandbox_sees_no_record() {
    let project = Project::new("");
    let state = project.state();
    let state = state.to_str().unwrap();
    let script = format!(
        "find / -xdev -name '*.jsonl' 2>/dev/null; ls -d {state} ~/.local/state/pier 2>/dev/null; echo end"
    );
    assert_eq!(project.bash(&script).expect(0).text(), "end");
    // Nor can the file ask for it.
    project.write("pier.kdl", format!("mounts {{ rw \"{state}/audit\" }}\n"));
    let output = project.exec(&["true"]);
    assert_eq!(output.code(), Some(2), "{}", output.said());
    assert!(output.said().contains("mount::refused"), "{}", output.said());
}
