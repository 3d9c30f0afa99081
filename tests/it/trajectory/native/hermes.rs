//! The database of Hermes Agent.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{Native, add};

/// Lets `SQLite` read a copy of the database and of its write-ahead log.
pub fn read(logs: &Path) -> Native {
    const PROGRAM: &str = "import json, sqlite3\n\
        c = sqlite3.connect('state.db')\n\
        print(json.dumps([list(row) for row in c.execute(\n\
        \x20   'select content, reasoning, tool_calls from messages order by id')]))";
    let copy = tempfile::tempdir().unwrap();
    for name in ["state.db", "state.db-wal"] {
        let file = logs.join("native").join(name);
        if file.exists() {
            fs_err::copy(file, copy.path().join(name)).unwrap();
        }
    }
    let mut python = Command::new("/usr/bin/python3");
    let output = python.args(["-c", PROGRAM]).current_dir(&copy).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut native = Native::default();
    for row in rows.as_array().unwrap() {
        add(&mut native.texts, &row[0]);
        add(&mut native.texts, &row[1]);
        let Some(calls) = row[2].as_str() else { continue };
        let calls: Value = serde_json::from_str(calls).unwrap();
        for call in calls.as_array().unwrap() {
            native.calls.push(call["function"]["name"].as_str().unwrap().to_owned());
            let arguments: Value =
                serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
            add(&mut native.texts, &arguments["command"]);
        }
    }
    native
}
