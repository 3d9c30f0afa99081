//! Sessions of the GitHub Copilot CLI.

use std::path::Path;

use super::{Native, add, files, records};

pub fn read(logs: &Path) -> Native {
    let mut native = Native::default();
    for file in files(&logs.join("native"), "events.jsonl") {
        for record in records(&file) {
            let data = &record["data"];
            for key in ["content", "reasoningText", "message", "errorMessage"] {
                add(&mut native.texts, &data[key]);
            }
            add(&mut native.texts, &data["result"]["content"]);
            for call in data["toolRequests"].as_array().into_iter().flatten() {
                native.calls.push(call["name"].as_str().unwrap().to_owned());
                call["arguments"]
                    .as_object()
                    .unwrap()
                    .values()
                    .for_each(|value| add(&mut native.texts, value));
            }
        }
    }
    native
}
