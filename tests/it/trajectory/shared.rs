//! Sessions of one agent at the same time, in one home: whose log is whose.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::kept::{project, runs};
use crate::sandbox::{Project, within};
use crate::tty::Terminal;

/// Writes a log with what it is asked by its last word or by a line of its input, or with what nobody has asked; `same` waits for the
/// other one. Goes on until it may end.
const SCRIPT: &str = "mkdir -p ~/.mine; id=$(cat /proc/sys/kernel/random/uuid); \
    case $0 in read) read -r line;; nothing) line=$id;; same) until [ -e go ]; do sleep 0.1; done;; esac; \
    printf '{\"type\":\"user\",\"message\":{\"content\":\"%s\"},\"uuid\":\"%s\",\"sessionId\":\"%s\"}\\n' \"${line:-$0}\" $id $id \
    > ~/.mine/$id.jsonl; until [ -e done ]; do sleep 0.1; done";

fn start(project: &Project, words: &[&str]) -> String {
    let words = [&["up", "--detach", "mine", "--"], words].concat();
    project.pier(&words).expect(0).text().trim().to_owned()
}

/// Waits until sessions have written their logs, and ends them.
fn end(project: &Project, sessions: usize) -> Vec<Value> {
    let homes = || fs_err::read_dir(project.state().join("projects")).into_iter().flatten();
    let logs = || {
        homes()
            .filter_map(|entry| fs_err::read_dir(entry.unwrap().path().join("home/.mine")).ok())
            .map(Iterator::count)
            .sum::<usize>()
    };
    assert!(within(Duration::from_secs(30), || logs() == sessions));
    // Nothing else is touched: the time of a log says whose it can be.
    fs_err::write(project.root().join("done"), "").unwrap();
    assert!(within(Duration::from_secs(30), || runs(project, &[]).len() == sessions));
    runs(project, &[])
}

fn texts(run: &Value) -> Vec<String> {
    let document = fs_err::read(run["trajectory"].as_str().unwrap()).unwrap();
    let document: Value = serde_json::from_slice(&document).unwrap();
    document["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["message"].as_str().unwrap().to_owned())
        .collect()
}

fn of<'a>(runs: &'a [Value], id: &str) -> &'a Value {
    runs.iter().find(|run| run["id"] == id).unwrap()
}

#[test]
fn each_has_what_it_was_asked() {
    let project = project(SCRIPT);
    let asked = ["mend the parser", "mend the lexer", "x"];
    let ids = asked.map(|asked| start(&project, &[asked]));
    assert!(within(Duration::from_secs(30), || {
        ids.iter().all(|id| project.pier(&["trajectory", "show", "--no-pager", id]).code() == Some(0))
    }));
    // While they run, too.
    let shown = project.pier(&["trajectory", "show", "--no-pager", &ids[0]]).expect(0);
    assert!(shown.text().contains(asked[0]) && !shown.text().contains(asked[1]), "{}", shown.text());
    assert!(!shown.flat().contains("had the same home"), "{}", shown.flat());
    let all = end(&project, 3);
    for (id, asked) in ids.iter().zip(asked) {
        let run = of(&all, id);
        assert_eq!(
            (&run["beside"], &run["shared"], texts(run)),
            (&json!([]), &json!([]), vec![asked.to_owned()]),
            "{run}"
        );
    }
}

#[test]
fn what_nobody_can_tell_apart_is_in_both_and_named() {
    let project = project(SCRIPT);
    let ids = ["same", "same"].map(|asked| start(&project, &[asked]));
    fs_err::write(project.root().join("go"), "").unwrap();
    assert!(within(Duration::from_secs(30), || {
        let shown = project.pier(&["trajectory", "show", "--no-pager", &ids[0]]);
        shown.code() == Some(0) && shown.flat().contains(&format!("may be in this: {}", ids[1]))
    }));
    let all = end(&project, 2);
    for (id, other) in [(&ids[0], &ids[1]), (&ids[1], &ids[0])] {
        let run = of(&all, id);
        assert_eq!(run["beside"], json!([other]), "{run}");
        assert_eq!((run["shared"].as_array().unwrap().len(), texts(run).len()), (2, 2), "{run}");
        let shown = project.pier(&["trajectory", "show", "--no-pager", id]).expect(0);
        assert!(shown.flat().contains("had the same home meanwhile"), "{}", shown.flat());
    }
}

#[test]
fn what_only_one_can_have_written_is_its_own() {
    let project = project(SCRIPT);
    // Nobody knows what this one is asked: it is the first to write something, and that is nobody else's.
    let long = start(&project, &["nothing"]);
    let has_begun = || project.pier(&["trajectory", "show", "--no-pager", &long]).code() == Some(0);
    assert!(within(Duration::from_secs(30), has_begun));
    let short = start(&project, &["nothing"]);
    let all = end(&project, 2);
    let counts = |id: &str| {
        let run = of(&all, id);
        (run["beside"].clone(), run["shared"].as_array().unwrap().len(), run["steps"].as_u64())
    };
    assert_eq!(counts(&short), (json!([]), 0, Some(1)), "{all:?}");
    // It may have begun another conversation meanwhile, as long as the other one has not said that it is its own.
    let found = counts(&long);
    assert!(found == (json!([]), 0, Some(1)) || found == (json!([short]), 1, Some(2)), "{all:?}");
    // By itself again.
    project.pier(&["up", "mine", "--", "alone"]).expect(0);
    let all = runs(&project, &[]);
    assert_eq!((&all[2]["beside"], texts(&all[2])), (&json!([]), vec!["alone".to_owned()]));
}

#[test]
fn what_was_typed_or_read_from_a_file_tells_them_apart() {
    let project = project(SCRIPT);
    let words = ["up", "mine", "--", "read"];
    let mut terminals = ["mend the parser", "and the lexer"].map(|typed| {
        let mut terminal = Terminal::start(&project, &words);
        terminal.press(typed);
        terminal.press("\x7f\x7fer\r");
        terminal
    });
    project.write("prompt.txt", "write the manual\n");
    let mut call = project.call(words);
    call.command.stdin(fs_err::File::open(project.root().join("prompt.txt")).unwrap().into_parts().0);
    let mut child = call.command.spawn().unwrap();
    let all = end(&project, 3);
    child.wait().unwrap();
    for terminal in &mut terminals {
        terminal.end(0);
    }
    let mut said: Vec<Vec<String>> = all.iter().map(texts).collect();
    said.sort();
    assert_eq!(said, [["and the lexer"], ["mend the parser"], ["write the manual"]]);
    assert!(all.iter().all(|run| run["beside"] == json!([])), "{all:?}");
}

/// Kills what watches a session, and waits until nothing of it runs.
fn kill_supervisor(project: &Project, id: &str) {
    let listed = project.pier(&["ps", "--json"]).expect(0).text();
    let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
    let pid = listed.iter().find(|session| session["id"] == id).unwrap()["pid"].as_i64().unwrap();
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    let is_gone = || !project.pier(&["ps"]).expect(0).text().contains(id);
    assert!(within(Duration::from_secs(10), is_gone));
}

#[test]
fn what_a_killed_session_was_asked_tells_its_logs_apart() {
    let project = project(SCRIPT);
    let [killed, typed, other] =
        ["mend the parser", "read", "mend the lexer"].map(|asked| start(&project, &[asked]));
    for id in [&killed, &other] {
        assert!(within(Duration::from_secs(30), || {
            project.pier(&["trajectory", "show", "--no-pager", id]).code() == Some(0)
        }));
    }
    kill_supervisor(&project, &killed);
    project.pier(&["stop", &typed]).expect(0);
    // Whoever ends after it has nothing of it, and it is not lost.
    fs_err::write(project.root().join("done"), "").unwrap();
    assert!(within(Duration::from_secs(30), || runs(&project, &[]).len() == 2));
    let all = runs(&project, &[]);
    for (id, asked, code) in [(&killed, "mend the parser", 137), (&other, "mend the lexer", 0)] {
        let run = of(&all, id);
        let found = (texts(run), &run["exit_code"], &run["run"]["outcome"], &run["beside"]);
        assert_eq!(found, (vec![asked.to_owned()], &json!(code), &json!("interrupted"), &json!([])), "{run}");
    }
    // Once, and with nothing left of the session.
    assert_eq!(runs(&project, &[]).len(), 2);
    let left = fs_err::read_dir(project.state().join("sessions")).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn what_comes_after_a_killed_session_is_not_its_own() {
    let project = project(SCRIPT);
    let killed = start(&project, &["mend the parser"]);
    assert!(within(Duration::from_secs(30), || {
        project.pier(&["trajectory", "show", "--no-pager", &killed]).code() == Some(0)
    }));
    kill_supervisor(&project, &killed);
    let logs = fs_err::read_dir(project.state().join("projects")).unwrap();
    let logs = logs.map(|entry| entry.unwrap().path().join("home/.mine")).find(|path| path.is_dir()).unwrap();
    let log = fs_err::read_dir(&logs).unwrap().next().unwrap().unwrap().path();
    // Its last sign of life is as old as it would be had nobody come for nine seconds.
    let written = fs_err::metadata(&log).unwrap().modified().unwrap();
    let sign = project.state().join("sessions").join(&killed).join("asked");
    let sign = fs_err::OpenOptions::new().append(true).open(sign).unwrap();
    sign.file().set_modified(written - Duration::from_secs(9)).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    let foreign = fs_err::read_to_string(&log).unwrap().replace("mend the parser", "mend the house");
    let (id, other) = (log.file_stem().unwrap().to_str().unwrap(), "0199d3c8-7c1e-7b10-8a57-0d2d1d9a1b11");
    fs_err::write(logs.join(other).with_extension("jsonl"), foreign.replace(id, other)).unwrap();
    let all = runs(&project, &[]);
    assert_eq!((all.len(), texts(&all[0])), (1, vec!["mend the parser".to_owned()]), "{all:?}");
    assert_eq!(all[0]["conversations"], json!([id]));
}

#[test]
fn all_that_were_killed_are_gathered_before_the_next_begins() {
    let project = project(SCRIPT);
    let asked: Vec<String> = (0..6).map(|number| format!("mend the house number {number}")).collect();
    let killed: Vec<String> = asked.iter().map(|asked| start(&project, &[asked])).collect();
    for id in &killed {
        assert!(within(Duration::from_secs(30), || {
            project.pier(&["trajectory", "show", "--no-pager", id]).code() == Some(0)
        }));
    }
    for id in &killed {
        kill_supervisor(&project, id);
    }
    // What cannot be kept now is said, and waits.
    let kept = project.state().join("runs");
    fs_err::write(&kept, "").unwrap();
    let refused = project.pier(&["trajectory", "list", "--json"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(said.matches("is not kept yet").count(), 6, "{said}");
    let next = start(&project, &["nothing"]);
    let doctor = project.pier(&["doctor"]);
    assert!(doctor.text().contains("cannot keep what the agent of"), "{}", doctor.text());
    fs_err::remove_file(&kept).unwrap();
    fs_err::write(project.root().join("done"), "").unwrap();
    assert!(within(Duration::from_secs(30), || !project.pier(&["ps"]).expect(0).text().contains(&next)));
    let all = runs(&project, &[]);
    assert_eq!((all.len(), texts(of(&all, &next)).len()), (7, 1), "{all:?}");
    for (id, asked) in killed.iter().zip(&asked) {
        assert_eq!(texts(of(&all, id)), std::slice::from_ref(asked), "{}\n{}", of(&all, &next), of(&all, id));
    }
}
