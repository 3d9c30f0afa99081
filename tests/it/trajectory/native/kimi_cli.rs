//! Sessions of Kimi CLI.

use std::path::Path;

use serde_json::Value;

use super::{Native, add, files, records};

/// Reads the messages beside the events, which have the same words: the texts of answers of tools as the model gets them, and those of
/// agents that were asked.
pub fn read(logs: &Path) -> Native {
    let mut native = Native::default();
    for file in files(&logs.join("native"), "context.jsonl") {
        for message in records(&file) {
            add(&mut native.texts, &message["content"]);
            for part in message["content"].as_array().into_iter().flatten() {
                add(&mut native.texts, &part["text"]);
                add(&mut native.texts, &part["think"]);
            }
        }
    }
    // What the program says to the model of an answer is a message of its own in the events.
    native.texts.retain(|text| !text.starts_with("<system>"));
    let wires = files(&logs.join("native"), "wire.jsonl");
    // Those of which the one that asked has all events.
    let told: Vec<String> = wires
        .iter()
        .flat_map(|file| records(file))
        .filter_map(|record| Some(record["message"]["payload"]["agent_id"].as_str()?.to_owned()))
        .collect();
    for file in wires {
        let is_of_another = told.iter().any(|id| file.parent().unwrap().ends_with(id));
        for record in records(&file) {
            let (event, payload) = (&record["message"]["type"], &record["message"]["payload"]);
            let asked = &payload["event"];
            for (event, payload) in [(event, payload), (&asked["type"], &asked["payload"])] {
                say(&mut native, event, payload, is_of_another);
            }
        }
    }
    native
}

fn say(native: &mut Native, event: &Value, payload: &Value, is_of_another: bool) {
    for key in ["user_input", "text", "think", "error_type", "body"] {
        add(&mut native.texts, &payload[key]);
    }
    add(&mut native.texts, &payload["return_value"]["output"]);
    add(&mut native.texts, &payload["return_value"]["message"]);
    if event == "ToolCall" {
        let function = &payload["function"];
        // The one that asked has the calls of the other as well.
        if !is_of_another {
            native.calls.push(function["name"].as_str().unwrap().to_owned());
        }
        let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
        arguments.as_object().unwrap().values().for_each(|value| add(&mut native.texts, value));
    }
}
