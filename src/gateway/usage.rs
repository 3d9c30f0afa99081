//! What models' services say of tokens, counted while their answers go through: for the log of an agent to be compared with.
//!
//! The bytes pass unchanged. Nothing depends on these numbers but that comparison: a service may say what it likes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{self, HeaderMap};
use hyper::{Method, StatusCode};
use serde_json::Value;

use super::meter::Moved;
use crate::audit::Answers;

/// The most of a line of events, or of a whole answer, that is kept to be read, in bytes.
const MOST: usize = 4 << 20;

/// The ends of paths that ask a model for an answer: of Anthropic, `OpenAI` and those that do alike, and Google.
const ASKING: &[&str] =
    &["/messages", "/responses", "/chat/completions", ":generateContent", ":streamGenerateContent"];

/// Says whether a request asks a model for an answer.
pub fn asks_a_model(method: &Method, path: &str) -> bool {
    method == Method::POST && ASKING.iter().any(|end| path.ends_with(end))
}

/// What one answer says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tokens {
    input: Option<u64>,
    /// What came out of the service's cache, and what went into it, where they are not in `input`.
    cached: Option<u64>,
    stored: Option<u64>,
    output: Option<u64>,
    thoughts: Option<u64>,
}

impl Tokens {
    /// Takes over what a piece of an answer says; later pieces count.
    fn take(&mut self, piece: &Value) {
        let places = ["/usage", "/message/usage", "/response/usage", "/usageMetadata"];
        for usage in places.iter().filter_map(|place| piece.pointer(place)) {
            let number = |names: &[&str]| names.iter().find_map(|name| usage.get(*name)?.as_u64());
            let set = |slot: &mut Option<u64>, names: &[&str]| *slot = number(names).or(*slot);
            set(&mut self.input, &["input_tokens", "prompt_tokens", "promptTokenCount"]);
            set(&mut self.cached, &["cache_read_input_tokens"]);
            set(&mut self.stored, &["cache_creation_input_tokens"]);
            set(&mut self.output, &["output_tokens", "completion_tokens", "candidatesTokenCount"]);
            set(&mut self.thoughts, &["thoughtsTokenCount"]);
        }
    }

    /// Returns what the model read, and what it wrote.
    fn sums(&self) -> Option<(u64, u64)> {
        let sum = |numbers: &[Option<u64>]| {
            numbers.iter().flatten().fold(0_u64, |sum, number| sum.saturating_add(*number))
        };
        self.input?;
        Some((sum(&[self.input, self.cached, self.stored]), sum(&[self.output, self.thoughts])))
    }
}

/// Reads one answer.
struct Reader {
    /// Events, a line each; one value otherwise.
    of_events: bool,
    held: Vec<u8>,
    /// It is longer than is kept.
    is_too_long: bool,
    tokens: Tokens,
}

impl Reader {
    fn push(&mut self, piece: &[u8]) {
        if !self.of_events {
            return self.hold(piece);
        }
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = rest.split_at(end);
            self.hold(line);
            let line = std::mem::take(&mut self.held);
            if !std::mem::take(&mut self.is_too_long) {
                self.line(&line);
            }
            rest = behind.get(1..).unwrap_or_default();
        }
        self.hold(rest);
    }

    fn hold(&mut self, piece: &[u8]) {
        if self.is_too_long || self.held.len() + piece.len() > MOST {
            (self.is_too_long, self.held) = (true, Vec::new());
        } else {
            self.held.extend_from_slice(piece);
        }
    }

    fn line(&mut self, line: &[u8]) {
        let Some(data) = line.strip_prefix(b"data:") else { return };
        // Most events are pieces of a text.
        if memchr::memmem::find(data, b"\"usage").is_some()
            && let Ok(value) = serde_json::from_slice(data)
        {
            self.tokens.take(&value);
        }
    }

    /// There is no more of it.
    fn end(&mut self) {
        let held = std::mem::take(&mut self.held);
        if self.of_events {
            self.line(&held);
        } else {
            match serde_json::from_slice(&held) {
                // Google's stream is a list, where it is not asked for events.
                Ok(Value::Array(pieces)) => pieces.iter().for_each(|piece| self.tokens.take(piece)),
                Ok(value) => self.tokens.take(&value),
                Err(_) => {}
            }
        }
    }
}

/// The body of an answer of a model, which is read while it goes through.
///
/// It counts as soon as it is said: of a stream among others, the end of the connection comes first at times.
pub struct Counted<B> {
    body: B,
    reader: Option<Reader>,
    /// What is counted of it already.
    told: Option<(u64, u64)>,
    moved: Arc<Moved>,
}

impl<B> Counted<B> {
    /// Counts the request, and reads its answer where that is one in the clear.
    pub fn new(body: B, status: StatusCode, headers: &HeaderMap, moved: &Arc<Moved>) -> Self {
        let is_answer = status.is_success();
        moved.answers(|answers| {
            answers.requests += 1;
            answers.answered += u64::from(is_answer);
            // Until it says its tokens.
            answers.unread += u64::from(is_answer);
        });
        let said = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_plain = matches!(said(header::CONTENT_ENCODING), "" | "identity");
        let of_events = said(header::CONTENT_TYPE).starts_with("text/event-stream");
        let reader = (is_answer && is_plain).then(|| Reader {
            of_events,
            held: Vec::new(),
            is_too_long: false,
            tokens: Tokens::default(),
        });
        Counted { body, reader, told: None, moved: Arc::clone(moved) }
    }

    /// Counts what is said and was not counted.
    fn tell(&mut self) {
        let Some(said) = self.reader.as_ref().and_then(|reader| reader.tokens.sums()) else { return };
        if self.told == Some(said) {
            return;
        }
        let before = self.told.replace(said);
        self.moved.answers(|answers| {
            answers.unread -= u64::from(before.is_none());
            let (input, output) = before.unwrap_or_default();
            let changed = |sum: u64, from: u64, to: u64| sum.saturating_sub(from).saturating_add(to);
            answers.prompt_tokens = changed(answers.prompt_tokens, input, said.0);
            answers.completion_tokens = changed(answers.completion_tokens, output, said.1);
        });
    }

    fn end(&mut self) {
        if let Some(reader) = &mut self.reader {
            reader.end();
        }
        self.tell();
    }
}

impl<B> Drop for Counted<B> {
    /// An answer that was broken off counts as far as it came.
    fn drop(&mut self) {
        self.end();
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Counted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let (Some(Ok(frame)), Some(reader)) = (&frame, &mut self.reader)
            && let Some(data) = frame.data_ref()
        {
            reader.push(data);
            self.tell();
        }
        if frame.is_none() || self.body.is_end_stream() {
            self.end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Moved {
    fn answers(&self, change: impl FnOnce(&mut Answers)) {
        change(&mut self.models.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    /// Returns what models have answered; `None` where none was asked.
    pub fn of_models(&self) -> Option<Answers> {
        let answers = *self.models.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (answers.requests > 0).then_some(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads an answer in pieces of every length up to its own.
    fn read(of_events: bool, text: &str) -> Vec<Option<(u64, u64)>> {
        let read = |size: usize| {
            let tokens = Tokens::default();
            let mut reader = Reader { of_events, held: Vec::new(), is_too_long: false, tokens };
            text.as_bytes().chunks(size).for_each(|piece| reader.push(piece));
            reader.end();
            reader.tokens.sums()
        };
        [1, 7, text.len().max(1)].map(read).to_vec()
    }

    #[test]
    fn each_service_says_its_tokens_in_its_own_way() {
        let anthropic = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":10,\
            \"cache_read_input_tokens\":100,\"cache_creation_input_tokens\":5,\"output_tokens\":1}}}\n\n\
            data: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"usage\"}}\n\n\
            data: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":42}}\n\n";
        let chat = "data: {\"choices\":[],\"usage\":null}\r\n\r\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\
            \"completion_tokens\":3,\"prompt_tokens_details\":{\"cached_tokens\":5}}}\r\n\r\ndata: [DONE]\n\n";
        let responses = "data: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":9,\"output_tokens\":2}}}";
        let google = "[{\"usageMetadata\":{\"promptTokenCount\":4}},{\"usageMetadata\":{\"promptTokenCount\":4,\
            \"candidatesTokenCount\":2,\"thoughtsTokenCount\":6}}]";
        for (of_events, text, expected) in [
            (true, anthropic, (115, 42)),
            (true, chat, (7, 3)),
            (true, responses, (9, 2)),
            (false, google, (4, 8)),
            (false, "{\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}", (1, 2)),
        ] {
            assert!(read(of_events, text).iter().all(|sums| *sums == Some(expected)), "{text}");
        }
        for text in ["", "data: {\"usage\":{", "{\"usage\":[]}", "data: {\"usage\":{\"input_tokens\":-1}}\n"]
        {
            assert!(read(true, text).iter().chain(&read(false, text)).all(Option::is_none), "{text}");
        }
    }

    #[test]
    fn what_is_too_long_is_not_kept_and_what_follows_is_read() {
        let tokens = Tokens::default();
        let mut reader = Reader { of_events: true, held: Vec::new(), is_too_long: false, tokens };
        reader.push(b"data: ");
        for _ in 0..10 {
            reader.push(&vec![b'x'; MOST / 4]);
            assert!(reader.held.len() <= MOST);
        }
        reader.push(b"\ndata: {\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n");
        assert_eq!(reader.tokens.sums(), Some((7, 3)));
    }

    /// Gives its pieces one by one, and never ends.
    struct Pieces(std::collections::VecDeque<&'static str>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            match self.0.pop_front() {
                Some(piece) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece.as_bytes()))))),
                None => Poll::Pending,
            }
        }
    }

    #[test]
    fn what_has_gone_through_is_counted_before_the_answer_ends() {
        let moved = Arc::new(Moved::default());
        let headers = HeaderMap::from_iter([(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("text/event-stream; charset=utf-8"),
        )]);
        let pieces = [
            "data: {\"message\":{\"usage\":{\"input_tokens\":10,\"output_tokens\":1}}}\n",
            "data: {\"usage\":{\"output_tokens\":42}}\n",
        ];
        let mut body = Counted::new(Pieces(pieces.into()), StatusCode::OK, &headers, &moved);
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut counts = Vec::new();
        loop {
            let now = moved.of_models().unwrap();
            counts.push((now.answered, now.unread, now.prompt_tokens, now.completion_tokens));
            if Pin::new(&mut body).poll_frame(&mut context).is_pending() {
                break;
            }
        }
        assert_eq!(counts, [(1, 1, 0, 0), (1, 0, 10, 1), (1, 0, 10, 42)]);
        drop(body);
        let now = moved.of_models().unwrap();
        assert_eq!((now.unread, now.prompt_tokens, now.completion_tokens), (0, 10, 42));
    }

    #[test]
    fn only_requests_for_an_answer_count() {
        for path in [
            "/v1/messages",
            "/v1/responses",
            "/openai/chat/completions",
            "/v1beta/models/gemini:streamGenerateContent",
        ] {
            assert!(asks_a_model(&Method::POST, path), "{path}");
        }
        for path in ["/v1/messages/count_tokens", "/v1/models", "/"] {
            assert!(!asks_a_model(&Method::POST, path), "{path}");
        }
        assert!(!asks_a_model(&Method::GET, "/v1/responses"));
    }
}
