//! What leaves this machine holds no secrets: `pier trajectory export`, and archives of `pier traces`.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// Values that JSON writes in another way, the more so within JSON.
const VALUES: &[(&str, &str)] = &[
    ("NL_TOKEN", "alphasecret1\nbetasecret2\n\tgammasecret3"),
    ("QT_TOKEN", "quote\"secret\\back77"),
    ("UNI_SECRET", "schlüssel-\u{1}-𝄞-/ende"),
];

/// Runs pier with these variables, in a directory; returns its output and its errors.
fn pier(place: &Path, words: &[&str], variables: &[(&str, &str)]) -> (String, String) {
    let mut pier = Command::new(env!("CARGO_BIN_EXE_pier"));
    pier.args(words).current_dir(place).env_clear().env("HOME", place).env("PWD", place);
    pier.envs(variables.iter().copied()).stdin(Stdio::null());
    let output = pier.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let errors = text(output.stderr);
    assert!(output.status.success(), "{words:?}: {errors}");
    (text(output.stdout), errors)
}

/// A conversation with texts in its message, in the arguments of a call, and in what a tool said.
fn document(said: &str) -> Value {
    json!({
        "schema_version": "ATIF-v1.7",
        "session_id": "s",
        "agent": { "name": "some-agent", "version": "1", "model_name": "m" },
        "steps": [
            { "step_id": 1, "source": "user", "message": said },
            {
                "step_id": 2,
                "source": "agent",
                "message": said,
                "tool_calls": [{
                    "tool_call_id": "c",
                    "function_name": "Bash",
                    "arguments": { "command": format!("echo {said}"), "body": json!({ "a": said }).to_string() },
                }],
                "observation": { "results": [{ "source_call_id": "c", "content": said }] },
            },
        ],
    })
}

/// Collects each text of a value, also those of the documents in its texts.
fn texts(value: &Value, found: &mut Vec<String>) {
    super::each_text(value, &mut |text| {
        found.push(text.to_owned());
        if let Ok(inner @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(text) {
            texts(&inner, found);
        }
    });
}

fn texts_of(lines: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in lines.lines() {
        let value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        texts(&value, &mut found);
    }
    found
}

#[test]
fn an_export_holds_no_value_however_often_it_is_json_within_json() {
    for variable in VALUES {
        let place = tempfile::tempdir().unwrap();
        let home = place.path().to_str().unwrap();
        let said = format!("{} in {home}", variable.1);
        fs_err::write(place.path().join("trajectory.json"), document(&said).to_string()).unwrap();
        for form in ["jsonl", "otel"] {
            let words = ["trajectory", "export", "trajectory.json", "-f", form];
            let (lines, told) = pier(place.path(), &words, &[*variable]);
            let found = texts_of(&lines);
            assert!(!found.iter().any(|text| text.contains(variable.1)), "{form}: {lines}");
            assert!(
                found.iter().any(|text| *text == format!("echo [REDACTED] in {home}")),
                "{form}: {lines}"
            );
            assert!(told.contains(" secrets were taken out"), "{told}");
            let (lines, told) = pier(place.path(), &[&words[..], &["--unredacted"]].concat(), &[*variable]);
            assert!(
                texts_of(&lines).iter().any(|text| text.contains(variable.1)) && told.is_empty(),
                "{told}"
            );
        }
    }
}

#[test]
fn an_export_holds_nothing_that_looks_like_a_key_and_stays_readable() {
    let place = tempfile::tempdir().unwrap();
    let key = "a1B2c3D4".repeat(4);
    let said = format!(
        "curl -H 'Authorization: Bearer {key}' -d '{{\"api_key\": \"{key}\"}}' postgres://user:{key}@host/db eyJ{key}.eyJ{key}.{key}"
    );
    let clean = "curl -H 'Authorization: Bearer [REDACTED]' -d '{\"api_key\": \"[REDACTED]\"}' postgres://user:[REDACTED]@host/db \
                 [REDACTED]";
    fs_err::write(place.path().join("trajectory.json"), document(&said).to_string()).unwrap();
    let (lines, _) = pier(place.path(), &["trajectory", "export", "trajectory.json"], &[]);
    let found = texts_of(&lines);
    assert!(!lines.contains(&key), "{lines}");
    assert!(found.iter().any(|text| text == clean), "{lines}");
    // One is one.
    let mut document = document("");
    document["steps"][0]["message"] = format!("gsk_{key}").into();
    fs_err::write(place.path().join("trajectory.json"), document.to_string()).unwrap();
    let (_, told) = pier(place.path(), &["trajectory", "export", "trajectory.json"], &[]);
    assert!(told.contains("1 secret was taken out"), "{told}");
}

#[test]
fn an_archive_holds_no_value_and_nothing_that_cannot_be_looked_through() {
    let place = tempfile::tempdir().unwrap();
    let trial = place.path().join(".pier/trials/2026-01-02_03-04-05");
    fs_err::create_dir_all(trial.join("agent")).unwrap();
    fs_err::write(trial.join("result.json"), "{}").unwrap();
    let mut nested = json!({ "all": VALUES.iter().map(|(_, value)| *value).collect::<Vec<_>>() });
    for _ in 0..2 {
        nested = json!({ "inner": nested.to_string() });
    }
    fs_err::write(trial.join("agent/log.jsonl"), format!("{nested}\n")).unwrap();
    fs_err::write(trial.join("agent/logs.tar.gz"), "packed").unwrap();
    let archived = |more: &[&str]| {
        let (_, told) = pier(place.path(), &[&["traces", "-o", "one.tar.gz"], more].concat(), VALUES);
        let file = fs_err::File::open(place.path().join("one.tar.gz")).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
        let mut found = std::collections::BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            found.insert(entry.path().unwrap().file_name().unwrap().to_str().unwrap().to_owned(), text);
        }
        (found, told)
    };
    let (found, told) = archived(&[]);
    let texts = texts_of(&found["log.jsonl"]);
    assert_eq!(texts.iter().filter(|text| *text == "[REDACTED]").count(), VALUES.len(), "{texts:?}");
    assert!(!found.contains_key("logs.tar.gz"));
    let manifest: Value = serde_json::from_str(&found["manifest.json"]).unwrap();
    let left_out = &manifest["left_out"][0];
    assert_eq!(left_out["path"], "agent/logs.tar.gz");
    let why = left_out["why"].as_str().unwrap();
    assert!(
        why.contains("cannot be looked through") && told.contains("`agent/logs.tar.gz` is left out"),
        "{told}"
    );
    let (found, _) = archived(&["--unredacted"]);
    assert_eq!(found["logs.tar.gz"], "packed");
}
