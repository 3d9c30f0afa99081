//! The records of a session.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;

use serde_json::value::RawValue;

use crate::agent::genai::{self, Parts};
use crate::agent::log::{self, Logs};
use crate::atif::draft::{At, Draft, MAIN, Track};
use crate::atif::fields::{self, Fields, Odd};
use crate::atif::report::Run;
use crate::atif::step::{Content, ObservationResult, Step, Usage};

/// Records that say how the program works, and nothing of the conversation.
const PLUMBING: &[&str] = &[
    "agent_bootstrap",
    "agent_launch_prompt",
    "agent_retry",
    "agent_session_ready",
    "at_command",
    "attribution_snapshot",
    "background_task_completed",
    "branch_checkpoint",
    "file_history_snapshot",
    "goal_runtime",
    "goal_state",
    "goal_turn_end",
    "omni_recall",
    "parent_session",
    "session_approval_mode",
    "session_artifact_event",
    "session_artifact_snapshot",
    "session_execution_engine",
    "session_model",
    "session_notes",
    "session_source",
    "session_sources_snapshot",
    "turn_result",
    "ui_telemetry",
    "user_text_elements",
];

/// What stands before the name of a file that has the whole of an output.
const SAVED: &str = "The full output has been saved to: ";

/// What the last record of the conversation was.
enum Last {
    Nothing,
    /// The model had nothing more to do.
    End,
    /// It wanted something, or was told something.
    Middle,
    Failure(String),
}

pub struct Reader<'a> {
    logs: &'a dyn Logs,
    last: Last,
    /// The records that were read.
    seen: HashSet<u64>,
    /// The calls of the model that are being read.
    open: HashMap<Track, At>,
    /// Agents that have a log of their own, by the calls that asked them.
    asked: BTreeMap<String, String>,
}

/// Where a record stands.
struct Place<'a> {
    track: Track,
    time: Option<&'a str>,
    source: &'a str,
}

impl<'a> Reader<'a> {
    pub fn new(logs: &'a dyn Logs) -> Self {
        // Their names end with the call.
        let names = logs.files().iter().filter(|file| file.path.extension() == Some("jsonl"));
        let names = names.filter_map(|file| file.path.file_stem()?.strip_prefix("agent-"));
        let call = |name: &str| name.rsplit_once('-').map(|(_, call)| (call.to_owned(), name.to_owned()));
        Reader {
            logs,
            last: Last::Nothing,
            seen: HashSet::new(),
            open: HashMap::new(),
            asked: names.filter_map(call).collect(),
        }
    }

    pub fn outcome(&self) -> Run {
        match &self.last {
            Last::Nothing => Run::Unknown,
            Last::End => Run::Finished,
            Last::Middle => Run::Interrupted,
            Last::Failure(reason) => Run::Failed(reason.clone()),
        }
    }

    pub fn file(&mut self, index: usize, draft: &mut Draft<'_>, sub: Option<&str>) -> io::Result<()> {
        let logs = self.logs;
        let name = &logs.files()[index].path;
        self.open.clear();
        log::each_record(logs, index, draft, |draft, record, line| {
            let id = record.text("agentId");
            let id = id.as_deref().filter(|_| sub.is_some() || record.truth("isSidechain")).or(sub);
            let track = match id {
                None => MAIN,
                Some(id) => match draft.find_sub(id) {
                    Some(track) => track,
                    None => draft.sub(MAIN, id),
                },
            };
            if track != MAIN {
                draft.compacted(track, 0);
                if let Some(name) = record.word("agentName") {
                    draft.name(track, &name);
                }
            }
            let time = record.text("timestamp");
            let place = Place { track, time: time.as_deref(), source: &format!("{name}:{line}") };
            self.record(record, draft, &place)
        })
    }

    fn record(&mut self, record: &Fields<'_>, draft: &mut Draft<'_>, place: &Place<'_>) -> io::Result<()> {
        let kind = record.text("type").unwrap_or_default();
        let subtype = record.text("subtype").unwrap_or_default();
        draft.report.count(&if subtype.is_empty() { kind.to_string() } else { format!("{kind} {subtype}") });
        // One that says something else is another one, whatever it is called.
        if let Some(uuid) = record.word("uuid") {
            let mut hasher = DefaultHasher::new();
            let said = ["message", "systemPayload"].map(|key| record.get(key).map(RawValue::get));
            (&*uuid, place.track, said).hash(&mut hasher);
            if !self.seen.insert(hasher.finish()) {
                draft.report.note("duplicate-record", "a record is there twice, and was read once", None);
                return Ok(());
            }
        }
        take_head(record, draft, place.track);
        match &*kind {
            "assistant" => self.assistant(record, draft, place),
            "tool_result" => self.tool_result(record, draft, place),
            "user" => self.user(record, draft, place, &subtype),
            "system" => self.system(record, draft, place, &subtype),
            unknown => {
                draft.report.unknown(unknown);
                draft.unread(place.track, record.iter());
                Ok(())
            }
        }
    }

    fn parts(record: &Fields<'_>, draft: &mut Draft<'_>, place: &Place<'_>) -> io::Result<Option<Parts>> {
        let Some(message) = record.object("message") else {
            let kind = record.text("type").unwrap_or_default();
            let text = format!("{}: a record of type `{kind}` has no message", place.source);
            draft.report.partial("no-message", text, None);
            return Ok(None);
        };
        genai::parts(message.get("parts").or_else(|| message.get("content")), draft).map(Some)
    }

    /// Reads what the model said: in one record, or in several of which only the first has numbers.
    fn assistant(&mut self, record: &Fields<'_>, draft: &mut Draft<'_>, place: &Place<'_>) -> io::Result<()> {
        let Some(parts) = Self::parts(record, draft, place)? else { return Ok(()) };
        let usage = record.object("usageMetadata");
        let open = self.open.get(&place.track).copied();
        let open = open.filter(|at| {
            let of_one = |step: &&mut Step| usage.is_none() || step.usage.is_none();
            draft.step(*at).as_ref().is_some_and(of_one)
        });
        let at = match open {
            Some(at) => at,
            None => draft.push(place.track, Step::agent(place.time))?,
        };
        self.open.insert(place.track, at);
        let model = record.owned("model");
        let head = draft.head(place.track);
        head.model = head.model.take().or_else(|| model.clone());
        let wants = !parts.calls.is_empty();
        if let Some(step) = draft.step(at) {
            if step.extra.is_empty() {
                step.extra.put("src", place.source);
            }
            step.model_name = model.or(step.model_name.take());
            step.message.append(parts.words);
            for thought in &parts.thoughts {
                step.think(thought);
            }
            if let Some(usage) = usage {
                take_usage(step, &usage);
            }
        }
        for call in parts.calls {
            draft.call(at, call)?;
        }
        if place.track == MAIN {
            self.last = if wants { Last::Middle } else { Last::End };
        }
        Ok(())
    }

    fn tool_result(
        &mut self,
        record: &Fields<'_>,
        draft: &mut Draft<'_>,
        place: &Place<'_>,
    ) -> io::Result<()> {
        self.open.remove(&place.track);
        let Some(parts) = Self::parts(record, draft, place)? else { return Ok(()) };
        let told = record.object("toolCallResult").unwrap_or_default();
        let mut answers = parts.answers;
        if answers.is_empty() {
            let id = told.text("callId").unwrap_or_default().into_owned();
            answers.push((id, ObservationResult::new(parts.words)));
        } else if let Some((_, result)) = answers.last_mut() {
            result.content.get_or_insert_default().append(parts.words);
        }
        for (id, mut result) in answers {
            if told.is("status", "error") || told.is("status", "cancelled") {
                result = result.failed();
            }
            self.beside(&told, &mut result);
            if let Some(time) = place.time {
                result.extra.put("timestamp", time);
            }
            let at = draft.answer(place.track, &id, result, place.time)?;
            if let Some(agent) = self.asked.get(&id) {
                draft.sub(place.track, agent);
                draft.refer(at, &id, agent);
            }
        }
        if place.track == MAIN {
            self.last = Last::Middle;
        }
        Ok(())
    }

    /// What the program knows of a call beside what the model was told.
    fn beside(&self, told: &Fields<'_>, result: &mut ObservationResult) {
        let text = match &result.content {
            Some(Content::Text(text)) => text.clone(),
            _ => String::new(),
        };
        let status = told.get("status").filter(|status| status.get() != "\"success\"");
        result.extra.take("status", status);
        for (key, name) in [("errorType", "error_type"), ("durationMs", "duration_ms")] {
            result.extra.take(name, told.get(key));
        }
        let shown = told.get("resultDisplay");
        let display = shown.and_then(Fields::of).unwrap_or_default();
        for (key, name) in [("exitCode", "exit_code"), ("signal", "signal")] {
            result.extra.take(name, display.get(key));
        }
        // What a command printed is what the model was told.
        let is_new = shown.and_then(fields::text).is_none_or(|shown| !text.contains(shown.trim()));
        let is_new = is_new && !display.is("type", "shell_result");
        result.extra.take("result_display", shown.filter(|_| is_new));
        let saved = text.lines().take(5).find_map(|line| line.strip_prefix(SAVED));
        let saved = saved.and_then(|path| path.rsplit('/').next()).filter(|name| !name.is_empty());
        if let Some(file) =
            saved.and_then(|name| self.logs.files().iter().find(|file| file.path.file_name() == Some(name)))
        {
            let whole = serde_json::json!({ "path": file.path.as_str(), "bytes": file.bytes });
            result.extra.put("full_output", whole);
        }
    }

    fn user(
        &mut self,
        record: &Fields<'_>,
        draft: &mut Draft<'_>,
        place: &Place<'_>,
        subtype: &str,
    ) -> io::Result<()> {
        self.open.remove(&place.track);
        let Some(parts) = Self::parts(record, draft, place)? else { return Ok(()) };
        for (id, result) in parts.answers {
            draft.answer(place.track, &id, result, place.time)?;
        }
        if place.track == MAIN {
            self.last = Last::Middle;
        }
        if parts.words.is_empty() {
            return Ok(());
        }
        let mut step = Step::user(place.time, parts.words);
        step.extra.put("src", place.source);
        if !subtype.is_empty() {
            step.extra.put("subtype", subtype);
        }
        draft.push(place.track, step).map(|_| ())
    }

    fn system(
        &mut self,
        record: &Fields<'_>,
        draft: &mut Draft<'_>,
        place: &Place<'_>,
        subtype: &str,
    ) -> io::Result<()> {
        let payload = record.object("systemPayload").unwrap_or_default();
        match subtype {
            "ui_telemetry" => self.telemetry(&payload, draft, place),
            "chat_compression" => {
                let info = payload.object("info").unwrap_or_default();
                // Where it says that it failed, nothing was made shorter.
                let is_done = info.count("compressionStatus").is_none_or(|status| status == 1);
                draft.compacted(place.track, u64::from(is_done));
                let first = payload.objects("compressedHistory").into_iter().next().unwrap_or_default();
                let words = genai::parts(first.get("parts"), draft)?.words;
                let mut step = Step::system(place.time, words);
                step.extra.put("is_compact_summary", true);
                step.extra.take("info", payload.get("info"));
                self.notice(step, subtype, draft, place)
            }
            "slash_command" => {
                let said = payload.text("rawCommand").unwrap_or_default().into_owned();
                let mut step = Step::system(place.time, said);
                for key in ["phase", "outputHistoryItems"] {
                    step.extra.take(key, payload.get(key));
                }
                self.notice(step, subtype, draft, place)
            }
            "rewind" => {
                let text = "the user took turns back, which are among the steps";
                draft.report.note("rolled-back", text, None);
                let mut step = Step::system(place.time, "");
                step.extra.take("truncated", payload.get("truncatedCount"));
                self.notice(step, subtype, draft, place)
            }
            "custom_title" => {
                draft.head(MAIN).extra.take("title", payload.get("customTitle"));
                Ok(())
            }
            known if PLUMBING.contains(&known) => Ok(()),
            _ if record.has("message") => {
                let Some(parts) = Self::parts(record, draft, place)? else { return Ok(()) };
                self.notice(Step::system(place.time, parts.words), subtype, draft, place)
            }
            unknown => {
                draft.report.unknown(&format!("system {unknown}"));
                draft.unread(place.track, record.iter());
                Ok(())
            }
        }
    }

    fn notice(
        &mut self,
        mut step: Step,
        subtype: &str,
        draft: &mut Draft<'_>,
        place: &Place<'_>,
    ) -> io::Result<()> {
        self.open.remove(&place.track);
        step.extra.put("src", place.source);
        step.extra.put("subtype", subtype);
        draft.push(place.track, step).map(|_| ())
    }

    /// Reads where a call of the model ended, or failed; those of other agents are in this log, too.
    fn telemetry(
        &mut self,
        payload: &Fields<'_>,
        draft: &mut Draft<'_>,
        place: &Place<'_>,
    ) -> io::Result<()> {
        let event = payload.object("uiEvent").unwrap_or_default();
        let name = event.text("event.name").unwrap_or_default();
        let agent = event.word("subagent_id");
        if agent.is_none() && name.ends_with("api_response") {
            self.open.remove(&place.track);
        }
        if !name.ends_with("api_error") {
            return Ok(());
        }
        let said = event.owned("error_message").or_else(|| event.owned("error"));
        let said = said.unwrap_or_else(|| "no reason is given".to_owned());
        let mut step = Step::failure(place.time, said.clone());
        step.extra.put("src", place.source);
        for key in ["error_type", "status_code", "model"] {
            step.extra.take(key, event.get(key));
        }
        let track = agent.and_then(|agent| draft.find_sub(&agent)).unwrap_or(place.track);
        if track == MAIN {
            // Whoever stops it breaks its request off.
            let is_broken_off = event.text("error_type").is_some_and(|kind| kind.contains("Abort"));
            self.last = if is_broken_off { Last::Middle } else { Last::Failure(said) };
        }
        self.open.remove(&track);
        draft.push(track, step).map(|_| ())
    }
}

fn take_head(record: &Fields<'_>, draft: &mut Draft<'_>, track: Track) {
    let head = draft.head(track);
    head.session = head.session.take().or_else(|| record.owned("sessionId"));
    head.version = head.version.take().or_else(|| record.owned("version"));
    for (key, name) in [("cwd", "cwd"), ("gitBranch", "git_branch")] {
        if head.agent.get(name).is_none() {
            head.agent.take(name, record.get(key));
        }
    }
}

fn take_usage(step: &mut Step, usage: &Fields<'_>) {
    let odd = Odd::default();
    let count = |key: &'static str| usage.tokens(key, &odd).unwrap_or(0);
    let (prompt, cached) = (count("promptTokenCount"), count("cachedContentTokenCount"));
    let (words, thoughts) = (count("candidatesTokenCount"), count("thoughtsTokenCount"));
    let tools = count("toolUsePromptTokenCount");
    // Google counts reasoning beside the words, and others among them: the total says which.
    let is_among = thoughts <= words && count("totalTokenCount") == prompt + tools + words;
    step.usage = Some(Usage {
        input: prompt.saturating_add(tools).saturating_sub(cached),
        cache_read: cached,
        cache_write: 0,
        output: if is_among { words } else { words.saturating_add(thoughts) },
        cost: None,
        odd: odd.name(),
    });
    let extra = &mut step.metrics.get_or_insert_default().extra;
    for (key, name) in [
        ("thoughtsTokenCount", "thoughts_tokens"),
        ("toolUsePromptTokenCount", "tool_tokens"),
        ("totalTokenCount", "total_tokens"),
    ] {
        extra.take(name, usage.get(key));
    }
}
