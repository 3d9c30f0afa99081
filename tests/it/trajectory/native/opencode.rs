//! Sessions of opencode, as it exports them, or as its database has them.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{Native, add};

pub fn read(logs: &Path) -> Native {
    let mut native = Native::default();
    let export = logs.join("native/export.json");
    let export: Value = if export.exists() {
        serde_json::from_str(&fs_err::read_to_string(export).unwrap()).unwrap()
    } else {
        of_database(&logs.join("native/opencode.db"))
    };
    for message in export["messages"].as_array().unwrap() {
        add(&mut native.texts, &message["info"]["error"]["data"]["message"]);
        for part in message["parts"].as_array().unwrap() {
            add(&mut native.texts, &part["text"]);
            for key in ["output", "error", "title"] {
                add(&mut native.texts, &part["state"][key]);
            }
            add(&mut native.texts, &part["state"]["input"]["command"]);
            if let Some(tool) = part["tool"].as_str() {
                native.calls.push(tool.to_owned());
            }
        }
    }
    native
}

/// Lets `SQLite` read a copy, because it moves the write-ahead log into the file.
fn of_database(path: &Path) -> Value {
    const PROGRAM: &str = "import json, sqlite3\n\
        c = sqlite3.connect('x.db')\n\
        of = lambda table: [json.loads(data) for data, in c.execute(f'select data from {table} order by id')]\n\
        print(json.dumps({'messages': [{'info': info, 'parts': []} for info in of('message')] +\n\
        \x20   [{'info': {}, 'parts': of('part')}]}))";
    let copy = tempfile::tempdir().unwrap();
    fs_err::copy(path, copy.path().join("x.db")).unwrap();
    let wal = path.with_extension("db-wal");
    if wal.exists() {
        fs_err::copy(wal, copy.path().join("x.db-wal")).unwrap();
    }
    let output = Command::new("python3").args(["-c", PROGRAM]).current_dir(&copy).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
