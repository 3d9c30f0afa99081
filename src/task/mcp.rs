//! MCP servers of a task, and why none of their headers may hold a credential itself.

use std::collections::BTreeMap;

use serde::Serialize;

use super::environment::string;
use super::names;
use super::read::{Section, Value};
use super::templates::{Piece, Template, pieces};

/// A server whose tools the agent may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct McpServer {
    pub name: String,
    pub transport: Transport,
    /// Set for the transports over HTTP.
    pub url: Option<String>,
    /// Set for `stdio`.
    pub command: Option<String>,
    pub args: Vec<String>,
    /// With templates of the host anywhere in their values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    Stdio,
    Sse,
    StreamableHttp,
}

pub fn server(section: Section<'_>) -> Option<McpServer> {
    let words = [
        ("stdio", Transport::Stdio),
        ("sse", Transport::Sse),
        ("streamable-http", Transport::StreamableHttp),
        ("http", Transport::StreamableHttp),
    ];
    let name = section.required("name").and_then(|value| value.string());
    let given = section.get("transport");
    let transport = given.as_ref().map_or(Some(Transport::Sse), |value| value.one_of(&words));
    let (url, command) = (string(&section, "url"), string(&section, "command"));
    let args = section.get("args").map(|value| value.strings()).unwrap_or_default();
    let given = section.get("headers");
    let headers = given.as_ref().map(headers).unwrap_or_default();
    let set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let stdio = transport == Some(Transport::Stdio);
    let needed = match transport {
        Some(Transport::Stdio) if !set(&command) => section.required("command"),
        Some(Transport::Sse | Transport::StreamableHttp) if !set(&url) => section.required("url"),
        _ => None,
    };
    if let Some(value) = needed {
        value.refuse("it is empty");
    }
    if let Some(value) = given.filter(|_| stdio && !headers.is_empty()) {
        value.refuse("a server of transport `stdio` has no headers");
    }
    section.finish();
    Some(McpServer { name: name?, transport: transport?, url, command, args, headers })
}

fn headers(value: &Value<'_>) -> BTreeMap<String, String> {
    let Some(section) = value.section() else { return BTreeMap::new() };
    let mut headers = BTreeMap::new();
    for (name, value) in section.entries() {
        let Some(text) = value.string() else { continue };
        if let Some(why) = refusal(&name, &text) {
            value.refuse(why);
        }
        headers.insert(name, text);
    }
    headers
}

/// Returns why a header may not be in a task.
fn refusal(name: &str, text: &str) -> Option<&'static str> {
    if !names::is_header(name) {
        return Some("its name is not that of an HTTP header");
    }
    if text.contains(['\r', '\n']) {
        return Some("it has more than one line");
    }
    let Some(pieces) = pieces(text) else {
        return Some("a `${` in it begins no template such as `${NAME}`");
    };
    let literal = holds_credential(name, text, &pieces);
    literal.then_some(
        "tasks are published: name the variable that holds the credential, as in `Bearer ${TOKEN}`",
    )
}

/// Says whether a header holds a credential itself, or as the default of a template.
fn holds_credential(name: &str, text: &str, pieces: &[Piece<'_>]) -> bool {
    let cookie = ["cookie", "set-cookie"].iter().any(|known| name.eq_ignore_ascii_case(known));
    let sensitive = cookie || is_sensitive(name);
    let default = |piece: &Piece<'_>| match piece {
        Piece::Template(Template { name, default: Some(default) }) => {
            !default.is_empty() && (sensitive || is_sensitive(name))
        }
        _ => false,
    };
    pieces.iter().any(default) || (sensitive && !text.trim().is_empty() && !is_reference(pieces))
}

/// Says whether a name is one that secrets have. `TOKENS` are counted, not kept.
pub fn is_sensitive(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let token = name.match_indices("TOKEN").any(|(at, _)| !name[at + 5..].starts_with('S'));
    token || ["KEY", "SECRET", "PASSWORD", "CREDENTIAL", "AUTH"].iter().any(|word| name.contains(word))
}

/// Says whether a text is a scheme at most, and templates with nothing but separators between them.
fn is_reference(pieces: &[Piece<'_>]) -> bool {
    let scheme = |text: &str| {
        let word = text.trim_start();
        let letters = word.trim_end();
        letters.is_empty()
            || (letters.len() < word.len() && letters.bytes().all(|byte| byte.is_ascii_alphabetic()))
    };
    let between = |text: &str| text.chars().all(|c| c.is_whitespace() || c == ':' || c == '-');
    let first = pieces.iter().position(|piece| matches!(piece, Piece::Template(_)));
    let last = pieces.iter().rposition(|piece| matches!(piece, Piece::Template(_)));
    let (Some(first), Some(last)) = (first, last) else { return false };
    pieces.iter().enumerate().all(|(at, piece)| match piece {
        Piece::Template(_) => true,
        Piece::Text(text) if at < first => scheme(text),
        Piece::Text(text) if at > last => text.trim().is_empty(),
        Piece::Text(text) => between(text),
    })
}
