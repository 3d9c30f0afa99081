//! Each protocol, plain and streaming: a tool call first, the final text after its result.

use serde_json::{Value, json};

use super::client::{Reply, post};
use crate::model_server::{FINAL_TEXT, ModelServer, Script};

const WRITE_HELLO: &str = r"printf 'Hello, world!\n' > hello.txt";

fn schema(key: &str) -> Value {
    json!({
        "type": "object",
        "properties": { key: { "type": "string" }, "timeout": { "type": "number" } },
        "required": [key, "timeout"],
    })
}

/// Joins one field of every event that has it.
fn joined(reply: &Reply, pointer: &str) -> String {
    reply.events().iter().filter_map(|event| event.pointer(pointer)?.as_str().map(str::to_owned)).collect()
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn anthropic() {
    let server = ModelServer::start(Script::Hello);
    let tools = json!([{ "name": "Bash", "input_schema": schema("command") }]);
    let ask = json!({ "role": "user", "content": "write it" });
    let input = json!({ "command": WRITE_HELLO, "timeout": 10 });
    for stream in [false, true] {
        let mut body = json!({ "model": "m", "stream": stream, "tools": tools, "messages": [ask] });
        let reply = post(&server, "/v1/messages?beta=true", &body);
        if stream {
            assert_eq!(parsed(&joined(&reply, "/delta/partial_json")), input);
            assert_eq!(joined(&reply, "/delta/stop_reason"), "tool_use");
            assert!(reply.body.starts_with("event: message_start\n"));
            assert!(reply.body.contains("event: message_stop\n"));
        } else {
            let content = &reply.json()["content"];
            assert_eq!(content[1]["name"], "Bash");
            assert_eq!(content[1]["input"], input);
        }

        let result = json!({ "type": "tool_result", "tool_use_id": "x", "content": "" });
        body["messages"] = json!([ask, { "role": "user", "content": [result] }]);
        let reply = post(&server, "/v1/messages", &body);
        if stream {
            assert_eq!(joined(&reply, "/delta/text"), FINAL_TEXT);
        } else {
            assert_eq!(reply.json()["content"][0]["text"], FINAL_TEXT);
            assert_eq!(reply.json()["stop_reason"], "end_turn");
        }
    }
}

#[test]
fn anthropic_thinks_when_told_to_and_answers_side_calls() {
    let server = ModelServer::start(Script::Hello);
    let side = json!({ "model": "m", "messages": [], "thinking": { "type": "enabled" } });
    let content = post(&server, "/v1/messages", &side).json()["content"].clone();
    assert_eq!(content[0]["type"], "thinking");
    assert!(parsed(content[1]["text"].as_str().unwrap())["title"].is_string());
    assert_eq!(post(&server, "/v1/messages/count_tokens", &side).json()["input_tokens"], 42);
}

#[test]
fn responses() {
    let server = ModelServer::start(Script::Hello);
    let shell = json!({ "type": "function", "name": "exec_command", "parameters": schema("cmd") });
    let tools = json!([{ "type": "namespace", "name": "unix", "tools": [shell] }]);
    let arguments = json!({ "cmd": WRITE_HELLO, "timeout": 10 });
    for stream in [false, true] {
        let mut body = json!({ "model": "m", "stream": stream, "tools": tools, "input": "write it" });
        let reply = post(&server, "/v1/responses", &body);
        let whole = if stream { reply.events().pop().unwrap()["response"].clone() } else { reply.json() };
        assert_eq!(whole["status"], "completed");
        let call = &whole["output"][1];
        assert_eq!(call["name"], "exec_command");
        assert_eq!(parsed(call["arguments"].as_str().unwrap()), arguments);
        if stream {
            assert_eq!(joined(&reply, "/delta"), call["arguments"].as_str().unwrap());
            let numbers =
                reply.events().iter().map(|event| event["sequence_number"].as_u64()).collect::<Vec<_>>();
            assert_eq!(numbers, (0..numbers.len() as u64).map(Some).collect::<Vec<_>>());
        }

        body["input"] = json!([{ "type": "function_call_output", "call_id": "x", "output": "" }]);
        let reply = post(&server, "/v1/responses", &body);
        if stream {
            assert_eq!(joined(&reply, "/delta"), FINAL_TEXT);
        } else {
            assert_eq!(reply.json()["output"][0]["content"][0]["text"], FINAL_TEXT);
        }
    }
}

#[test]
fn responses_gives_custom_tools_plain_text() {
    let server = ModelServer::start(Script::Hello);
    let body = json!({ "tools": [{ "type": "custom", "name": "exec" }], "input": [] });
    let call = post(&server, "/responses", &body).json()["output"][1].clone();
    assert_eq!((&call["type"], &call["input"]), (&json!("custom_tool_call"), &json!(WRITE_HELLO)));
}

#[test]
fn chat() {
    let server = ModelServer::start(Script::Hello);
    let tools =
        json!([{ "type": "function", "function": { "name": "bash", "parameters": schema("command") } }]);
    let ask = json!({ "role": "user", "content": "write it" });
    let arguments = json!({ "command": WRITE_HELLO, "timeout": 10 });
    for stream in [false, true] {
        let mut body = json!({ "model": "m", "stream": stream, "tools": tools, "messages": [ask] });
        let reply = post(&server, "/v1/chat/completions", &body);
        if stream {
            let text = joined(&reply, "/choices/0/delta/tool_calls/0/function/arguments");
            assert_eq!(parsed(&text), arguments);
            assert_eq!(joined(&reply, "/choices/0/finish_reason"), "tool_calls");
            assert_eq!(reply.events().pop().unwrap()["usage"]["total_tokens"], 930);
            assert!(reply.body.ends_with("data: [DONE]\n\n"));
        } else {
            let function = reply.json()["choices"][0]["message"]["tool_calls"][0]["function"].clone();
            assert_eq!(parsed(function["arguments"].as_str().unwrap()), arguments);
        }

        body["messages"] = json!([ask, { "role": "tool", "tool_call_id": "x", "content": "" }]);
        let reply = post(&server, "/v1/chat/completions", &body);
        if stream {
            assert_eq!(joined(&reply, "/choices/0/delta/content"), FINAL_TEXT);
        } else {
            assert_eq!(reply.json()["choices"][0]["message"]["content"], FINAL_TEXT);
        }
    }
}

#[test]
fn chat_ends_the_way_each_agent_expects() {
    let server = ModelServer::start(Script::Commands(vec![]));
    let call = |tool: &str, messages: Value| {
        let tools = json!([{ "type": "function", "function": { "name": tool } }]);
        let body = json!({ "tools": tools, "messages": messages });
        let reply = post(&server, "/chat/completions", &body).json();
        reply["choices"][0]["message"]["tool_calls"][0]["function"]["name"].clone()
    };
    let submit = json!([{ "role": "system", "content": "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT" }]);
    assert_eq!(call("bash", submit), "bash");
    assert_eq!(call("finish", json!([{ "role": "tool", "content": "" }])), "finish");

    let listing = json!({ "messages": [{ "role": "system", "content": "answer with a *file listing*" }] });
    let reply = post(&server, "/chat/completions", &listing).json();
    assert!(reply["choices"][0]["message"]["content"].as_str().unwrap().starts_with("hello.txt\n```\n"));
}

#[test]
fn gemini() {
    let server = ModelServer::start(Script::Hello);
    let shell = json!({ "name": "run_shell_command", "parametersJsonSchema": schema("command") });
    let tools = json!([{ "functionDeclarations": [shell] }]);
    let base = "/v1beta/models/gemini-2.5-pro";
    for (path, stream) in [("generateContent", false), ("streamGenerateContent?alt=sse", true)] {
        let path = format!("{base}:{path}");
        let parts = |body: &Value| {
            let reply = post(&server, &path, body);
            let whole = if stream { reply.events().pop().unwrap() } else { reply.json() };
            whole["candidates"][0]["content"]["parts"].clone()
        };
        let first = parts(&json!({ "tools": tools, "contents": [] }));
        assert_eq!(first[2]["functionCall"]["args"], json!({ "command": WRITE_HELLO, "timeout": 10 }));
        let result = json!({ "role": "user", "parts": [{ "functionResponse": { "name": "x" } }] });
        let second = parts(&json!({ "tools": tools, "contents": [result] }));
        assert_eq!(second[0]["text"], FINAL_TEXT);
    }

    let schema =
        json!({ "type": "OBJECT", "properties": { "model": { "type": "STRING", "enum": ["flash"] } } });
    let side = json!({ "contents": [], "generationConfig": { "responseSchema": schema } });
    let reply = post(&server, &format!("{base}:generateContent"), &side).json();
    assert_eq!(reply["candidates"][0]["content"]["parts"][0]["text"], r#"{"model":"flash"}"#);
}

#[test]
fn own_turns_become_parallel_calls_in_order() {
    let script = Script::Commands(vec![vec!["one".into(), "two".into()], vec!["three".into()]]);
    let server = ModelServer::start(script);
    let tools = json!([{ "type": "function", "function": { "name": "shell", "parameters": {
        "properties": { "command": { "type": "array" } } } } }]);
    let result = json!({ "role": "tool", "content": "" });
    let commands = |messages: Value| -> Vec<Value> {
        let reply =
            post(&server, "/chat/completions", &json!({ "tools": tools, "messages": messages })).json();
        let calls = reply["choices"][0]["message"]["tool_calls"].as_array().cloned().unwrap_or_default();
        let command =
            |call: &Value| parsed(call["function"]["arguments"].as_str().unwrap())["command"][2].clone();
        calls.iter().map(command).collect()
    };
    assert_eq!(commands(json!([])), ["one", "two"]);
    assert_eq!(commands(json!([result, result])), ["three"]);
    let between = json!({ "role": "assistant", "content": "" });
    assert!(commands(json!([result, result, between, result])).is_empty());
}

#[test]
fn every_scenario_has_a_name() {
    for (name, script, turns) in [
        ("hello", Script::Hello, 1),
        ("multi", Script::Multi, 4),
        ("big", Script::Big, 2),
        ("utf8", Script::Utf8, 2),
        ("slow", Script::Slow, 1),
        ("late", Script::Late, 4),
    ] {
        assert_eq!(name.parse(), Ok(script.clone()));
        let server = ModelServer::start(script);
        let tools = json!([{ "name": "Bash" }]);
        let result = json!({ "role": "user", "content": [{ "type": "tool_result" }] });
        let stop = |turn: usize| {
            let body = json!({ "tools": tools, "messages": vec![result.clone(); turn] });
            post(&server, "/v1/messages", &body).json()["stop_reason"].clone()
        };
        assert_eq!((stop(turns - 1), stop(turns)), (json!("tool_use"), json!("end_turn")), "{name}");
    }
    assert!("none".parse::<Script>().is_err());
}
