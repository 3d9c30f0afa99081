//! Sessions of Cline.

use std::path::Path;

use serde_json::Value;

use super::{Native, add, files};

pub fn read(logs: &Path) -> Native {
    let mut native = Native::default();
    for file in files(&logs.join("native"), ".messages.json") {
        let session: Value = serde_json::from_slice(&fs_err::read(&file).unwrap()).unwrap();
        for message in session["messages"].as_array().unwrap() {
            for block in message["content"].as_array().into_iter().flatten() {
                add(&mut native.texts, &block["text"]);
                if let Some(name) = block["name"].as_str().filter(|_| block["type"] == "tool_use") {
                    native.calls.push(name.to_owned());
                    let commands = block["input"]["commands"].as_array().into_iter().flatten();
                    commands.for_each(|command| add(&mut native.texts, command));
                }
                for part in block["content"].as_array().into_iter().flatten() {
                    add(&mut native.texts, &part["result"]);
                }
            }
        }
    }
    native
}
