//! What a model was saying when a stream ended: only its pieces are there.

use std::collections::BTreeMap;

use super::blocks::tokens;
use super::when;
use crate::atif::fields::Fields;
use crate::atif::raw::Json;
use crate::atif::step::{ToolCall, Usage};

/// The most bytes that are put together; an answer of a model is far shorter.
const MOST: usize = 64 << 20;

/// The answer that began and has not ended.
#[derive(Default)]
pub struct Unfinished {
    began: Option<Message>,
    size: usize,
    pieces: BTreeMap<u64, Piece>,
}

/// What there is of it.
#[derive(Default)]
pub struct Message {
    pub time: Option<String>,
    pub model: Option<String>,
    pub source: String,
    pub texts: Vec<String>,
    pub thoughts: Vec<String>,
    pub calls: Vec<ToolCall>,
    pub usage: Option<Usage>,
}

enum Piece {
    Text(String),
    Thought(String),
    Call { id: String, name: String, arguments: String },
}

impl Unfinished {
    pub fn event(&mut self, record: &Fields<'_>, source: &str) {
        if record.is("type", "message_start") {
            let message = record.object("message").unwrap_or_default();
            *self = Unfinished::default();
            self.began = message.is("role", "assistant").then(|| Message {
                time: when(record, &message),
                model: message.owned("model"),
                source: source.to_owned(),
                ..Message::default()
            });
        } else if record.is("type", "message_end") {
            *self = Unfinished::default();
        } else if record.is("type", "message_update")
            && let Some(event) = record.object("assistantMessageEvent")
        {
            self.piece(&event);
            if let Some(began) = &mut self.began {
                began.usage = record.object("usage").map(|usage| tokens(&usage));
            }
        }
    }

    /// Returns the answer that has not ended, if there is anything of it.
    pub fn finish(self) -> Option<Message> {
        let mut message = self.began.filter(|_| !self.pieces.is_empty())?;
        for piece in self.pieces.into_values() {
            match piece {
                Piece::Text(text) => message.texts.push(text),
                Piece::Thought(text) => message.thoughts.push(text),
                Piece::Call { id, name, arguments } => {
                    message.calls.push(ToolCall::new(&id, &name, Json::arguments_in(&arguments)));
                }
            }
        }
        Some(message)
    }

    fn piece(&mut self, event: &Fields<'_>) {
        let index = event.count("contentIndex").unwrap_or(0);
        let delta = event.text("delta").unwrap_or_default();
        self.size += delta.len() + 64;
        if self.size > MOST {
            return;
        }
        let kind = event.text("type").unwrap_or_default();
        match &*kind {
            "toolcall_start" => {
                let piece = Piece::Call {
                    id: event.owned("id").unwrap_or_default(),
                    name: event.owned("toolName").unwrap_or_default(),
                    arguments: String::new(),
                };
                self.pieces.insert(index, piece);
            }
            "toolcall_end" => {
                let call = event.object("toolCall").unwrap_or_default();
                let piece = Piece::Call {
                    id: call.owned("id").unwrap_or_default(),
                    name: call.owned("name").unwrap_or_default(),
                    arguments: call.get("arguments").map_or_else(String::new, |value| value.get().to_owned()),
                };
                self.pieces.insert(index, piece);
            }
            "text_end" | "thinking_end" => {
                let whole = event.owned("content").unwrap_or_default();
                let is_text = kind == "text_end";
                self.pieces.insert(index, if is_text { Piece::Text(whole) } else { Piece::Thought(whole) });
            }
            "text_delta" | "thinking_delta" | "toolcall_delta" => {
                let new = || match &*kind {
                    "text_delta" => Piece::Text(String::new()),
                    "thinking_delta" => Piece::Thought(String::new()),
                    _ => Piece::Call { id: String::new(), name: String::new(), arguments: String::new() },
                };
                match self.pieces.entry(index).or_insert_with(new) {
                    Piece::Text(text) | Piece::Thought(text) | Piece::Call { arguments: text, .. } => {
                        text.push_str(&delta);
                    }
                }
            }
            _ => {}
        }
    }
}
