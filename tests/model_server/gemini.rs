//! Gemini's generateContent and streamGenerateContent.

use serde_json::{Map, Value, json};

use super::answer::{Answer, data};
use super::script::{Call, FINAL_TEXT, Script, Tool, new_id, step_text};

pub fn answer(body: &Value, script: &Script, stream: bool) -> Answer {
    let turn = finished_turns(body);
    let calls = script.calls(&tools(body), turn);
    let config = &body["generationConfig"];
    let schema = config.get("responseJsonSchema").or_else(|| config.get("responseSchema"));

    let mut parts = Vec::new();
    if let Some(schema) = schema.filter(|schema| schema.is_object()) {
        // Side calls, such as the choice of a model, want JSON of a given form.
        parts.push(json!({ "text": instance(schema).to_string() }));
    } else if calls.is_empty() {
        parts.push(json!({ "text": FINAL_TEXT }));
    } else {
        parts.push(json!({ "text": "A file is wanted.", "thought": true }));
        parts.push(json!({ "text": step_text(turn) }));
        parts.extend(calls.iter().map(function_call));
    }

    let whole = json!({
        "candidates": [{
            "content": { "role": "model", "parts": parts },
            "finishReason": "STOP",
            "index": 0,
        }],
        "usageMetadata": {
            "promptTokenCount": 800,
            "candidatesTokenCount": 25,
            "totalTokenCount": 830,
            "cachedContentTokenCount": 400,
            "thoughtsTokenCount": 5,
        },
        "modelVersion": "mock-model",
        "responseId": new_id(""),
    });
    if stream { Answer::Events(vec![data(&whole)]) } else { Answer::json(whole) }
}

fn tools(body: &Value) -> Vec<Tool> {
    let groups = body["tools"].as_array().into_iter().flatten();
    let declared = groups.filter_map(|group| group["functionDeclarations"].as_array()).flatten();
    declared
        .filter_map(|tool| {
            let schema = tool.get("parametersJsonSchema").unwrap_or(&tool["parameters"]);
            Some(Tool { name: tool["name"].as_str()?.to_owned(), schema: schema.clone() })
        })
        .collect()
}

/// One content carries all results of a turn.
fn finished_turns(body: &Value) -> usize {
    let is_result = |part: &Value| part.get("functionResponse").is_some();
    let contents = body["contents"].as_array().into_iter().flatten();
    contents
        .filter(|content| content["parts"].as_array().is_some_and(|parts| parts.iter().any(is_result)))
        .count()
}

fn function_call(call: &Call) -> Value {
    json!({ "functionCall": { "id": new_id(""), "name": call.name, "args": call.arguments } })
}

/// The smallest sensible value of a schema. Type names come in both cases.
fn instance(schema: &Value) -> Value {
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    match schema["type"].as_str().unwrap_or_default().to_ascii_lowercase().as_str() {
        "object" => {
            let properties = schema["properties"].as_object().into_iter().flatten();
            Value::Object(
                properties.map(|(name, schema)| (name.clone(), instance(schema))).collect::<Map<_, _>>(),
            )
        }
        "array" => json!([]),
        "integer" | "number" => json!(1),
        "boolean" => json!(true),
        _ => json!("text"),
    }
}
