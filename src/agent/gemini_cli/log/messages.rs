//! The messages of a session.

use std::collections::{HashSet, VecDeque};
use std::io::{self, Read as _};

use serde_json::value::RawValue;

use super::session::{History, Version, hash};
use crate::agent::genai;
use crate::agent::log::{self, LogFile, Logs};
use crate::atif::draft::{At, Draft, MAIN, Track};
use crate::atif::fields::{self, Fields, Odd};
use crate::atif::lines;
use crate::atif::raw::Json;
use crate::atif::report::Run;
use crate::atif::step::{Content, ObservationResult, Step, ToolCall, Usage};

/// The largest session of one object, in bytes: it is in memory while it is read.
const MOST_BYTES: u64 = 1 << 30;

/// How many answers may still be written again.
const RECENT: usize = 64;

/// What the last message was.
enum Last {
    Nothing,
    /// Somebody waits for the model.
    Asked,
    /// The model said something; tools are only written when they have answered.
    Answered,
    Failure(String),
}

pub struct Reader<'a> {
    pub logs: &'a dyn Logs,
    last: Last,
    /// The calls of all sessions.
    pub calls: HashSet<u64>,
    /// The last step of the model in the conversation with the user.
    pub answer: Option<At>,
}

/// One session while it is read.
struct Session {
    track: Track,
    history: History,
    /// Messages that are not there in the end.
    gone: HashSet<Version>,
    /// Answers that may be written again.
    recent: VecDeque<(u64, At)>,
    answers: HashSet<u64>,
}

impl<'a> Reader<'a> {
    pub fn new(logs: &'a dyn Logs) -> Self {
        Reader { logs, last: Last::Nothing, calls: HashSet::new(), answer: None }
    }

    /// Returns how the session with the user ended, as far as it says so itself.
    pub fn outcome(&self) -> Run {
        match &self.last {
            Last::Asked => Run::Interrupted,
            Last::Failure(reason) => Run::Failed(reason.clone()),
            Last::Answered | Last::Nothing => Run::Unknown,
        }
    }

    pub fn file(&mut self, index: usize, draft: &mut Draft<'_>, is_sub: bool) -> io::Result<()> {
        let logs = self.logs;
        let name = &logs.files()[index].path;
        let mut session = Session {
            track: MAIN,
            history: History::default(),
            gone: HashSet::new(),
            recent: VecDeque::new(),
            answers: HashSet::new(),
        };
        if is_sub {
            // The first record says it, too; it may be broken.
            session.track = draft.sub(MAIN, name.file_stem().unwrap_or_default());
            draft.compacted(session.track, 0);
        }
        if name.extension() == Some("jsonl") {
            session.gone = self.taken_back(index);
            return log::each_record(logs, index, draft, |draft, record, line| {
                self.record(record, draft, &mut session, &format!("{name}:{line}"))
            });
        }
        let mut bytes = Vec::new();
        let file = logs.open(index).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
        if let Err(error) = file {
            let text = format!("it cannot be read: {error}");
            draft.report.partial("unreadable-file", text, Some((name.as_str(), 0)));
            return Ok(());
        }
        if bytes.len() as u64 > MOST_BYTES {
            draft.report.partial("long-file", "the file is too long to be read", Some((name.as_str(), 0)));
            return Ok(());
        }
        let (text, repaired) = lines::repair(&bytes);
        if repaired {
            let text = "letters that are none were replaced by U+FFFD";
            draft.report.note("repaired-text", text, Some((name.as_str(), 0)));
        }
        match Fields::parse(&text) {
            Ok(whole) => {
                meta(&whole, draft, session.track);
                for (number, raw) in whole.list("messages").into_iter().enumerate() {
                    let source = format!("{name}#messages[{number}]");
                    self.message(raw, draft, &mut session, &source, None)?;
                }
            }
            Err(error) => {
                let text = format!("it is no session: {error}");
                draft.report.partial("unreadable-file", text, Some((name.as_str(), 0)));
            }
        }
        Ok(())
    }

    /// Reads a session for what was taken back in it: what came before is known only then.
    fn taken_back(&self, index: usize) -> HashSet<Version> {
        let mut history = History::default();
        let mut gone = HashSet::new();
        let Ok(file) = self.logs.open(index) else { return gone };
        let mut lines = lines::Lines::new(file);
        // What is wrong with a line is said when it is read again.
        while let Ok(Some(line)) = lines.next() {
            let lines::Line::Text { text, .. } = line else { continue };
            let Ok(record) = Fields::parse(&text) else { continue };
            if let Some(id) = record.text("$rewindTo") {
                gone.extend(history.rewind(&id));
            } else if let Some(id) = record.text("id") {
                history.see(&id);
            } else if let Some(set) = record.object("$set") {
                for message in set.objects("messages") {
                    if let Some(id) = message.text("id") {
                        history.see(&id);
                    }
                }
            }
        }
        gone
    }

    fn record(
        &mut self,
        record: &Fields<'_>,
        draft: &mut Draft<'_>,
        session: &mut Session,
        source: &str,
    ) -> io::Result<()> {
        if let Some(id) = record.text("$rewindTo") {
            let gone = session.history.rewind(&id);
            draft.report.count("rewind");
            let text = format!("the user took {} messages back, which are no steps", gone.len());
            draft.report.note("rewound", text, None);
            return Ok(());
        }
        if record.has("id") && record.has("type") {
            return self.fields(record, draft, session, source, None);
        }
        if let Some(set) = record.object("$set") {
            draft.report.count("update");
            meta(&set, draft, session.track);
            return self.whole(&set, draft, session, source);
        }
        if record.has("sessionId") {
            draft.report.count("session");
            meta(record, draft, session.track);
            return Ok(());
        }
        draft.report.unknown("record");
        draft.unread(session.track, record.iter());
        Ok(())
    }

    /// Reads a list of all messages as the model has them from then on. Those that are not in it were said, and remain.
    fn whole(
        &mut self,
        set: &Fields<'_>,
        draft: &mut Draft<'_>,
        session: &mut Session,
        source: &str,
    ) -> io::Result<()> {
        let messages = set.list("messages");
        let ids: HashSet<u64> =
            (messages.iter()).filter_map(|raw| Fields::of(raw)?.text("id").map(|id| hash(&id))).collect();
        let is_shorter = session.answers.iter().any(|id| session.history.is_live(*id) && !ids.contains(id));
        let is_summed = is_shorter && ids.iter().any(|id| !session.history.is_live(*id));
        if is_summed {
            draft.compacted(session.track, 1);
        }
        for raw in messages {
            let is_known = Fields::of(raw)
                .and_then(|message| message.text("id").map(|id| session.history.is_live(hash(&id))));
            if is_known != Some(true) {
                self.message(raw, draft, session, source, is_summed.then_some("is_compact_summary"))?;
            }
        }
        Ok(())
    }

    fn message(
        &mut self,
        raw: &RawValue,
        draft: &mut Draft<'_>,
        session: &mut Session,
        source: &str,
        mark: Option<&str>,
    ) -> io::Result<()> {
        if let Some(message) = Fields::of(raw) {
            return self.fields(&message, draft, session, source, mark);
        }
        draft.report.partial("unreadable-message", format!("{source}: a message is none"), None);
        Ok(())
    }

    fn fields(
        &mut self,
        message: &Fields<'_>,
        draft: &mut Draft<'_>,
        session: &mut Session,
        source: &str,
        mark: Option<&str>,
    ) -> io::Result<()> {
        let kind = message.text("type").unwrap_or_default();
        let id = message.text("id").unwrap_or_default();
        let (version, is_new) = session.history.see(&id);
        if session.gone.contains(&version) {
            return Ok(());
        }
        if is_new || id.is_empty() {
            draft.report.count(&format!("message {kind}"));
        }
        let time = message.text("timestamp");
        let time = time.as_deref();
        match &*kind {
            "gemini" | "qwen" | "model" => {
                let known =
                    session.recent.iter().rev().find(|(known, _)| *known == version.0 && !id.is_empty());
                let known = known.map(|(_, at)| *at);
                let at = match known.filter(|at| draft.step(*at).is_some()) {
                    Some(at) => at,
                    None if is_new || id.is_empty() => draft.push(session.track, Step::agent(time))?,
                    None => {
                        let text = "an answer was written again long after it was given";
                        draft.report.partial("late-update", text, None);
                        return Ok(());
                    }
                };
                if known.is_none() {
                    session.recent.push_back((version.0, at));
                    session.answers.insert(version.0);
                    if session.recent.len() > RECENT {
                        session.recent.pop_front();
                    }
                }
                self.answer(message, draft, session, at, source)?;
                if let (Some(mark), Some(step)) = (mark, draft.step(at)) {
                    step.extra.put(mark, true);
                }
                Ok(())
            }
            _ if !is_new && !id.is_empty() => Ok(()),
            "user" => self.user(message, draft, session, (time, source, mark)),
            "compression" | "chat_compressed" => {
                let status = message.get("compressionStatus").map(|status| status.get().to_lowercase());
                let words = ["1", "\"compressed\"", "\"compression_status_compressed\""];
                let is_done = status.as_deref().is_none_or(|status| words.contains(&status));
                draft.compacted(session.track, u64::from(is_done));
                self.notice(message, draft, session, (time, source))
            }
            "info" | "warning" | "error" => self.notice(message, draft, session, (time, source)),
            unknown => {
                draft.report.unknown(&format!("message {unknown}"));
                draft.unread(session.track, message.iter());
                Ok(())
            }
        }
    }

    fn user(
        &mut self,
        message: &Fields<'_>,
        draft: &mut Draft<'_>,
        session: &Session,
        (time, source, mark): (Option<&str>, &str, Option<&str>),
    ) -> io::Result<()> {
        let parts = genai::parts(message.get("content"), draft)?;
        // The answer of a model has those of its tools, too.
        for (id, result) in parts.answers {
            if draft.waiting(session.track, &id).is_some() || !self.calls.contains(&hash(&id)) {
                draft.answer(session.track, &id, result, time)?;
            }
        }
        if session.track == MAIN {
            self.last = Last::Asked;
        }
        if parts.words.is_empty() {
            return Ok(());
        }
        let mut step = Step::user(time, parts.words);
        step.extra.put("src", source);
        step.extra.take("display_content", message.get("displayContent"));
        if let Some(mark) = mark {
            step.extra.put(mark, true);
        }
        draft.push(session.track, step).map(|_| ())
    }

    /// What the program itself says.
    fn notice(
        &mut self,
        message: &Fields<'_>,
        draft: &mut Draft<'_>,
        session: &Session,
        (time, source): (Option<&str>, &str),
    ) -> io::Result<()> {
        let kind = message.text("type").unwrap_or_default();
        let words = genai::parts(message.get("content"), draft)?.words;
        let text = match &words {
            Content::Text(text) => text.clone(),
            Content::Parts(_) => String::new(),
        };
        let is_of_service = kind == "error" && text.contains("API Error");
        let mut step = if is_of_service { Step::failure(time, words) } else { Step::system(time, words) };
        step.extra.put("src", source);
        step.extra.put("subtype", &*kind);
        let known = ["id", "timestamp", "type", "content"];
        for (key, value) in message.iter().filter(|(key, _)| !known.contains(key)) {
            step.extra.take(key, Some(value));
        }
        if kind == "error" && session.track == MAIN {
            self.last = Last::Failure(text);
        }
        draft.push(session.track, step).map(|_| ())
    }

    /// Reads an answer of the model, which is written again when its tools have answered.
    fn answer(
        &mut self,
        message: &Fields<'_>,
        draft: &mut Draft<'_>,
        session: &Session,
        at: At,
        source: &str,
    ) -> io::Result<()> {
        let parts = genai::parts(message.get("content"), draft)?;
        let model = message.word("model").map(std::borrow::Cow::into_owned);
        let head = draft.head(session.track);
        head.model = head.model.take().or_else(|| model.clone());
        if let Some(step) = draft.step(at) {
            step.message = parts.words;
            step.model_name = model.or(step.model_name.take());
            step.extra.put("src", source);
            step.reasoning_content = None;
            for thought in &parts.thoughts {
                step.think(thought);
            }
            for thought in message.objects("thoughts") {
                let (subject, words) = (thought.word("subject"), thought.word("description"));
                let texts: Vec<&str> = [&subject, &words].into_iter().flatten().map(|text| &**text).collect();
                step.think(&texts.join(": "));
            }
            if let Some(tokens) = message.object("tokens") {
                take_tokens(step, &tokens);
            }
        }
        for call in parts.calls {
            self.call(call, draft, at)?;
        }
        for call in message.objects("toolCalls") {
            self.tool(&call, draft, session, at)?;
        }
        if session.track == MAIN {
            self.answer = Some(at);
            self.last = Last::Answered;
        }
        Ok(())
    }

    /// Adds a call, unless it is there.
    pub fn call(&mut self, call: ToolCall, draft: &mut Draft<'_>, at: At) -> io::Result<()> {
        let same =
            |known: &ToolCall| !call.tool_call_id.is_empty() && known.tool_call_id == call.tool_call_id;
        let is_known = draft.step(at).is_some_and(|step| step.tool_calls.iter().any(same));
        if !is_known {
            self.calls.insert(hash(&call.tool_call_id));
            draft.call(at, call)?;
        }
        Ok(())
    }

    fn tool(
        &mut self,
        tool: &Fields<'_>,
        draft: &mut Draft<'_>,
        session: &Session,
        at: At,
    ) -> io::Result<()> {
        let word = |key: &str| tool.text(key).unwrap_or_default();
        let (id, status) = (word("id"), word("status"));
        self.call(ToolCall::new(&id, &word("name"), Json::arguments(tool.get("args"))), draft, at)?;
        let is_answered = draft.step(at).is_some_and(|step| {
            let mut results = step.observation.iter().flat_map(|observation| &observation.results);
            results.any(|result| result.source_call_id.as_deref() == Some(&id))
        });
        let has_failed = status == "error" || status == "cancelled";
        if is_answered || !(tool.has("result") || has_failed) {
            return Ok(());
        }
        let parts = genai::parts(tool.get("result"), draft)?;
        let mut answers = parts.answers.into_iter().filter(|(of, _)| of.is_empty() || *of == *id);
        let mut result = answers.next().map(|(_, result)| result).unwrap_or_default();
        // Pictures may stand beside it, and more of it.
        let more = answers.filter_map(|(_, result)| result.content).chain([parts.words]);
        for words in more {
            result.content.get_or_insert_default().append(words);
        }
        if has_failed {
            result = result.failed();
        }
        self.beside(tool, &id, &status, &mut result);
        draft.answer(session.track, &id, result, tool.text("timestamp").as_deref())?;
        let has_log = |agent: &str| {
            let is_json = |file: &LogFile| file.path.extension() == Some("jsonl");
            self.logs.files().iter().any(|file| is_json(file) && file.path.file_stem() == Some(agent))
        };
        if let Some(agent) = tool.word("agentId").filter(|agent| has_log(agent)) {
            draft.sub(session.track, &agent);
            draft.refer(at, &id, &agent);
        }
        Ok(())
    }

    /// What the program knows of a call beside what the model was told.
    fn beside(&self, tool: &Fields<'_>, id: &str, status: &str, result: &mut ObservationResult) {
        let text = match &result.content {
            Some(Content::Text(text)) => text.clone(),
            _ => String::new(),
        };
        if !["", "success"].contains(&status) {
            result.extra.put("status", status);
        }
        result.extra.take("timestamp", tool.get("timestamp"));
        result.extra.take("agent_id", tool.get("agentId"));
        let code = text.lines().rev().find_map(|line| line.strip_prefix("Exit Code: "));
        if let Some(code) = code.and_then(|code| code.trim().parse::<i64>().ok()) {
            result.extra.put("exit_code", code);
        }
        let shown = tool.get("resultDisplay");
        let is_new = shown.and_then(fields::text).is_none_or(|shown| !text.contains(shown.trim()));
        result.extra.take("result_display", shown.filter(|_| is_new));
        // What was too long for the model is in a file of its own.
        let of_call = |path: &camino::Utf8Path| {
            !id.is_empty()
                && path.file_stem() == Some(id)
                && path.components().any(|part| part.as_str() == "tool-outputs")
        };
        if let Some(file) = self.logs.files().iter().find(|file| of_call(&file.path)) {
            let whole = serde_json::json!({ "path": file.path.as_str(), "bytes": file.bytes });
            result.extra.put("full_output", whole);
        }
    }
}

/// What a session says of itself.
fn meta(record: &Fields<'_>, draft: &mut Draft<'_>, track: Track) {
    let head = draft.head(track);
    let session = record.word("sessionId").map(std::borrow::Cow::into_owned);
    head.session = head.session.take().or(session);
    head.extra.take("summary", record.get("summary"));
    head.agent.take("directories", record.get("directories"));
}

fn take_tokens(step: &mut Step, tokens: &Fields<'_>) {
    let odd = Odd::default();
    let count = |key: &'static str| tokens.tokens(key, &odd).unwrap_or(0);
    // Those of tools were read by the model, and so were the cached ones.
    step.usage = Some(Usage {
        input: count("input").saturating_add(count("tool")).saturating_sub(count("cached")),
        cache_read: count("cached"),
        cache_write: 0,
        output: count("output").saturating_add(count("thoughts")),
        cost: None,
        odd: odd.name(),
    });
    let extra = &mut step.metrics.get_or_insert_default().extra;
    for key in ["thoughts", "tool", "total"] {
        extra.take(&format!("{key}_tokens"), tokens.get(key));
    }
}
