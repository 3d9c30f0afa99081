//! MCP servers in the JSON that most agents read: one object, each server by its name.

use serde_json::{Value, json};

use super::{How, Server};
use crate::config::Mcp;

/// The key under which they are.
const KEY: &str = "mcpServers";

/// Returns those of `pier.kdl`, which are commands.
pub fn given(servers: &[Mcp]) -> Value {
    let servers: serde_json::Map<String, Value> = servers
        .iter()
        .map(|server| (server.name.clone(), json!({ "command": server.command, "args": server.args })))
        .collect();
    json!({ KEY: servers })
}

/// Returns a file with these beside what it holds now; `of` says how one is written.
pub fn beside(servers: &[Server<'_>], now: Option<&str>, of: impl Fn(How<'_>) -> Value) -> String {
    let kept = now.and_then(|now| serde_json::from_str(now).ok()).filter(Value::is_object);
    let mut file = kept.unwrap_or_else(|| json!({}));
    if !file[KEY].is_object() {
        file[KEY] = json!({});
    }
    for server in servers {
        file[KEY][server.name] = of(server.how);
    }
    format!("{file}\n")
}
