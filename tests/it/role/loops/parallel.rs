//! `pier role parallel`.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::World;
use crate::coord::json;
use crate::sandbox::{make_executable, within};

/// What became of an item, as the loop reports it.
fn row<'a>(report: &'a Value, id: &str) -> &'a Value {
    report["items"].as_array().unwrap().iter().find(|row| row["id"] == id).unwrap()
}

#[test]
fn several_items_are_closed_once_and_merged() {
    let world = World::new("sleep 0.2");
    let ids: Vec<String> = (0..5).map(|number| world.0.issue(&format!("Thing {number}"))).collect();
    let output = world.parallel(&["-j", "3", "--json"]).expect(0);
    let report = json(&output);
    assert_eq!(
        (&report["end"], &report["sessions"]),
        (&Value::from("done"), &Value::from(15)),
        "{}",
        output.said()
    );
    for id in &ids {
        let events = world.events(id);
        let kinds: Vec<&str> = events.iter().map(|event| event.split(' ').next().unwrap()).collect();
        assert_eq!(kinds, ["opened", "claimed", "done", "reviewed", "verified", "closed"]);
        assert!(
            events[1].starts_with("claimed somebody-") && events[1].ends_with("/developer"),
            "{events:?}"
        );
        assert_eq!((&row(&report, id)["merged"], &row(&report, id)["sessions"]), (&true.into(), &3.into()));
        assert_eq!(world.project().read(format!("work-{id}.txt")), format!("{id}\n"));
        // What was merged is what the history names.
        let log = json(&world.0.pier(&["log", "--json", id]).expect(0));
        let commit = log[2]["implementation_refs"][0]["commit"].as_str().unwrap().to_owned();
        world.git(&["merge-base", "--is-ancestor", &commit, "main"]);
    }
    assert_eq!(world.git(&["status", "--porcelain"]), "");
    assert_eq!(world.git(&["for-each-ref", "--format=%(refname)"]), "refs/heads/main");
    let status = json(&world.call(&["status", "--json"]).run().expect(0));
    assert_eq!((&status["running"], &status["closed"]), (&false.into(), &5.into()));
    let logs = world.call(&["logs", "--json"]).run().expect(0);
    assert_eq!(json(&logs).as_array().unwrap().len(), 15);
    let said = world.call(&["logs", &format!("{}-tester", ids[4])]).run().expect(0);
    assert!(said.text().contains(&format!("tester {} as somebody-", ids[4])), "{}", said.text());
    world.call(&["logs", "nothing-like-it"]).run().refused(2, "role::loop");
    assert!(world.homes().is_empty());
}

/// Writes a trajectory of one answer, and maybe what that has cost.
const PRICED: &str = r#"
mkdir -p ~/.trace
cat > ~/.trace/trajectory.json <<END
{"schema_version": "ATIF-v1.7", "session_id": "s", "agent": {"name": "worker", "version": "1"},
 "steps": [{"step_id": 1, "source": "user", "message": "Do it"}, {"step_id": 2, "source": "agent", "message": "Done", "llm_call_count": 1}],
 "final_metrics": {$metrics"total_steps": 2}}
END
"#;

#[test]
fn costs_are_those_of_trajectories_and_what_is_not_known_is_too_much() {
    let config = "network none\nagent worker default=#true { run \"bash\" \"/workspace/agent.sh\"; logs \"~/.trace/*.json\"; }\n";
    for (metrics, sessions, cost, said) in [
        ("\"total_cost_usd\": 2.0, ", 2, Value::from(4.0), "the budget of cost is used up"),
        ("", 1, Value::Null, "what a session has cost is not known"),
    ] {
        let world = World::with(&format!("metrics='{metrics}'\n{PRICED}"), config);
        world.0.issue("One");
        world.0.issue("Two");
        let output = world.parallel(&["-j", "1", "--max-cost", "3", "--json", "--no-close"]).expect(0);
        let report = json(&output);
        assert_eq!((&report["end"], &report["sessions"]), (&"budget of cost".into(), &sessions.into()));
        assert_eq!(report["cost"], cost, "{report}");
        let told = world.parallel(&["-j", "1", "--max-cost", "3", "--no-close"]).expect(0);
        assert!(told.flat().contains(said), "{}", told.flat());
    }
}

/// Each developer writes the same line; the second merge does not fit, and goes back to one who resolves it.
const SAME_LINE: &str = r#"
if [ $PIER_ROLE = developer ]; then
    export GIT_AUTHOR_NAME=d GIT_AUTHOR_EMAIL=d@example.com GIT_COMMITTER_NAME=d GIT_COMMITTER_EMAIL=d@example.com
    if [ -e "work-$id.txt" ]; then
        git merge -q main || { sort -u -o shared.txt shared.txt; sed -i '/^[<=>]/d' shared.txt; git add -A; git commit -qm "Resolve $id"; }
        pier coord done "$id" --result resolved; exit
    fi
    echo "$id" > shared.txt
fi
"#;

#[test]
fn what_does_not_fit_goes_back_to_a_developer() {
    let world = World::new(SAME_LINE);
    let ids = [world.0.issue("One"), world.0.issue("Two")];
    let output = world.parallel(&["-j", "2", "--json"]).expect(0);
    let report = json(&output);
    assert!(ids.iter().all(|id| world.status(id) == "closed"), "{}", output.said());
    let text = world.project().read("shared.txt");
    assert!(ids.iter().all(|id| text.contains(id)) && !text.contains("<<<<"), "{text}");
    assert_eq!(report["sessions"], 9, "{}", output.said());
    let sent_back =
        ids.iter().filter(|id| world.events(id).iter().any(|event| event.starts_with("reopened"))).count();
    assert_eq!(sent_back, 1);
    assert!(output.said().contains("it does not fit to `main` any more: shared.txt"), "{}", output.said());
}

/// Agents that say more than their role may, and do more: without the variables that name it, no command refuses them.
const GREEDY: &str = r#"
case $PIER_ROLE in
developer)
    unset PIER_ROLE PI_ACTIVE_ROLE PIER_COORD_ROLE PI_COORD_ROLE PI_ENV_COORD_ROLE
    pier coord close --force "$OTHER" --result stolen; pier coord comment "$OTHER" "seen by the way"
    pier coord new "Found on the way" >/dev/null
    git switch -q main; echo stolen > stolen.txt; git add -A; git -c user.name=x -c user.email=x@example.com commit -qm stolen; git switch -q -
    echo "$id" > "work-$id.txt"; git add -A; git -c user.name=x -c user.email=x@example.com commit -qm "Work on $id"
    pier coord done "$id"; pier coord review "$id" --pass --role reviewer; pier coord verify "$id" --pass --role tester; pier coord close "$id"; exit ;;
tester)
    echo more > more.txt; git add -A; git -c user.name=x -c user.email=x@example.com commit -qm more
    pier coord verify "$id" --pass; exit ;;
esac
"#;

#[test]
fn a_worker_says_what_its_role_may_say_about_its_own_item() {
    let world = World::new("");
    let (id, other) = (world.0.issue("One"), world.0.issue("Two"));
    world.project().write("work.sh", GREEDY.replace("$OTHER", &other));
    world.git(&["commit", "-qam", "greedy"]);
    let output = world.parallel(&["-j", "1", "--issue", &id, "--json"]).expect(0);
    let said = output.flat();
    assert!(said.contains("left out: the step `reviewed`, which is not one of a developer"), "{said}");
    assert!(said.contains(&format!("left out: what it did with `{other}`, which it was not for")), "{said}");
    assert!(said.contains("commits of the developer that are not of its branch wait"), "{said}");
    assert!(said.contains("commits of the tester that are not of its branch wait"), "{said}");
    let kinds: Vec<String> = world.events(&id).iter().map(|event| event.replace("somebody-1/", "")).collect();
    let expected = [
        "opened somebody/",
        "claimed developer",
        "done developer",
        "reviewed reviewer",
        "verified tester",
        "closed somebody/",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(world.status(&other), "open");
    assert!(world.events(&other).last().unwrap().starts_with("updated somebody-1/developer"));
    let found = world.0.rows(&["issues", "open"]);
    assert!(found.iter().any(|row| row["title"] == "Found on the way"), "{found:?}");
    let root = world.project().root();
    assert!(root.join(format!("work-{id}.txt")).exists());
    assert!(!root.join("stolen.txt").exists() && !root.join("more.txt").exists());
}

#[test]
fn work_that_is_in_no_commit_is_not_done() {
    let world = World::new("[ $PIER_ROLE = developer ] && { echo x > new.txt; pier coord done $id; exit; }");
    let id = world.0.issue("One");
    let output = world.parallel(&["-j", "1", "--json"]).expect(1);
    assert!(
        output.flat().contains("committed nothing on its branch of what it has changed"),
        "{}",
        output.flat()
    );
    assert_eq!(world.status(&id), "open");
    assert!(row(&json(&output), &id)["problem"].is_string());
}

#[test]
fn budgets_and_dry_runs() {
    let world = World::new("");
    for number in 0..3 {
        world.0.issue(&format!("Thing {number}"));
    }
    let dry = world.parallel(&["-j", "2", "--dry-run"]).expect(0);
    assert_eq!(dry.text().lines().count(), 2, "{}", dry.text());
    assert!(dry.text().starts_with("worker 1: role=developer item="), "{}", dry.text());
    let output = world.parallel(&["-j", "2", "--max-jobs", "2", "--json", "--no-close"]).expect(0);
    assert_eq!((&json(&output)["end"], &json(&output)["sessions"]), (&"budget of jobs".into(), &2.into()));
    let output = world.parallel(&["--max-time", "1s", "--json", "--no-close"]).expect(0);
    assert_eq!(json(&output)["end"], "budget of time");
    let refused = world.parallel(&["--max-cost", "1"]).refused(2, "role::loop");
    assert!(refused.flat().contains("does not say what it cost"), "{}", refused.flat());
    for cost in ["NaN", "inf"] {
        world.parallel(&["--max-cost", cost]).refused(2, "role::loop");
    }
    world.parallel(&["--into", "nowhere"]).refused(1, "role::loop");
    world.git(&["switch", "-q", "--detach"]);
    world.parallel(&[]).refused(1, "role::loop");
    // Into another branch than that which is checked out.
    world.git(&["branch", "release"]);
    world.parallel(&["-j", "2", "--into", "release"]).expect(0);
    assert_eq!(world.git(&["log", "--oneline", "--no-merges", "release"]).lines().count(), 4);
    assert_eq!(world.git(&["log", "--oneline", "main"]).lines().count(), 1);
}

#[test]
fn the_help_is_wrapped_once() {
    let world = World::new("");
    let help = world.call(&["parallel", "--help"]).run().expect(0).text();
    let end: Vec<&str> = help.trim_end().rsplit("\n\n").next().unwrap().lines().collect();
    assert!(end[0].starts_with("Every worker has a sandbox"), "{end:?}");
    assert!(end[..end.len() - 1].iter().all(|line| line.len() > 60), "{end:?}");
}

#[test]
fn looks_that_find_nothing_are_bounded() {
    let world = World::new("");
    for words in [&["--once"][..], &["--max-idle-polls", "2"]] {
        let output = world.parallel(words).expect(0);
        assert!(output.flat().contains("0 of 0 items closed in 0 sessions"), "{words:?}: {}", output.flat());
    }
    world.parallel(&["--max-idle-polls", "0"]).expect(2);
    let ids = [world.0.issue("One"), world.0.issue("Two")];
    let report = json(&world.parallel(&["--once", "--json"]).expect(0));
    assert_eq!((&report["end"], &report["sessions"]), (&"budget of jobs".into(), &1.into()), "{report}");
    // What a script costs, nobody knows.
    assert_eq!(report["cost"], Value::Null);
    let status = world.call(&["status"]).run().expect(0);
    assert!(
        status.text().contains("1 sessions,") && status.text().contains("cost unknown"),
        "{}",
        status.text()
    );
    world.parallel(&["--max-idle-polls", "1"]).expect(0);
    for id in &ids {
        assert_eq!(world.status(id), "closed");
    }
}

#[test]
fn a_remote_that_takes_no_claim_ends_the_loop() {
    let world = World::new("");
    let ids = [world.0.issue("One"), world.0.issue("Two")];
    // Hooks are those of a remote that is not in the project.
    let server = world.project().base().join("server.git");
    fs_err::rename(world.0.remote(), &server).unwrap();
    world.0.git(&world.0.clone_of(), &["config", "remote.origin.url", server.to_str().unwrap()]);
    let hook = server.join("hooks/pre-receive");
    fs_err::create_dir_all(hook.parent().unwrap()).unwrap();
    fs_err::write(&hook, "#!/bin/sh\necho not today >&2\nexit 1\n").unwrap();
    make_executable(&hook);
    world.project().give_away();
    let output = world.parallel(&["-j", "2", "--json"]).expect(1);
    let report = json(&output);
    assert_eq!((&report["end"], &report["sessions"]), (&"done".into(), &0.into()), "{report}");
    for id in &ids {
        let problem = row(&report, id)["problem"].as_str().unwrap();
        assert!(problem.contains("could not be claimed") && problem.contains("not today"), "{problem}");
        assert_eq!(world.status(id), "open");
        // Once, and not in each round.
        assert_eq!(output.flat().matches(&format!("{id}: could not be claimed")).count(), 1);
    }
    assert!(!output.flat().contains("not ours"), "{}", output.flat());
    let status = world.call(&["status"]).run().expect(0).text();
    assert!(status.contains(&format!("left: {}: could not be claimed", ids[0])), "{status}");
    assert!(!status.contains("USD"), "{status}");
    // Where the remote takes them again, nothing of it is left.
    fs_err::remove_file(&hook).unwrap();
    world.parallel(&["-j", "2"]).expect(0);
    assert!(ids.iter().all(|id| world.status(id) == "closed"));
    let status = world.call(&["status"]).run().expect(0).text();
    assert!(!status.contains("left: ") && status.contains("cost unknown"), "{status}");
}

#[test]
fn a_killed_loop_loses_nothing() {
    let world = World::new("[ -e /workspace/.git/refs/heads/slow ] && sleep 60");
    world.git(&["branch", "slow"]);
    let ids = [world.0.issue("One"), world.0.issue("Two")];
    let mut first = world.call(&["parallel", "-j", "2"]).start();
    let both = || ids.iter().all(|id| world.status(id) == "claimed");
    assert!(within(Duration::from_mins(1), both));
    let running = || json(&world.call(&["status", "--json"]).run().expect(0))["running"] == true;
    assert!(within(Duration::from_secs(10), running));
    let status = world.call(&["status"]).run().expect(0);
    assert!(status.text().contains("cost unknown"), "{}", status.text());
    first.kill().unwrap();
    first.wait().unwrap();
    // Its sessions end with it.
    assert!(within(Duration::from_secs(30), || json(&world.project().pier(&["ps", "--json"]))
        .as_array()
        .unwrap()
        .is_empty()));
    assert_eq!(world.homes().len(), 2);
    let status = world.call(&["status"]).run().expect(0);
    assert!(status.text().starts_with("killed: "), "{}", status.text());
    world.git(&["branch", "-D", "slow"]);
    let output = world.parallel(&["-j", "2", "--json"]).expect(0);
    for id in &ids {
        assert_eq!(world.status(id), "closed", "{}", output.said());
        assert_eq!(world.events(id).iter().filter(|event| event.starts_with("closed")).count(), 1);
    }
    assert!(world.homes().is_empty());
}

#[test]
fn claims_are_renewed_while_their_agents_work() {
    let world = World::new("[ $PIER_ROLE = developer ] && sleep 14");
    let id = world.0.issue("One");
    world.parallel(&["-j", "1", "--for", "30s", "--max-jobs", "1"]).expect(0);
    let subjects = world.0.git(&world.0.remote(), &["log", "--format=%s"]);
    assert!(subjects.contains(&format!("Renew {id}")), "{subjects}");
    // A claim that somebody took by force ends the session.
    let id = world.0.issue("Two");
    let other = world.0.another("other");
    world.project().write("work.sh", "[ $PIER_ROLE = developer ] && sleep 50");
    world.git(&["commit", "-qam", "slower"]);
    let mut running = world.call(&["parallel", "-j", "1", "--for", "30s", "--issue", &id]).start();
    assert!(within(Duration::from_secs(30), || world.status(&id) == "claimed"));
    world.0.pier(&["claim", "--coord-dir", &other, "--agent-id", "else", "--force", &id]).expect(0);
    let ended = crate::sandbox::wait(&mut running, Duration::from_secs(40)).expect("it heard of it");
    assert_eq!(ended.code(), Some(1));
    let shown = json(&world.0.pier(&["show", "--json", &id]).expect(0));
    assert_eq!((&shown["status"], &shown["owner"]), (&"claimed".into(), &"else".into()));
}

#[test]
fn changes_of_the_user_wait_for_nobody_and_nobody_for_them() {
    let world = World::new("");
    let id = world.0.issue("One");
    world.project().write("shared.txt", "mine\n");
    let output = world.parallel(&["-j", "1", "--json"]).expect(1);
    assert!(output.flat().contains("not merged yet: the working tree has changes"), "{}", output.flat());
    assert_eq!(world.project().read("shared.txt"), "mine\n");
    assert_eq!(world.status(&id), "done");
    world.git(&["checkout", "-q", "shared.txt"]);
    // The hooks of the repository are the user's, and not of what an agent has written.
    let hook = world.project().root().join(".git/hooks/post-merge");
    fs_err::write(&hook, "#!/bin/sh\ntouch ran\n").unwrap();
    make_executable(&hook);
    world.parallel(&["-j", "1"]).expect(0);
    assert_eq!(world.status(&id), "closed");
    assert!(!world.project().root().join("ran").exists());
}

#[test]
fn hostile_items_are_left_alone() {
    let world = World::new("");
    let good = world.0.issue("Good");
    let clone = world.0.clone_of();
    let text = fs_err::read_to_string(clone.join(format!("issues/open/{good}.yaml"))).unwrap();
    for (number, id) in
        ["../../../../tmp/x", "a.lock", "x\\n- Work on another", "twice", "twice"].iter().enumerate()
    {
        let item = text.replace(&good, &format!("\"{id}\""));
        fs_err::write(clone.join(format!("issues/open/P-ISS-20200101-00000{number}-001.yaml")), item)
            .unwrap();
    }
    world.project().give_away();
    world.0.pier(&["push"]).expect(0);
    // Nor what somebody has pushed with the marks of a conflict.
    let torn = text
        .replace(&good, "TORN")
        .replace("status: open\n", "<<<<<<< HEAD\nstatus: open\n=======\nstatus: done\n>>>>>>> x\n");
    fs_err::write(clone.join("issues/open/TORN.yaml"), torn).unwrap();
    world.project().give_away();
    for words in [&["add", "--all"][..], &["commit", "-q", "-m", "torn"], &["push", "-q"]] {
        world.0.git(&clone, words);
    }
    let output = world.parallel(&["-j", "2", "--json"]).expect(0);
    let report = json(&output);
    assert_eq!(report["items"].as_array().unwrap().len(), 1, "{report}");
    let said = output.flat();
    assert_eq!(
        said.matches("the id `twice` is that of several files, which are left alone: issues/open/").count(),
        1,
        "{said}"
    );
    assert_eq!(
        said.matches("`issues/open/TORN.yaml` is left alone: it has the marks of a conflict").count(),
        1,
        "{said}"
    );
    assert_eq!(world.status(&good), "closed");
    assert_eq!(world.git(&["for-each-ref", "--format=%(refname)"]), "refs/heads/main");
}

#[test]
fn what_was_done_elsewhere_is_closed_and_what_was_not_reviewed_waits() {
    let world = World::new("");
    let (by_hand, other) = (world.0.issue("By hand"), world.0.issue("Other"));
    world.0.pier(&["claim", &by_hand]).expect(0);
    world.0.pier(&["done", &by_hand, "--result", "on main"]).expect(0);
    let output = world.parallel(&["-j", "1", "--issue", &by_hand, "--json"]).expect(0);
    assert_eq!(world.status(&by_hand), "closed", "{}", output.said());
    // A commit on the branch that no history names.
    world.parallel(&["-j", "1", "--issue", &other, "--max-jobs", "3", "--no-close"]).expect(0);
    let branch = format!("pier/{other}");
    world.git(&["switch", "-q", &branch]);
    world.git(&["commit", "-q", "--allow-empty", "-m", "unseen"]);
    world.git(&["switch", "-q", "main"]);
    let last = world.parallel(&["-j", "1", "--issue", &other, "--max-jobs", "1", "--json"]);
    assert!(last.flat().contains("has other commits than those that were reviewed"), "{}", last.flat());
    assert!(world.events(&other).iter().any(|event| event.starts_with("reopened")), "{}", last.said());
    assert!(!world.git(&["log", "--format=%s", "main"]).contains("unseen"));
}

#[test]
fn what_others_close_while_a_loop_works_is_no_failure() {
    let world = World::new("sleep 5");
    let (away, own) = (world.0.issue("Away"), world.0.issue("Own"));
    let other = world.0.another("other");
    // Done elsewhere, with a commit that is not here.
    let commit = format!("project:main@{}", "1".repeat(40));
    world
        .0
        .pier(&["done", "--force", "--coord-dir", &other, "--implementation-ref", &commit, &away])
        .expect(0);
    let loops = std::thread::scope(|scope| {
        let running = scope.spawn(|| world.parallel(&["-j", "1", "--json"]));
        assert!(within(Duration::from_secs(30), || world.status(&own) == "claimed"));
        world.0.pier(&["close", "--force", "--coord-dir", &other, &away]).expect(0);
        running.join().unwrap()
    });
    let loops = loops.expect(0);
    assert!(loops.flat().contains("is not in this repository"), "{}", loops.flat());
    assert!(loops.flat().contains(&format!("{away}: closed elsewhere")), "{}", loops.flat());
    let report = json(&loops);
    assert_eq!(
        (&row(&report, &away)["problem"], &row(&report, &away)["merged"]),
        (&Value::Null, &false.into())
    );
}

#[test]
fn whoever_is_not_named_is_called_by_the_machine_too() {
    let world = World::new("");
    let id = world.0.issue("One");
    let call = world.project().call(["role", "serial", "--ui", "none", "--once"]).env("USER", "somebody");
    call.deadline(Duration::from_mins(1)).run().expect(0);
    let host = fs_err::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let events = world.events(&id);
    assert_eq!(events[1], format!("claimed somebody@{}/developer", host.trim()), "{events:?}");
}

#[test]
fn a_session_that_fails_has_said_nothing() {
    let world = World::new("trap 'exit 9' EXIT");
    let id = world.0.issue("One");
    let output = world.parallel(&["-j", "1", "--json"]).expect(1);
    assert_eq!(
        (world.status(&id), json(&output)["sessions"].clone()),
        ("open".into(), 2.into()),
        "{}",
        output.said()
    );
    assert!(!world.project().root().join(format!("work-{id}.txt")).exists());
}

#[test]
fn no_item_is_given_to_two_workers() {
    // Reviews and verifications are claimed by nobody; only the loop knows that one of its workers is at it.
    let world = World::new("sleep 1");
    let id = world.0.issue("One");
    world.0.pier(&["claim", &id]).expect(0);
    world.0.pier(&["done", &id]).expect(0);
    let dry = world.call(&["parallel", "-j", "3", "--dry-run"]).run().expect(0).text();
    assert_eq!(dry, format!("worker 1: role=reviewer item={id}"));
    let report = json(&world.parallel(&["-j", "3", "--json"]).expect(0));
    assert_eq!((&report["sessions"], &report["items"][0]["sessions"]), (&2.into(), &2.into()), "{report}");
    let kinds: Vec<String> =
        world.events(&id).iter().map(|event| event.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(kinds, ["opened", "claimed", "done", "reviewed", "verified", "closed"]);
}

/// The project on a small disk; unmounted at the end.
struct OnSmall(crate::limits::Small, std::path::PathBuf);

impl OnSmall {
    fn mount(world: &World, size: &str) -> Option<Self> {
        let small = crate::limits::Small::mount(size, world.project().owner())?;
        let root = world.project().root();
        let run =
            |words: &[&str]| assert!(Command::new(words[0]).args(&words[1..]).status().unwrap().success());
        let (from, to) = (root.display().to_string(), small.0.path().display().to_string());
        run(&["cp", "-a", &format!("{from}/."), &to]);
        run(&["mount", "--bind", &to, &from]);
        Some(OnSmall(small, root))
    }
}

impl Drop for OnSmall {
    fn drop(&mut self) {
        assert!(Command::new("umount").arg(&self.1).status().unwrap().success());
    }
}

#[test]
fn work_that_a_full_disk_does_not_take_is_not_done() {
    let world = World::new("[ $PIER_ROLE = developer ] && head -c 3M /dev/urandom > big.bin\ntrue");
    let Some(small) = OnSmall::mount(&world, "16m") else { return };
    let id = world.0.issue("One");
    // Enough for what is said about the item, and too little for the work.
    crate::coord::faults::fill(small.0.0.path(), 1 << 20);
    let output = world.parallel(&["-j", "1", "--attempts", "1", "--json"]).expect(1);
    let report = json(&output);
    let problem = row(&report, &id)["problem"].as_str().unwrap_or_default().to_owned();
    assert!(problem.contains("its commits are not here"), "{problem}: {}", output.said());
    let packs = world.project().root().join(".git/objects/pack");
    let unfinished = fs_err::read_dir(packs).unwrap().flatten();
    let unfinished = unfinished.filter(|entry| entry.file_name().to_str().unwrap().starts_with("tmp_"));
    assert_eq!(unfinished.count(), 0, "what was written in vain takes no room");
    assert_eq!(world.status(&id), "open", "{}", output.said());
    let kinds = world.events(&id);
    assert!(!kinds.iter().any(|event| event.starts_with("done")), "{kinds:?}");
    world.git(&["fsck", "--no-dangling"]);
    // With room, the same item is worked on again.
    fs_err::remove_file(small.0.0.path().join("fill")).unwrap();
    world.parallel(&["-j", "1"]).expect(0);
    assert_eq!(world.status(&id), "closed");
    assert!(world.project().root().join("big.bin").is_file());
}

#[test]
fn what_never_fits_is_left() {
    let world = World::new("[ $PIER_ROLE = developer ] && echo $id >> shared.txt && sleep 1");
    let ids = [world.0.issue("One"), world.0.issue("Two")];
    let output = world.parallel(&["-j", "2", "--json"]).expect(1);
    let report = json(&output);
    assert!(report["sessions"].as_u64().unwrap() <= 9, "{report}");
    let open: Vec<&String> = ids.iter().filter(|id| world.status(id) == "open").collect();
    assert_eq!(open.len(), 1, "{report}");
}

#[test]
fn one_item_that_cannot_be_merged_stops_no_other() {
    let script = r#"
if [ $PIER_ROLE = developer ] && [ $id = ODD ]; then
    export GIT_AUTHOR_NAME=d GIT_AUTHOR_EMAIL=d@example.com GIT_COMMITTER_NAME=d GIT_COMMITTER_EMAIL=d@example.com
    git checkout -q --orphan odd; git commit -qm odd; git update-ref refs/heads/pier/$id HEAD; pier coord done "$id"; exit
fi
"#;
    let world = World::new("");
    let (odd, good) = (world.0.issue("Odd"), world.0.issue("Good"));
    world.project().write("work.sh", script.replace("ODD", &odd));
    world.project().write(".env", "SECRET=mine\n");
    world.project().write(".gitignore", ".env\n");
    world.git(&["add", "-A"]);
    world.git(&["commit", "-qm", "odd"]);
    let output = world.parallel(&["-j", "1", "--json"]).expect(1);
    assert_eq!(world.status(&good), "closed", "{}", output.said());
    assert_ne!(world.status(&odd), "closed");
    // Files that git ignores here, and the place of the coordination clone, are nobody's to bring.
    for (path, word) in [(".env", "not merged yet"), (".pi-env/x", "it changes `.pi-env`")] {
        let bring = format!(
            "[ $PIER_ROLE = developer ] && {{ mkdir -p .pi-env; echo AGENT > {path}; git add -f {path}; }}"
        );
        world.project().write("work.sh", bring);
        world.git(&["commit", "-qam", path]);
        let id = world.0.issue("Bring");
        let output = world.parallel(&["-j", "1", "--issue", &id, "--json"]).expect(1);
        assert!(output.flat().contains(word), "{path}: {}", output.flat());
        assert_eq!(world.status(&id), "done");
    }
    assert_eq!(world.project().read(".env"), "SECRET=mine\n");
    assert!(world.0.clone_of().join("AGENTS.md").exists());
}
