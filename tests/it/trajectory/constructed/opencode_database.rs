//! opencode's database: it says what its exports say, and of several sessions only those that a run had.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{convert, fixtures};

/// Puts exported sessions into a database, as opencode 1.18.33 has them: what an export prints of each record is a column where the
/// database has one of it, and the rest is one text. Half of it is in the write-ahead log.
const PROGRAM: &str = r"
import json, os, sqlite3, sys
c = sqlite3.connect('opencode.db')
c.execute('pragma page_size = 512')
c.execute('pragma journal_mode = wal')
c.execute('create table `session` (`id` text PRIMARY KEY, `project_id` text NOT NULL, `parent_id` text, `slug` text NOT NULL, '
          '`directory` text NOT NULL, `title` text NOT NULL, `version` text NOT NULL, `permission` text, `agent` text, `model` text, '
          '`time_created` integer NOT NULL, `time_updated` integer NOT NULL)')
c.execute('create table `message` (`id` text PRIMARY KEY, `session_id` text NOT NULL, `time_created` integer NOT NULL, '
          '`time_updated` integer NOT NULL, `data` text NOT NULL)')
c.execute('create table `part` (`id` text PRIMARY KEY, `message_id` text, `session_id` text NOT NULL, '
          '`time_created` integer NOT NULL, `time_updated` integer NOT NULL, `data` text NOT NULL)')
c.commit()
c.execute('pragma wal_checkpoint(truncate)')
def rest(record, *taken):
    return json.dumps({k: v for k, v in record.items() if k not in taken}, separators=(',', ':'))
text = lambda value: None if value is None else json.dumps(value)
for name in sys.argv[1:]:
    export = json.load(open(name))
    i = export['info']
    c.execute('insert into session values (?,?,?,?,?,?,?,?,?,?,?,?)', (i['id'], i['projectID'], i.get('parentID'), i['slug'],
              i['directory'], i['title'], i['version'], text(i.get('permission')), i.get('agent'), text(i.get('model')),
              i['time']['created'], i['time']['updated']))
    # Not in the order in which they were made.
    for m in reversed(export['messages']):
        i = m['info']
        c.execute('insert into message values (?,?,?,?,?)',
                  (i['id'], i['sessionID'], i['time']['created'], 0, rest(i, 'id', 'sessionID')))
        for p in reversed(m['parts']):
            c.execute('insert into part values (?,?,?,?,?,?)',
                      (p['id'], p['messageID'], p['sessionID'], 0, 0, rest(p, 'id', 'sessionID', 'messageID')))
    c.commit()
os._exit(0)
";

/// Makes a database of exports.
fn database(exports: &[&Path]) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let call =
        Command::new("python3").args(["-c", PROGRAM]).args(exports).current_dir(&place).output().unwrap();
    assert!(call.status.success(), "{}", String::from_utf8_lossy(&call.stderr));
    assert!(place.path().join("opencode.db-wal").exists());
    place
}

fn export(run: &str) -> std::path::PathBuf {
    fixtures().join("agent-logs").join(run).join("native/export.json")
}

#[test]
fn a_database_says_what_an_export_says() {
    let runs = ["hello", "multi", "big", "err401", "late-killed", "slow-killed"]
        .map(|run| format!("opencode/{run}"));
    let others = ["anthropic", "openai"].map(|provider| format!("opencode-{provider}/multi"));
    for run in runs.iter().chain(&others) {
        let export = export(run);
        let of_database = convert(database(&[&export]).path(), &[]);
        let of_export = convert(&export, &[]);
        assert_eq!(of_database.document, of_export.document, "{run}");
        for key in ["status", "run", "records", "unknown", "reasons"] {
            assert_eq!(of_database.said[key], of_export.said[key], "{run}: {key}");
        }
    }
}

#[test]
fn a_session_that_another_one_asked_is_below_it() {
    let place = tempfile::tempdir().unwrap();
    let mut texts = ["opencode/multi", "opencode/hello"]
        .map(|run| serde_json::from_slice::<Value>(&fs_err::read(export(run)).unwrap()).unwrap());
    let [parent, child] = &mut texts;
    child["info"]["parentID"] = parent["info"]["id"].clone();
    child["info"]["time"]["created"] = json!(parent["info"]["time"]["created"].as_u64().unwrap() + 1);
    let files = ["a.json", "b.json"].map(|name| place.path().join(name));
    for (file, text) in files.iter().zip(&texts) {
        fs_err::write(file, text.to_string()).unwrap();
    }
    let converted = convert(database(&[&files[0], &files[1]]).path(), &[]);
    assert_eq!(converted.document["session_id"], texts[0]["info"]["id"]);
    let subs = converted.document["subagent_trajectories"].as_array().unwrap();
    assert_eq!((subs.len(), &subs[0]["session_id"]), (1, &texts[1]["info"]["id"]));
    assert_eq!(subs[0]["steps"].as_array().unwrap().len(), 3);
}

#[test]
fn a_broken_row_costs_itself_and_a_missing_table_is_told() {
    let place = database(&[&export("opencode/hello")]);
    let change = |program: &str| {
        let program = format!("import sqlite3\nc = sqlite3.connect('opencode.db')\n{program}\nc.commit()");
        let call = Command::new("python3").args(["-c", &program]).current_dir(&place).output().unwrap();
        assert!(call.status.success(), "{}", String::from_utf8_lossy(&call.stderr));
    };
    change("c.execute(\"update part set data = substr(data, 1, 20) where data like '%Step 1:%'\")");
    let converted = convert(place.path(), &[]);
    assert_eq!(converted.said["status"], "partial");
    assert_eq!(converted.said["counts"]["unreadable-record"], 1, "{}", converted.said);
    assert_eq!(converted.said["agent_steps"], 2);
    assert_eq!(converted.said["run"]["outcome"], "finished");
    change("c.execute('delete from session')");
    let converted = convert(place.path(), &[]);
    assert_eq!(converted.said["agent_steps"], 2, "messages are there without their session");
    change("c.execute(\"update part set message_id = null where data like '%step-finish%'\")");
    let converted = convert(place.path(), &[]);
    assert_eq!(converted.said["counts"]["unreadable-record"], 3, "{}", converted.said);
    change("c.execute('drop table part')");
    let converted = convert(place.path(), &[]);
    let said = converted.said["reasons"].to_string();
    assert!(said.contains("there is no table `part`; there are `session`, `message`"), "{said}");
}

#[test]
fn a_link_in_place_of_a_database_or_of_its_log_is_not_followed() {
    let place = database(&[&export("opencode/hello")]);
    let linked = tempfile::tempdir().unwrap();
    fs_err::copy(place.path().join("opencode.db"), linked.path().join("opencode.db")).unwrap();
    let wal = ["opencode.db-wal"; 2].map(|name| [place.path(), linked.path()].map(|place| place.join(name)));
    std::os::unix::fs::symlink(&wal[0][0], &wal[1][1]).unwrap();
    let (code, _, errors) = super::trajectory(&["convert", linked.path().to_str().unwrap()]);
    assert_eq!(code, 1, "{errors}");
    assert!(errors.contains("symbolic link"), "{errors}");
}

#[test]
fn of_copies_of_a_database_the_newest_counts() {
    let place = tempfile::tempdir().unwrap();
    let whole: Value = serde_json::from_slice(&fs_err::read(export("opencode/multi")).unwrap()).unwrap();
    let mut begun = whole.clone();
    begun["messages"].as_array_mut().unwrap().truncate(2);
    begun["info"]["time"]["updated"] = json!(whole["info"]["time"]["updated"].as_u64().unwrap() - 1);
    for (name, text) in [("a", &begun), ("b", &whole)] {
        let file = place.path().join(format!("{name}.export"));
        fs_err::write(&file, text.to_string()).unwrap();
        let database = database(&[&file]);
        fs_err::create_dir(place.path().join(name)).unwrap();
        for file in ["opencode.db", "opencode.db-wal"] {
            fs_err::copy(database.path().join(file), place.path().join(name).join(file)).unwrap();
        }
    }
    let converted = convert(place.path(), &[]);
    assert_eq!(converted.said["counts"]["duplicate-session"], 1, "{}", converted.said);
    assert_eq!(converted.document["steps"], convert(&export("opencode/multi"), &[]).document["steps"]);
}
