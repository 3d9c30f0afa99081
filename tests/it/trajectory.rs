//! `pier trajectory`, on the logs of real agents and on logs that were written for what rarely happens.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

mod checked;
mod constructed;
mod fresh;
mod kept;
mod large;
mod native;
mod odd;
mod redacted;
mod repeated;
mod shared;
mod stored;
mod told;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Runs `pier trajectory`; returns its exit code, its output and its errors.
fn trajectory(words: &[&str]) -> (i32, String, String) {
    let mut pier = Command::new(env!("CARGO_BIN_EXE_pier"));
    pier.arg("trajectory").args(words).env_clear().env("HOME", "/nonexistent").stdin(Stdio::null());
    let output = pier.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A conversion: what was said of it, and the document.
struct Converted {
    said: Value,
    document: Value,
    /// Where the document is, with its pictures.
    place: tempfile::TempDir,
}

/// Converts a directory of logs, and checks that the document is valid.
fn convert(logs: &Path, words: &[&str]) -> Converted {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("trajectory.json");
    let mut all = vec!["convert", logs.to_str().unwrap(), "--json", "-o", file.to_str().unwrap()];
    all.extend(words);
    let (code, said, errors) = trajectory(&all);
    assert_eq!(code, 0, "{}: {errors}", logs.display());
    let (code, problems, _) = trajectory(&["validate", "--strict", file.to_str().unwrap()]);
    assert_eq!(code, 0, "{}: {problems}", logs.display());
    let document = serde_json::from_slice(&fs_err::read(&file).unwrap()).unwrap();
    Converted { said: serde_json::from_str(&said).unwrap(), document, place }
}

/// Calls for each text in a value, and for each name in its objects.
fn each_text(value: &Value, call: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => call(text),
        Value::Array(list) => list.iter().for_each(|inner| each_text(inner, call)),
        Value::Object(object) => {
            for (key, inner) in object {
                call(key);
                each_text(inner, call);
            }
        }
        _ => {}
    }
}

/// All texts of a document, one after the other.
fn all_texts(document: &Value) -> String {
    let mut all = String::new();
    each_text(document, &mut |text| {
        all.push_str(text);
        all.push('\u{0}');
    });
    all
}

/// All steps of a document, with those of its sub-agents.
fn all_steps(document: &Value) -> Vec<&Value> {
    let mut steps: Vec<&Value> = document["steps"].as_array().unwrap().iter().collect();
    for sub in document["subagent_trajectories"].as_array().into_iter().flatten() {
        steps.extend(all_steps(sub));
    }
    steps
}

/// The names of all calls of a document, sorted.
fn all_calls(document: &Value) -> Vec<String> {
    let calls =
        all_steps(document).into_iter().flat_map(|step| step["tool_calls"].as_array().into_iter().flatten());
    let mut names: Vec<String> =
        calls.map(|call| call["function_name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}
