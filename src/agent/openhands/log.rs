//! Conversations of the CLI of `OpenHands`: a directory of one file an event beside a file of the state, and the stream of `--json`.

use std::collections::HashMap;
use std::io::{self, Read as _};

use camino::Utf8Path;

use crate::agent::log::{self, Converter, Logs};
use crate::atif::draft::{At, Draft, MAIN};
use crate::atif::fields::{self, Fields};
use crate::atif::raw::{Extra, Json};
use crate::atif::report::Run;
use crate::atif::step::{Content, ObservationResult, Step, ToolCall};

use state::State;

mod state;

pub struct Log;

/// The longest file that is read, in bytes.
const MOST: u64 = 1 << 30;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Event,
    State,
    /// What `--json` printed.
    Stream,
}

fn kind(path: &Utf8Path, head: &str) -> Option<Kind> {
    let name = path.file_name().unwrap_or_default();
    let has = |text: &str, key: &str| text.contains(&format!("\"{key}\""));
    let is_event = |text: &str| {
        let start: String = text.chars().take(400).collect();
        start.starts_with('{') && ["id", "timestamp", "source"].iter().all(|key| has(&start, key))
    };
    if number(path).is_some() {
        return is_event(head).then_some(Kind::Event);
    }
    if name == "base_state.json" {
        return (has(head, "id") && has(head, "agent")).then_some(Kind::State);
    }
    let first = head.lines().find(|line| line.starts_with("{\"id\""))?;
    let is_stream = is_event(first) && (has(first, "llm_message") || has(first, "kind"));
    (is_stream && !has(first, "parentId")).then_some(Kind::Stream)
}

/// Returns the number of an event, by the name of its file: `event-00012-UUID.json`.
fn number(path: &Utf8Path) -> Option<u64> {
    let name = path.file_name()?.strip_prefix("event-")?.strip_suffix(".json")?;
    name.split_once('-')?.0.parse().ok()
}

impl Converter for Log {
    fn is_log(&self, path: &Utf8Path, head: &str) -> bool {
        kind(path, head).is_some()
    }

    fn convert(&self, logs: &dyn Logs, draft: &mut Draft<'_>) -> io::Result<()> {
        let of = |wanted| log::chosen(logs, move |path, head| kind(path, head) == Some(wanted));
        // By the directory of the conversation.
        let mut conversations: HashMap<&Utf8Path, Conversation> = HashMap::new();
        let above = |index: usize| logs.files()[index].path.parent().unwrap_or(Utf8Path::new(""));
        for index in of(Kind::Event) {
            let events = above(index);
            let is_inner = events.file_name() == Some("events");
            let place = if is_inner { events.parent().unwrap_or(events) } else { events };
            conversations.entry(place).or_default().events.push(index);
        }
        for index in of(Kind::State) {
            conversations.entry(above(index)).or_default().state = Some(index);
        }
        let mut conversations: Vec<(&Utf8Path, Conversation)> = conversations.into_iter().collect();
        for (_, conversation) in &mut conversations {
            conversation.events.sort_by_key(|index| number(&logs.files()[*index].path));
        }
        // One after the other, however they are called.
        conversations.sort_by_cached_key(|(place, conversation)| {
            let head = conversation.events.first().map(|index| logs.head(*index)).unwrap_or_default();
            (first_time(&head), place.to_owned())
        });
        draft.compacted(MAIN, 0);
        let mut reader = Reader::default();
        let mut cost = None;
        for (place, conversation) in &conversations {
            reader.state = State::default();
            if let Some(index) = conversation.state {
                reader.state = whole(logs, index, draft, State::of).unwrap_or_default();
            }
            reader.state.take_head(draft, place.file_name());
            for index in &conversation.events {
                let source = logs.files()[*index].path.to_string();
                whole(logs, *index, draft, |event, draft| reader.event(event, draft, &source)).transpose()?;
            }
            if let Some(more) = reader.state.cost() {
                cost = Some(cost.unwrap_or(0.0) + more);
            }
            reader.settle();
        }
        draft.cost = cost;
        if conversations.iter().all(|(_, conversation)| conversation.events.is_empty()) {
            for index in of(Kind::Stream) {
                reader.stream(logs, index, draft)?;
            }
        }
        draft.report.run = match reader.last {
            Last::End => Run::Finished,
            Last::Failure(reason) => Run::Failed(reason),
            Last::Middle => Run::Interrupted,
            Last::Nothing => Run::Unknown,
        };
        Ok(())
    }
}

/// The files of one conversation.
#[derive(Default)]
struct Conversation {
    state: Option<usize>,
    events: Vec<usize>,
}

/// Returns the first time in the beginning of an event.
fn first_time(head: &str) -> Option<String> {
    let rest = head.split_once("\"timestamp\"")?.1.split_once('"')?.1;
    Some(rest.split_once('"')?.0.to_owned())
}

/// Reads a file that is one object, and calls with it. What is none is said in the report.
fn whole<T>(
    logs: &dyn Logs,
    index: usize,
    draft: &mut Draft<'_>,
    call: impl FnOnce(&Fields<'_>, &mut Draft<'_>) -> T,
) -> Option<T> {
    let file = &logs.files()[index];
    let mut bytes = Vec::new();
    let read = logs.open(index).and_then(|opened| opened.take(MOST).read_to_end(&mut bytes));
    let words = if let Err(error) = read {
        format!("it cannot be read: {error}")
    } else {
        let text = String::from_utf8_lossy(&bytes);
        match Fields::parse(&text) {
            Ok(record) => return Some(call(&record, draft)),
            Err(error) => format!("it is no record: {error}"),
        }
    };
    draft.report.partial("unreadable-file", words, Some((file.path.as_str(), 0)));
    None
}

/// What the last event of a conversation was.
#[derive(Default)]
enum Last {
    #[default]
    Nothing,
    /// The agent said that it is done, or had nothing more to do.
    End,
    Middle,
    Failure(String),
}

#[derive(Default)]
struct Reader {
    state: State,
    last: Last,
}

/// Events that say how the program works, and nothing of the conversation.
const PLUMBING: &[&str] = &[
    "CondensationRequest",
    "ConversationStateUpdateEvent",
    "InterruptEvent",
    "LLMCompletionLogEvent",
    "PauseEvent",
    "StreamingDeltaEvent",
    "TokenEvent",
];

impl Reader {
    fn stream(&mut self, logs: &dyn Logs, index: usize, draft: &mut Draft<'_>) -> io::Result<()> {
        let name = &logs.files()[index].path;
        log::each_printed(logs, index, draft, |draft, event, line| {
            self.event(event, draft, &format!("{name}:{line}"))
        })
    }

    /// The state knows better than the last event how a conversation ended.
    fn settle(&mut self) {
        let reason = match std::mem::take(&mut self.last) {
            Last::Failure(reason) => Some(reason),
            other => {
                self.last = other;
                None
            }
        };
        self.last = match self.state.status.as_deref() {
            Some("finished") => Last::End,
            Some(status @ ("error" | "stuck")) => Last::Failure(reason.unwrap_or_else(|| status.to_owned())),
            Some("running" | "paused" | "waiting_for_confirmation" | "deleting") => Last::Middle,
            _ => reason.map_or_else(|| std::mem::take(&mut self.last), Last::Failure),
        };
    }

    fn event(&mut self, event: &Fields<'_>, draft: &mut Draft<'_>, source: &str) -> io::Result<()> {
        let kind = event.text("kind").unwrap_or_default();
        draft.report.count(&kind);
        let time = event.text("timestamp");
        let time = time.as_deref();
        match &*kind {
            "ActionEvent" => self.action(event, draft, source),
            "MessageEvent" => self.message(event, draft, source),
            "ObservationEvent" | "UserRejectObservation" | "AgentErrorEvent" => self.answer(event, draft),
            "SystemPromptEvent" => {
                let mut step = Step::system(time, "");
                for key in ["system_prompt", "dynamic_context"] {
                    let text = event.object(key).and_then(|prompt| prompt.owned("text"));
                    step.message.add(&text.unwrap_or_default());
                }
                step.extra.take("tools", event.get("tools"));
                push(step, event, draft, source).map(|_| ())
            }
            "Condensation" | "CondensationSummaryEvent" => {
                if kind == "Condensation" {
                    draft.compacted(MAIN, 1);
                }
                let mut step = Step::system(time, event.text("summary").unwrap_or_default().into_owned());
                step.extra.put("subtype", "condensation");
                for key in ["forgotten_event_ids", "summary_offset", "llm_response_id"] {
                    step.extra.take(key, event.get(key));
                }
                if let Some(native) = event.text("llm_response_id").and_then(|id| self.state.native(&id)) {
                    step.extra.nest("usage", native);
                }
                push(step, event, draft, source).map(|_| ())
            }
            "ConversationErrorEvent" => {
                let said = event.word("detail").or_else(|| event.word("code")).unwrap_or_default();
                let mut step = Step::failure(time, said.clone().into_owned());
                step.extra.take("code", event.get("code"));
                step.extra.take("classification", event.get("classification"));
                self.last = Last::Failure(said.into_owned());
                push(step, event, draft, source).map(|_| ())
            }
            "HookExecutionEvent" => {
                let mut step = Step::system(time, "");
                let known = ["id", "timestamp", "source", "kind"];
                let mut hook = Extra::default();
                for (key, value) in event.iter().filter(|(key, _)| !known.contains(key)) {
                    hook.take(key, Some(value));
                }
                step.extra.nest("hook", &hook);
                push(step, event, draft, source).map(|_| ())
            }
            known if PLUMBING.contains(&known) => Ok(()),
            unknown => {
                draft.report.unknown(unknown);
                draft.unread(MAIN, event.iter());
                Ok(())
            }
        }
    }

    /// Returns the step of a model's answer, of which this is an event.
    fn turn(&mut self, event: &Fields<'_>, draft: &mut Draft<'_>, source: &str) -> io::Result<At> {
        let time = event.text("timestamp");
        let id = event.word("llm_response_id").or_else(|| event.word("id"));
        let at = match id.as_deref() {
            Some(id) => draft.keyed(MAIN, id, || Step::agent(time.as_deref()))?,
            None => draft.push(MAIN, Step::agent(time.as_deref()))?,
        };
        if let Some(step) = draft.step(at)
            && step.extra.is_empty()
        {
            step.extra.put("src", source);
            step.extra.take("event_id", event.get("id"));
            step.extra.take("llm_response_id", event.get("llm_response_id"));
            step.reasoning_effort.clone_from(&self.state.effort);
            step.model_name.clone_from(&self.state.model);
            self.state.measure(step, id.as_deref().unwrap_or_default());
        }
        Ok(at)
    }

    fn action(&mut self, event: &Fields<'_>, draft: &mut Draft<'_>, source: &str) -> io::Result<()> {
        let at = self.turn(event, draft, source)?;
        for text in event.objects("thought") {
            if let Some(step) = draft.step(at) {
                step.message.add(&text.text("text").unwrap_or_default());
            }
        }
        think(event, event, draft, at);
        let native = event.object("tool_call").unwrap_or_default();
        let id = native.word("id").or_else(|| event.word("tool_call_id")).unwrap_or_default();
        let name = native.word("name").or_else(|| event.word("tool_name")).unwrap_or_default();
        let action = event.object("action");
        let arguments = native.get("arguments").or_else(|| event.get("action"));
        let mut call = ToolCall::new(&id, &name, Json::arguments(arguments));
        match &action {
            Some(action) => call.extra.take("action", action.get("kind")),
            // The program could make nothing of it.
            None => call.extra.put("executed", false),
        }
        for key in ["summary", "security_risk"] {
            call.extra.take(key, event.get(key));
        }
        let finishes = action.is_some_and(|action| action.is("kind", "FinishAction"));
        self.last = if finishes { Last::End } else { Last::Middle };
        draft.call(at, call).map(|_| ())
    }

    fn message(&mut self, event: &Fields<'_>, draft: &mut Draft<'_>, source: &str) -> io::Result<()> {
        let message = event.object("llm_message").unwrap_or_default();
        let words = content(&message, draft)?;
        let time = event.text("timestamp");
        if event.is("source", "agent") {
            let at = self.turn(event, draft, source)?;
            if let Some(step) = draft.step(at) {
                step.message = words;
                step.extra.take("sender", event.get("sender"));
            }
            think(&message, event, draft, at);
            for native in message.objects("tool_calls") {
                let (id, name) =
                    (native.text("id").unwrap_or_default(), native.text("name").unwrap_or_default());
                draft.call(at, ToolCall::new(&id, &name, Json::arguments(native.get("arguments"))))?;
            }
            self.last = Last::End;
            return Ok(());
        }
        let is_user = event.is("source", "user");
        let new = if is_user { Step::user } else { Step::system };
        let mut step = new(time.as_deref(), words);
        step.extra.take("sender", event.get("sender"));
        // What the program adds for the model: skills that a word of the prompt calls.
        for key in ["activated_skills", "extended_content"] {
            step.extra.take(key, event.get(key).filter(|value| value.get() != "[]"));
        }
        self.last = Last::Middle;
        push(step, event, draft, source).map(|_| ())
    }

    fn answer(&mut self, event: &Fields<'_>, draft: &mut Draft<'_>) -> io::Result<()> {
        let id = event.text("tool_call_id").unwrap_or_default();
        let time = event.text("timestamp");
        let observation = event.object("observation");
        let mut result = if let Some(observation) = &observation {
            ObservationResult::new(content(observation, draft)?)
        } else {
            let words = ["error", "rejection_reason"].into_iter().find_map(|key| event.text(key));
            ObservationResult::new(words.unwrap_or_default().into_owned()).failed()
        };
        if let Some(words) = &mut result.content {
            for text in event.objects("extended_content") {
                words.add(&text.text("text").unwrap_or_default());
            }
        }
        let finished = match &observation {
            None => false,
            Some(observation) => {
                if observation.truth("is_error") {
                    result = result.failed();
                }
                for (key, value) in
                    observation.iter().filter(|(key, _)| !["content", "is_error"].contains(key))
                {
                    result.extra.take(key, Some(value));
                }
                observation.is("kind", "FinishObservation")
            }
        };
        if let Some(time) = &time {
            result.extra.put("timestamp", &**time);
        }
        for key in ["rejection_source", "classification"] {
            result.extra.take(key, event.get(key));
        }
        self.last = if finished { Last::End } else { Last::Middle };
        draft.answer(MAIN, &id, result, time.as_deref()).map(|_| ())
    }
}

fn push(mut step: Step, event: &Fields<'_>, draft: &mut Draft<'_>, source: &str) -> io::Result<At> {
    step.extra.put("src", source);
    step.extra.take("event_id", event.get("id"));
    draft.push(MAIN, step)
}

/// What the model thought: there are several places for it, and routers write the same into two of them.
fn think(from: &Fields<'_>, event: &Fields<'_>, draft: &mut Draft<'_>, at: At) {
    let mut thoughts: Vec<String> = from.owned("reasoning_content").into_iter().collect();
    let mut hidden = 0_u64;
    for block in from.objects("thinking_blocks") {
        match block.owned("thinking") {
            Some(text) => thoughts.push(text),
            None => hidden += 1,
        }
    }
    let item = from.object("responses_reasoning_item").unwrap_or_default();
    for key in ["summary", "content"] {
        for raw in item.list(key) {
            let text = fields::text(raw).map(std::borrow::Cow::into_owned);
            thoughts.extend(text.or_else(|| Fields::of(raw)?.owned("text")));
        }
    }
    let Some(step) = draft.step(at) else { return };
    for text in thoughts {
        let known = step.reasoning_content.as_ref().is_some_and(|known| known.contains(text.trim()));
        if !known {
            step.think(&text);
        }
    }
    if hidden > 0 {
        step.extra.put("redacted_thinking", hidden);
    }
    step.extra.take("critic_result", event.get("critic_result"));
}

/// Texts and pictures, in the order in which they are there.
fn content(of: &Fields<'_>, draft: &mut Draft<'_>) -> io::Result<Content> {
    let Some(raw) = of.get("content") else {
        // Older observations have a text of their own.
        let words = ["output", "text"].into_iter().find_map(|key| of.text(key));
        return Ok(words.unwrap_or_default().into_owned().into());
    };
    if let Some(text) = fields::text(raw) {
        return Ok(text.into_owned().into());
    }
    let mut parts = Content::default();
    for raw in fields::list(raw) {
        let block = Fields::of(raw).unwrap_or_default();
        match block.text("type").as_deref() {
            Some("text") => parts.add(&block.text("text").unwrap_or_default()),
            Some("image") => {
                for url in block.list("image_urls") {
                    let url = fields::text(url).unwrap_or_default();
                    match draft.picture_of_url(&url)? {
                        Some(part) => parts.add_part(part),
                        None => parts.add(&url),
                    }
                }
            }
            _ => parts.add(raw.get()),
        }
    }
    Ok(parts)
}
