//! Which path is which protocol. Only the end of a path counts, because base addresses
//! come with and without a version and gateways put prefixes before it.

use serde_json::{Value, json};

use super::answer::Answer;
use super::http::Request;
use super::script::Script;
use super::{anthropic, chat, gemini, responses};

const MODELS: [&str; 5] = ["mock-model", "claude-sonnet-4-5", "gpt-5-codex", "gpt-5", "gemini-2.5-pro"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Anthropic,
    AnthropicCount,
    Responses,
    Chat,
    Gemini,
    GeminiStream,
    GeminiCount,
}

fn endpoint(request: &Request) -> Option<Endpoint> {
    const ENDS: [(&str, Endpoint); 7] = [
        ("/messages", Endpoint::Anthropic),
        ("/messages/count_tokens", Endpoint::AnthropicCount),
        ("/responses", Endpoint::Responses),
        ("/chat/completions", Endpoint::Chat),
        (":generateContent", Endpoint::Gemini),
        (":streamGenerateContent", Endpoint::GeminiStream),
        (":countTokens", Endpoint::GeminiCount),
    ];
    let route = request.route();
    let found = ENDS.iter().find(|(end, _)| request.method == "POST" && route.ends_with(end));
    found.map(|(_, endpoint)| *endpoint)
}

/// Whether the request asks for the model's words; only these fail on purpose.
pub fn is_model_call(request: &Request) -> bool {
    endpoint(request).is_some_and(|found| !matches!(found, Endpoint::AnthropicCount | Endpoint::GeminiCount))
}

pub fn answer(request: &Request, script: &Script) -> Answer {
    let body = &request.body;
    let Some(endpoint) = endpoint(request) else { return lookup(request) };
    if !body.is_object() {
        return failure(request, 400);
    }
    match endpoint {
        Endpoint::Anthropic => anthropic::answer(body, script),
        Endpoint::AnthropicCount => Answer::json(json!({ "input_tokens": 42 })),
        Endpoint::Responses => responses::answer(body, script),
        Endpoint::Chat => chat::answer(body, script),
        Endpoint::Gemini => gemini::answer(body, script, false),
        Endpoint::GeminiStream => gemini::answer(body, script, true),
        Endpoint::GeminiCount => Answer::json(json!({ "totalTokens": 42 })),
    }
}

/// Agents probe the root and list the models before they start.
fn lookup(request: &Request) -> Answer {
    let reads = matches!(request.method.as_str(), "GET" | "HEAD");
    let route = request.route();
    if reads && route.ends_with("/models") {
        return Answer::json(models());
    }
    if reads && route == "/" {
        return Answer::json(json!({}));
    }
    failure(request, 404)
}

/// One list that clients of every protocol can read: each looks at its own fields only.
fn models() -> Value {
    let data: Vec<Value> = MODELS
        .iter()
        .map(|id| {
            json!({
                "id": id, "type": "model", "object": "model", "display_name": id,
                "created": 1, "created_at": "2025-01-01T00:00:00Z", "owned_by": "script",
            })
        })
        .collect();
    let gemini: Vec<Value> =
        MODELS.iter().map(|id| json!({ "name": format!("models/{id}"), "displayName": id })).collect();
    json!({ "object": "list", "has_more": false, "data": data, "models": gemini })
}

/// An error in the form of the protocol that was asked.
pub fn failure(request: &Request, status: u16) -> Answer {
    let message = format!("scripted failure {status}");
    let body = if matches!(endpoint(request), Some(Endpoint::Gemini | Endpoint::GeminiStream)) {
        let name = match status {
            400 => "INVALID_ARGUMENT",
            401 => "UNAUTHENTICATED",
            429 => "RESOURCE_EXHAUSTED",
            _ => "INTERNAL",
        };
        json!({ "error": { "code": status, "message": message, "status": name } })
    } else {
        let kind = match status {
            400 => "invalid_request_error",
            401 => "authentication_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            529 => "overloaded_error",
            _ => "api_error",
        };
        json!({ "type": "error", "error": { "type": kind, "message": message, "code": kind } })
    };
    Answer::Json { status, body }
}
