//! The coordination repository, with real clones and remotes.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::sandbox::{Call, Output, Project, is_root, make_executable};

mod documents;
pub mod faults;
mod inside;
mod killed;
mod older;
mod remotes;
mod together;

/// A project with its coordination repository, and further clones of that.
pub struct Domain(pub Project);

impl Domain {
    pub fn new() -> Self {
        let domain = Domain(Project::new(""));
        domain.pier(&["bootstrap"]).expect(0);
        domain
    }

    pub fn call(&self, words: &[&str]) -> Call {
        let mut all = vec!["coord"];
        all.extend(words);
        self.0.call(all).env("USER", "somebody")
    }

    pub fn pier(&self, words: &[&str]) -> Output {
        self.call(words).run()
    }

    pub fn clone_of(&self) -> PathBuf {
        self.0.root().join(".pi-env/coordination")
    }

    pub fn remote(&self) -> PathBuf {
        self.0.root().join(".pi-env/agent-remotes/project-coordination.git")
    }

    /// Another clone, beside the project.
    pub fn another(&self, name: &str) -> String {
        let at = self.0.base().join(name).display().to_string();
        self.pier(&["clone", "--dir", &at]).expect(0);
        at
    }

    /// Makes an issue and returns its id.
    pub fn issue(&self, title: &str) -> String {
        let made = self.pier(&["new", "--json", title]).expect(0);
        json(&made)["id"].as_str().unwrap().to_owned()
    }

    pub fn rows(&self, words: &[&str]) -> Vec<Value> {
        let mut all = vec!["list", "--json"];
        all.extend(words);
        json(&self.pier(&all).expect(0)).as_array().unwrap().clone()
    }

    /// Runs git in a directory, as the owner of the project.
    pub fn git(&self, directory: &Path, words: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=x", "-c", "user.email=x@example.com"]).args(words);
        command.current_dir(directory).env("HOME", self.0.home());
        if is_root() {
            // By another group it would be somebody whom pier cannot look at.
            let owner = self.0.owner();
            command.uid(owner).gid(owner);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

pub fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn words_that_nothing_goes_by_are_refused() {
    let domain = Domain::new();
    domain.issue("One");
    for (words, told) in [
        (&["isues"][..], "did you mean `issues`?"),
        (&["requirment"], "did you mean `requirements`?"),
        (&["open"], "did you mean `pier coord list issues open`?"),
        (&["wishes"], "there are issues, requirements, todos, decisions and notes"),
        (&["issues", "opne"], "did you mean `open`?"),
        (&["issues", "waiting"], "there are active, blocked, claimed, closed, done, open"),
    ] {
        let mut all = vec!["list"];
        all.extend(words);
        let said = domain.pier(&all).refused(2, "coord::usage");
        assert!(said.flat().contains(told), "{words:?}: {}", said.flat());
    }
    // What a team calls its own items and states is known where some have them.
    domain.pier(&["new", "--type", "risk", "--status", "watched", "Two"]).expect(0);
    for words in [&["risks"][..], &["risk", "watched"]] {
        assert_eq!(domain.rows(words).len(), 1, "{words:?}");
    }
    for words in [&["todos"][..], &["requirements"], &["issues", "BLOCKED"], &["notes", "active"]] {
        assert_eq!(domain.rows(words).len(), 0, "{words:?}");
    }
}

#[test]
fn a_judgement_says_which_and_is_nobodys_own() {
    let domain = Domain::new();
    let id = domain.issue("One");
    let by = |role: &str, words: &[&str]| {
        domain.call(words).env("PI_COORD_AGENT_ID", "me").env("PIER_COORD_ROLE", role).run()
    };
    by("developer", &["done", "--force", &id]).expect(0);
    assert!(by("reviewer", &["review", &id]).expect(2).flat().contains("<--pass|--fail>"));
    // As it is written down, without a session.
    let own = domain.pier(&["review", "--pass", "--agent-id", "me", "--role", "developer", &id]);
    let own = own.refused(1, "coord::refused");
    assert!(own.flat().contains("is the work of me/developer, who cannot judge it"), "{}", own.flat());
    // In a session of a role, whatever is forced and whoever it says to be.
    for (role, words, who) in [
        ("developer", &["review", "--pass"][..], "a reviewer does"),
        ("developer", &["verify", "--pass", "--force", "--role", "tester"], "a tester does"),
        ("developer", &["close", "--force"], "somebody without a role closes it"),
        ("reviewer", &["verify", "--fail"], "a tester does"),
        ("reviewer", &["close", "--force"], "somebody without a role closes it"),
        ("tester", &["review", "--pass", "--force"], "a reviewer does"),
        ("architect", &["close", "--force"], "`--force` is for somebody without a role"),
        ("architect", &["review", "--pass", "--force"], "`--force` is for somebody without a role"),
    ] {
        let said = by(role, &[words, &[id.as_str()]].concat()).refused(1, "coord::refused").flat();
        assert!(said.contains(&format!("a session of the role {role} does not {}", words[0])), "{said}");
        assert!(said.contains(who), "{said}");
    }
    // The variables of a session name it as well.
    let named = domain.call(&["close", "--force", &id]).env("PIER_ROLE", "developer").run();
    named.refused(1, "coord::refused");
    assert_eq!(domain.rows(&["issues"])[0]["status"], "done");
    // By its older name it has passed where nothing is said.
    let older = crate::old_names::call(&domain.0, "agent-coord-review", &[&id])
        .env("PI_COORD_AGENT_ID", "x")
        .env("PI_COORD_ROLE", "reviewer")
        .run();
    older.expect(0);
    let words = ["verify", "--pass", "--force", "--agent-id", "me", "--role", "developer", &id];
    domain.pier(&words).expect(0);
    let row = &domain.rows(&["issues"])[0];
    assert_eq!((&row["reviewed"], &row["verified"]), (&true.into(), &true.into()));
}

#[test]
fn a_push_says_what_it_commits() {
    let domain = Domain::new();
    domain.pier(&["new", "--no-commit", "One"]).expect(0);
    let said = domain.pier(&["push", "-m", "Add one"]).expect(0);
    assert!(said.flat().contains("committed: Add one"), "{}", said.flat());
    let again = domain.pier(&["push"]).expect(0);
    assert!(!again.flat().contains("committed"), "{}", again.flat());
}

#[test]
fn a_linked_worktree_has_the_clone_of_its_project() {
    let domain = Domain::new();
    let id = domain.issue("One");
    domain.git(&domain.0.root(), &["commit", "-q", "--allow-empty", "-m", "first"]);
    let linked = domain.0.base().join("linked");
    domain.git(&domain.0.root(), &["worktree", "add", "-q", linked.to_str().unwrap()]);
    let there = |words: &[&str]| domain.call(words).cwd(&linked).run();
    assert_eq!(there(&["list"]).expect(0).text(), format!("{id}\topen\tOne"));
    there(&["claim", &id]).expect(0);
    assert_eq!(domain.rows(&["issues"])[0]["status"], "claimed");
    // What only says that it is one is not followed.
    let stranger = domain.0.base().join("stranger");
    fs_err::create_dir(&stranger).unwrap();
    fs_err::copy(linked.join(".git"), stranger.join(".git")).unwrap();
    domain.0.give_away();
    domain.call(&["list"]).cwd(&stranger).run().refused(1, "coord::none");
}

#[test]
fn an_issue_goes_from_open_to_closed() {
    let domain = Domain::new();
    let made = domain.pier(&["new", "--category", "bugs", "--agent-id", "a", "foo: bar's"]).expect(0).text();
    let path = Path::new(&made);
    assert_eq!(path.parent().unwrap(), domain.clone_of().canonicalize().unwrap().join("issues/open"));
    let id = path.file_stem().unwrap().to_str().unwrap();
    assert!(id.starts_with("PROJECT-ISS-") && id.ends_with("-001"), "{id}");
    let text = domain.pier(&["show", id]).expect(0).text();
    for line in [
        "schema: coordination-item/v1",
        "category: bug",
        "status: open",
        "title: 'foo: bar''s'",
        "owner: null",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    let claimed = domain.pier(&["claim", "--agent-id", "dev", "--role", "developer", "--json", id]).expect(0);
    let claimed = json(&claimed);
    assert_eq!(
        (&claimed["owner"], &claimed["status"], &claimed["pushed"]),
        (&"dev".into(), &"claimed".into(), &true.into())
    );
    assert!(claimed["lease"].is_string());
    domain.pier(&["claim", "--agent-id", "other", id]).refused(1, "coord::refused");
    domain.pier(&["done", "--agent-id", "other", id]).refused(1, "coord::refused");
    domain.pier(&["renew", "--agent-id", "dev", "--for", "1h", id]).expect(0);
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let reference = format!("project:main@{commit}");
    let words = ["done", "--agent-id", "dev", "--result", "did: it", "--implementation-ref", &reference, id];
    assert!(domain.pier(&words).expect(0).text().contains("/issues/done/"));
    domain.pier(&["close", id]).refused(1, "coord::refused");
    domain.pier(&["review", "--pass", "--agent-id", "rev", "--role", "reviewer", id]).expect(0);
    let listed = domain.pier(&["list", "issues", "DONE"]).expect(0).text();
    assert_eq!(listed, format!("{id}\tdone\tfoo: bar's (reviewed:true, verified:false)"));
    domain.pier(&["verify", "--pass", "--agent-id", "tester", id]).expect(0);
    assert!(domain.pier(&["close", id]).expect(0).text().contains("/issues/closed/"));
    assert!(domain.pier(&["status"]).expect(0).text().contains("no open, blocked, or done items found"));
    // The remote has all of it, each step by who has made it.
    let log = domain.git(&domain.remote(), &["log", "--format=%an <%ae> %s", "main"]);
    let expected = [
        format!("somebody <somebody@coordination.local> Close {id}"),
        format!("tester <tester@coordination.local> Verify {id}"),
        format!("rev/reviewer <rev+reviewer@coordination.local> Review {id}"),
        format!("dev <dev@coordination.local> Mark {id} done"),
        format!("dev <dev@coordination.local> Renew {id}"),
        format!("dev/developer <dev+developer@coordination.local> Claim {id}"),
        format!("a <a@coordination.local> Add {id}"),
        "somebody <somebody@coordination.local> Initialize coordination repository".to_owned(),
    ];
    assert_eq!(log.lines().collect::<Vec<_>>(), expected);
    assert_eq!(domain.git(&domain.clone_of(), &["status", "--porcelain"]), "");
    let events = json(&domain.pier(&["log", "--json", id]).expect(0));
    let kinds: Vec<&str> =
        events.as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["opened", "claimed", "done", "reviewed", "verified", "closed"]);
    assert_eq!(events[2]["implementation_refs"][0]["commit"], commit);
    assert_eq!(events[2]["message"], "did: it");
}

#[test]
fn what_is_in_the_way_and_what_is_related() {
    let domain = Domain::new();
    let (one, two) = (domain.issue("one"), domain.issue("two"));
    assert!(domain.pier(&["block", &one, "--result", "waits"]).expect(0).text().contains("/issues/blocked/"));
    domain.pier(&["claim", &one]).refused(1, "coord::refused");
    assert!(domain.pier(&["unblock", &one]).expect(0).text().contains("/issues/open/"));
    domain.pier(&["link", &one, &two]).expect(0);
    domain.pier(&["priority", &one, "high"]).expect(0);
    domain.pier(&["comment", &one, "seen", "again"]).expect(0);
    domain.pier(&["claim", &one]).expect(0);
    domain.pier(&["unclaim", "--agent-id", "other", &one]).refused(1, "coord::refused");
    domain.pier(&["unclaim", &one]).expect(0);
    let row = &domain.rows(&["--owner", "none", "issues"])[0];
    assert_eq!((&row["priority"], &row["status"]), (&"high".into(), &"open".into()));
    assert!(domain.pier(&["show", &one]).expect(0).text().contains(&format!("related: [{two}]")));
    domain.pier(&["done", &one]).expect(0);
    assert!(domain.pier(&["verify", "--fail", &one]).expect(0).text().contains("/issues/open/"));
    domain.pier(&["done", &one]).expect(0);
    domain.pier(&["reopen", &one]).expect(0);
    let found = domain.pier(&["search", "AGAIN"]).expect(0).text();
    assert!(found.starts_with(&format!("{one}\topen\tone")), "{found}");
    assert_eq!(domain.pier(&["search", "nowhere"]).expect(0).text(), "");
    domain.pier(&["show", "PROJECT"]).refused(1, "coord::item");
    domain.pier(&["show", "absent"]).refused(1, "coord::item");
}

#[test]
fn items_of_every_kind_are_valid_and_have_their_places() {
    let domain = Domain::new();
    let kinds = ["todo", "note", "decisions", "frq", "quality_requirements", "constraint", "risk"];
    for kind in kinds {
        for title in ["yes", "a: b", "🧭 'x'", "two\nlines"] {
            domain.pier(&["new", "--no-commit", "--type", kind, title]).expect(0);
        }
    }
    domain.pier(&["push", "-m", "Add items"]).expect(0);
    let paths: BTreeSet<String> = domain
        .rows(&[])
        .iter()
        .map(|row| row["path"].as_str().unwrap().split('/').next().unwrap().to_owned())
        .collect();
    let expected = ["decisions", "notes", "requirements", "risks", "todos"];
    assert_eq!(paths.iter().collect::<Vec<_>>(), expected);
    assert_eq!(domain.rows(&["requirements"]).len(), 12);
    assert_eq!(domain.rows(&["todos"])[3]["title"], "two lines");
    for row in domain.rows(&[]) {
        let text = fs_err::read_to_string(domain.clone_of().join(row["path"].as_str().unwrap())).unwrap();
        let read: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read["title"], row["title"]);
    }
    for words in [
        &["new", "--type", "task", "x"][..],
        &["new", "--type", "requirement", "x"],
        &["new", "--testable", "no", "x"],
        &["new", "--type", "todo", "--category", "bug", "x"],
        &["new", "--status", "done", "x"],
        &["new", "--id", "../x", "x"],
        &["new", "--project-key", "OTHER", "x"],
        &["new", " \n "],
        &["push", "-m", &"long ".repeat(20)],
        &["done", "--implementation-ref", "x", "y"],
        &["init", "--remote=--upload-pack=evil"],
    ] {
        domain.pier(words).refused(if words.contains(&"../x") { 1 } else { 2 }, "coord::usage");
    }
    // What has no history has no steps.
    let todo = domain.rows(&["todos"])[0]["id"].as_str().unwrap().to_owned();
    domain.pier(&["claim", &todo]).refused(1, "coord::refused");
}

#[test]
fn a_repository_is_made_once_and_repaired() {
    let domain = Domain::new();
    let id = domain.issue("one");
    let config = fs_err::read_to_string(domain.clone_of().join(".git/config")).unwrap();
    assert!(config.contains("url = ../agent-remotes/project-coordination.git"), "{config}");
    let exclude = || fs_err::read_to_string(domain.0.root().join(".git/info/exclude")).unwrap();
    assert_eq!(exclude().matches("/.pi-env/").count(), 1);
    // Twice is once.
    domain.pier(&["bootstrap"]).expect(0);
    assert_eq!(exclude().matches("/.pi-env/").count(), 1);
    // A remote that is gone is made anew.
    fs_err::remove_dir_all(domain.remote()).unwrap();
    domain.pier(&["claim", &id]).refused(1, "coord::remote");
    domain.pier(&["bootstrap", "--no-status"]).expect(0);
    domain.pier(&["claim", &id]).expect(0);
    // Nothing is done where nothing is asked for.
    let other = Project::new("");
    let said = other.call(["coord", "bootstrap", "--print-only"]).run().expect(0).text();
    assert!(said.contains("export PI_COORD_PROJECT_KEY=PROJECT"), "{said}");
    assert!(!other.root().join(".pi-env").exists());
    other.call(["coord", "status"]).run().refused(1, "coord::none");
    other.call(["coord", "clone"]).run().refused(1, "coord::none");
    other.write("taken/file", "");
    other.call(["coord", "init", "--dir", "taken"]).run().refused(1, "coord::files");
    // A repository that others have made is cloned.
    let url = format!("file://{}", domain.remote().display());
    other.call(["coord", "clone", "--remote", &url]).run().expect(0);
    let listed = other.call(["coord", "list", "issues", "claimed"]).run().expect(0).text();
    assert!(listed.starts_with(&id), "{listed}");
}

#[test]
fn what_a_sandbox_wrote_into_the_clone_runs_nothing() {
    let domain = Domain::new();
    let marker = domain.0.base().join("ran");
    let script = format!("#!/bin/sh\ntouch {}\n", marker.display());
    for place in [domain.clone_of().join(".git/hooks"), domain.remote().join("hooks")] {
        fs_err::create_dir_all(&place).unwrap();
        for hook in [
            "pre-commit",
            "post-commit",
            "pre-push",
            "post-checkout",
            "pre-rebase",
            "pre-receive",
            "update",
            "post-update",
            "reference-transaction",
        ] {
            fs_err::write(place.join(hook), &script).unwrap();
            fs_err::set_permissions(place.join(hook), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    domain.0.give_away();
    let id = domain.issue("one");
    domain.pier(&["claim", &id]).expect(0);
    domain.pier(&["push"]).expect(0);
    assert!(!marker.exists());
    let config = domain.clone_of().join(".git/config");
    let before = fs_err::read_to_string(&config).unwrap();
    for text in [
        "[core]\n\tfsmonitor = touch MARK\n",
        "[core]\n\tsshCommand = touch MARK\n",
        "[filter \"x\"]\n\tclean = touch MARK\n",
        "[include]\n\tpath = ../evil\n",
        "[remote \"origin\"]\n\treceivepack = touch MARK\n",
        "[core]\n\tworktree = /\n",
    ] {
        let text = text.replace("MARK", marker.to_str().unwrap());
        fs_err::write(&config, format!("{before}{text}")).unwrap();
        for words in [&["claim", &id][..], &["status"], &["pull"], &["push"]] {
            domain.pier(words).refused(1, "git::failed");
        }
    }
    fs_err::write(&config, before).unwrap();
    // A directory whose configuration counts instead.
    let evil = domain.clone_of().join(".git/evil");
    fs_err::create_dir(&evil).unwrap();
    fs_err::write(evil.join("config"), format!("[core]\n\tfsmonitor = touch {}\n", marker.display()))
        .unwrap();
    fs_err::write(domain.clone_of().join(".git/commondir"), "evil\n").unwrap();
    domain.0.give_away();
    for words in [&["claim", &id][..], &["status"], &["pull"], &["push"]] {
        domain.pier(words).refused(1, "git::failed");
    }
    fs_err::remove_file(domain.clone_of().join(".git/commondir")).unwrap();
    // Nor do hooks of the remote run for somebody who calls from elsewhere.
    let elsewhere = Project::new("");
    let clone = domain.clone_of().display().to_string();
    let words = ["coord", "comment", "--coord-dir", &clone, &id, "from elsewhere"];
    elsewhere.call(words).env("USER", "somebody").run().expect(0);
    assert!(!marker.exists());
    let remote = domain.remote().join("config");
    let before = fs_err::read_to_string(&remote).unwrap();
    fs_err::write(&remote, format!("{before}[core]\n\talternateRefsCommand = touch {}\n", marker.display()))
        .unwrap();
    domain.pier(&["pull"]).refused(1, "git::failed");
    assert!(!marker.exists());
}

#[test]
fn issues_of_several_repositories_have_places_of_their_own() {
    let domain = Domain(Project::new(""));
    domain.pier(&["init", "--repo-id", "one"]).expect(0);
    let made = domain.pier(&["new", "--repo-id", "one", "first"]).expect(0).text();
    assert!(made.contains("/repos/one/issues/open/PROJECT-ISS-"), "{made}");
    domain.pier(&["new", "--type", "todo", "of the domain"]).expect(0);
    domain.pier(&["list", "--repo-id", "two", "issues"]).refused(1, "coord::repo");
    domain.pier(&["new", "--repo-id", "X", "first"]).refused(1, "coord::repo");
    domain.pier(&["init", "--dir", "other", "--repo-id", "../x"]).refused(2, "coord::usage");
    // Somebody who does not use them: issues of the root are read, too.
    domain.pier(&["new", "--no-commit", "--id", "legacy-1", "--repo-id", "one", "moved"]).expect(0);
    let from = domain.clone_of().join("repos/one/issues/open/legacy-1.yaml");
    fs_err::create_dir_all(domain.clone_of().join("issues/open")).unwrap();
    fs_err::rename(from, domain.clone_of().join("issues/open/legacy-1.yaml")).unwrap();
    domain.0.give_away();
    domain.pier(&["claim", "legacy-1"]).expect(0);
    let listed = domain.pier(&["list", "--all-repos", "issues"]).expect(0).text();
    assert_eq!(listed.lines().map(|line| line.split('\t').next().unwrap()).collect::<Vec<_>>(), ["-", "one"]);
    assert!(domain.pier(&["status", "--repo-id", "one"]).expect(0).text().contains("Issue scope: repo one"));
}

#[test]
fn repositories_of_a_domain_are_added_renamed_and_retired() {
    let domain = Domain::new();
    let id = domain.issue("of the root");
    domain.pier(&["repo", "add", "tools", "--remote", "git@example.com:team/tools.git"]).expect(0);
    domain.pier(&["repo", "add", "tools"]).refused(1, "coord::repo");
    domain.pier(&["repo", "add", "T"]).refused(1, "coord::repo");
    assert_eq!(domain.pier(&["repo", "migrate-root-issues", "tools"]).expect(0).text(), "1 moved");
    let path = domain.pier(&["show", "--path", &id]).expect(0).text();
    assert_eq!(path, format!("repos/tools/issues/open/{id}.yaml"));
    domain.pier(&["repo", "rename", "tools", "toolbox"]).expect(0);
    assert_eq!(domain.pier(&["repo", "list"]).expect(0).text(), "toolbox\tactive\tPROJECT");
    let shown = domain.pier(&["repo", "show", "tools"]).expect(0).text();
    assert!(shown.contains("repo_id: toolbox") && shown.contains("aliases: [tools]"), "{shown}");
    // By its older id, which is told.
    let said = domain.pier(&["list", "--repo-id", "tools", "issues"]).expect(0);
    assert!(said.said().contains("`tools` is `toolbox` now") && said.text().contains(&id), "{}", said.said());
    domain.pier(&["repo", "retire", "toolbox"]).refused(1, "coord::repo");
    domain.pier(&["repo", "retire", "toolbox", "--force"]).expect(0);
    assert_eq!(domain.pier(&["repo", "list", "--active"]).expect(0).text(), "");
    domain.pier(&["new", "--repo-id", "toolbox", "x"]).refused(1, "coord::repo");
    let log = domain.git(&domain.remote(), &["log", "--format=%s", "main"]);
    assert!(log.starts_with("Retire repository toolbox\nRename repository tools to toolbox\n"), "{log}");
    assert_eq!(domain.git(&domain.clone_of(), &["status", "--porcelain"]), "");
}

#[test]
fn an_issue_of_a_project_that_is_no_repository_of_the_domain_is_refused() {
    let domain = Domain::new();
    domain.pier(&["repo", "add", "tools", "--remote", "git@example.com:team/tools.git"]).expect(0);
    let refused = || domain.pier(&["new", "x"]).refused(1, "coord::repo").flat();
    let said = refused();
    assert!(said.contains("pier coord repo add") && said.contains("--repo-id"), "{said}");
    assert_eq!(domain.rows(&["issues", "--all-repos"]).len(), 0);
    domain.pier(&["new", "--repo-id", "tools", "named"]).expect(0);
    domain.pier(&["new", "--type", "todo", "of the domain"]).expect(0);
    // By what its origin is, or is called.
    let root = domain.0.root();
    domain.git(&root, &["init", "-q"]);
    domain.git(&root, &["remote", "add", "origin", "https://example.com/else/where.git"]);
    // Lines may end within it.
    assert!(refused().replace(' ', "").contains("else/where.git"));
    domain.git(&root, &["remote", "set-url", "origin", "https://example.com/else/tools.git"]);
    let path = domain.pier(&["new", "by the name"]).expect(0).text();
    assert!(path.contains("/repos/tools/issues/open/"), "{path}");
}

#[test]
fn the_documents_of_a_repository_are_brought_up_to_date() {
    let domain = Domain::new();
    assert_eq!(domain.pier(&["rules", "upgrade", "--preview"]).expect(0).text(), "");
    let rules = domain.clone_of().join("AGENTS.md");
    fs_err::write(&rules, "# Older rules\n").unwrap();
    let shown = domain.pier(&["rules", "upgrade", "--preview"]).expect(0).text();
    assert!(shown.contains("-# Older rules") && shown.contains("+++ b/AGENTS.md"), "{shown}");
    domain.pier(&["rules", "upgrade"]).refused(1, "coord::clone");
    domain.0.give_away();
    domain.pier(&["push", "-m", "Older rules"]).expect(0);
    domain.pier(&["rules", "upgrade"]).expect(0);
    assert!(fs_err::read_to_string(&rules).unwrap().starts_with("# Working with this repository"));
    assert!(
        domain
            .git(&domain.remote(), &["log", "-1", "--format=%s", "main"])
            .starts_with("Upgrade coordination rules")
    );
}

#[test]
fn items_are_compared_with_the_rules_and_with_their_tests() {
    let domain = Domain::new();
    let words = ["new", "--json", "--testable", "no", "--testability-note", "a chore", "chore"];
    let chore = json(&domain.pier(&words).expect(0))["id"].as_str().unwrap().to_owned();
    assert_eq!(domain.pier(&["lint"]).expect(0).text(), "ok (1 item(s), 0 warning(s))");
    let id = domain.issue("with a test");
    let test = format!("tests/items/issues/{id}.sh");
    let faults = || {
        let said = domain.pier(&["lint", "--json"]);
        let answer = json(&said);
        assert_eq!(said.code(), Some(i32::from(answer["failures"] != 0)));
        let all = answer["findings"].as_array().unwrap().clone();
        all.iter().map(|one| one["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let help = "write it, or say `testable: no`, and why in `testability_note`";
    assert_eq!(faults(), [format!("its test `{test}` is not there: {help}")]);
    domain.0.write(&test, "#!/bin/sh\n");
    assert_eq!(faults(), [format!("its test `{test}` is no program")]);
    make_executable(&domain.0.root().join(&test));
    assert_eq!(faults(), [""; 0]);
    domain.0.write("tests/items/issues/NOBODY.sh", "");
    assert_eq!(faults(), ["no item has this id"]);
    fs_err::remove_file(domain.0.root().join("tests/items/issues/NOBODY.sh")).unwrap();
    domain.pier(&["lint", "--require-done-or-closed"]).expect(1);
    let path = domain.clone_of().join(format!("issues/open/{chore}.yaml"));
    let text = fs_err::read_to_string(&path).unwrap();
    fs_err::write(&path, text.replace("title: chore", "title: a: b")).unwrap();
    let said = domain.pier(&["lint"]).expect(1);
    assert!(
        said.said().contains("FAIL: issues/open/") && said.said().contains("it is no YAML"),
        "{}",
        said.said()
    );
}
