//! A rollout: the items of a conversation, and events beside them, which say mostly the same.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;

use serde_json::value::RawValue;

use super::Reader;
use super::items::has_failed;
use super::usage::Counter;
use crate::agent::log::{self, LogFile, Logs};
use crate::atif::draft::{At, Draft, MAIN, Track};
use crate::atif::fields::Fields;
use crate::atif::raw::Extra;
use crate::atif::report::Run;
use crate::atif::step::Step;

/// Events that say how the program works, or what an item of the conversation says as well.
const PLUMBING: &[&str] = &[
    "agent_message",
    "agent_message_delta",
    "agent_reasoning",
    "agent_reasoning_raw_content",
    "agent_reasoning_section_break",
    "background_event",
    "entered_review_mode",
    "exec_approval_request",
    "exec_command_begin",
    "get_history_entry_response",
    "guardian_assessment",
    "image_generation_begin",
    "image_generation_end",
    "item_started",
    "mcp_startup_complete",
    "mcp_startup_update",
    "mcp_tool_call_begin",
    "patch_apply_begin",
    "plan_update",
    "session_configured",
    "shutdown_complete",
    "sub_agent_activity",
    "task_started",
    "thread_goal_updated",
    "thread_name_updated",
    "thread_settings_applied",
    "turn_diff",
    "turn_started",
    "user_message",
    "view_image_tool_call",
    "web_search_begin",
    "web_search_end",
];

/// Those of them that say that somebody waits for the model.
const TURNS: &[&str] = &["task_started", "turn_started"];

/// The most calls whose end is waited for behind their answer.
const MOST_RUNNING: usize = 256;

/// A thread while its rollout is read.
pub struct Thread<'a> {
    pub logs: &'a dyn Logs,
    pub track: Track,
    pub model: Option<String>,
    pub effort: Option<String>,
    pub turn: Option<String>,
    pub counter: Counter,
    /// The step of the call of the model that is being read.
    pub open: Option<At>,
    /// Tools have answered to it.
    pub answered: bool,
    /// How much of the conversation the model had read for it.
    pub sampled: Option<u64>,
    /// This record was taken over from another thread.
    pub is_copied: bool,
    /// What events say of calls that have no answer yet.
    pub facts: HashMap<String, Extra>,
    /// Calls that were answered before they ended.
    pub running: HashMap<String, At>,
    /// The threads that calls have spawned.
    pub spawned: HashMap<String, Vec<String>>,
    id: Option<String>,
    /// The records that were read, each with its time.
    told: HashSet<u64>,
    is_sub: bool,
    is_forked: bool,
    /// The first record of its own.
    own_from: Option<u64>,
    compacted: u64,
    compaction_events: u64,
    run: Option<Run>,
}

impl Reader<'_> {
    /// Reads a rollout, and returns how it ended.
    pub fn thread(&mut self, index: usize, draft: &mut Draft<'_>, is_sub: bool) -> io::Result<Option<Run>> {
        let logs = self.logs;
        let file = &logs.files()[index];
        let mut thread = Thread {
            logs,
            track: MAIN,
            model: None,
            effort: None,
            turn: None,
            counter: Counter::default(),
            open: None,
            answered: false,
            sampled: None,
            is_copied: false,
            facts: HashMap::new(),
            running: HashMap::new(),
            spawned: HashMap::new(),
            id: None,
            told: HashSet::new(),
            is_sub,
            is_forked: false,
            own_from: None,
            compacted: 0,
            compaction_events: 0,
            run: None,
        };
        let seen = &mut self.seen;
        log::each_record(logs, index, draft, |draft, record, line| {
            thread.record(record, draft, seen, file, &format!("{}:{line}", file.path))
        })?;
        if thread.compacted == 0 && thread.compaction_events > 0 {
            draft.compacted(thread.track, thread.compaction_events);
        }
        Ok(thread.run)
    }
}

impl Thread<'_> {
    fn record(
        &mut self,
        record: &Fields<'_>,
        draft: &mut Draft<'_>,
        seen: &mut HashSet<u64>,
        file: &LogFile,
        source: &str,
    ) -> io::Result<()> {
        let kind = record.text("type").unwrap_or_default();
        let Some(payload) = record.object("payload") else {
            draft.report.partial("no-payload", format!("{source}: a record of type `{kind}` is empty"), None);
            return Ok(());
        };
        let inner = payload.text("type").unwrap_or_default();
        let is_inner = ["response_item", "event_msg"].contains(&&*kind) && !inner.is_empty();
        draft.report.count(&if is_inner { format!("{kind} {inner}") } else { kind.clone().into_owned() });
        if kind == "session_meta" {
            self.meta(&payload, draft, file);
            return Ok(());
        }
        if self.id.is_none() && self.is_sub {
            // Its first line is broken.
            self.meta(&Fields::default(), draft, file);
        }
        let says = !PLUMBING.contains(&&*inner) || TURNS.contains(&&*inner);
        if says && self.is_told(record, &kind) {
            draft.report.note("duplicate-record", "a record is there twice, and was read once", None);
            return Ok(());
        }
        let was_copied = self.is_copied;
        self.is_copied = self.is_taken_over(record, &kind, seen);
        if self.is_copied && self.track == MAIN && !inner.ends_with("_started") && kind != "turn_context" {
            draft.report.note("duplicate-record", "a record is there twice, and was read once", None);
            return Ok(());
        }
        self.open = self.open.filter(|_| was_copied == self.is_copied);
        let time = record.text("timestamp");
        let time = time.as_deref();
        match &*kind {
            "response_item" => self.item(record, &payload, draft, time, source),
            "event_msg" => self.event(&payload, draft, time, source),
            "token_usage_record" if !self.is_copied => {
                self.counter.record(&payload, draft, self.track, time)?;
                self.open = None;
                Ok(())
            }
            "turn_context" => {
                self.turn_context(&payload, draft);
                Ok(())
            }
            "compacted" => {
                self.compacted += 1;
                draft.compacted(self.track, u64::from(!self.is_copied));
                let mut step = Step::system(time, payload.text("message").unwrap_or_default().into_owned());
                step.extra.put("src", source);
                step.extra.put("is_compact_summary", true);
                self.say(step, draft)
            }
            "inter_agent_communication" => self.letter(&payload, draft, time, source),
            "inter_agent_communication_metadata" | "token_usage_record" | "world_state" => Ok(()),
            unknown => {
                draft.report.unknown(unknown);
                draft.unread(self.track, record.iter());
                Ok(())
            }
        }
    }

    /// Says whether a record of this time was read before. Of two without a time nobody knows.
    fn is_told(&mut self, record: &Fields<'_>, kind: &str) -> bool {
        let (Some(time), Some(payload)) = (record.get("timestamp"), record.get("payload")) else {
            return false;
        };
        let mut hasher = DefaultHasher::new();
        (kind, time.get(), record.get("ordinal").map(RawValue::get), payload.get()).hash(&mut hasher);
        !self.told.insert(hasher.finish())
    }

    /// Says whether a record was written by another thread, from which this one goes on.
    fn is_taken_over(&self, record: &Fields<'_>, kind: &str, seen: &mut HashSet<u64>) -> bool {
        if let (Some(from), Some(ordinal)) = (self.own_from, record.count("ordinal")) {
            return ordinal < from;
        }
        if kind != "response_item" {
            return self.is_copied;
        }
        let Some(payload) = record.get("payload") else { return false };
        let mut hasher = DefaultHasher::new();
        payload.get().hash(&mut hasher);
        !seen.insert(hasher.finish()) && self.is_forked
    }

    fn meta(&mut self, meta: &Fields<'_>, draft: &mut Draft<'_>, file: &LogFile) {
        if self.id.is_some() {
            // Of the thread from which this one goes on.
            self.is_forked = true;
            return;
        }
        // The name of a file ends with it.
        let stem = file.path.file_stem().unwrap_or_default();
        let of_name = || stem.get(stem.len().saturating_sub(36)..).unwrap_or(stem).to_owned();
        let id = meta.owned("id").or_else(|| meta.owned("session_id")).unwrap_or_else(of_name);
        self.is_forked |= meta.has("forked_from_id");
        self.own_from = meta.count("subagent_history_start_ordinal");
        if self.is_sub {
            let spawn = (meta.object("source"))
                .and_then(|source| source.object("subagent"))
                .and_then(|subagent| subagent.object("thread_spawn"))
                .unwrap_or_default();
            let parent = spawn.owned("parent_thread_id").or_else(|| meta.owned("parent_thread_id"));
            let parent = parent.and_then(|parent| draft.find_sub(&parent)).unwrap_or(MAIN);
            self.track = draft.sub(parent, &id);
            let name = ["agent_role", "agent_nickname"].into_iter().find_map(|key| spawn.word(key));
            if let Some(name) = name.or_else(|| meta.word("agent_role")) {
                draft.name(self.track, &name);
            }
            draft.compacted(self.track, 0);
        }
        let head = draft.head(self.track);
        head.session.get_or_insert_with(|| id.clone());
        head.version = head.version.take().or_else(|| meta.owned("cli_version"));
        for key in ["originator", "cwd", "source", "model_provider", "forked_from_id", "agent_nickname"] {
            head.agent.take(key, meta.get(key));
        }
        head.agent.take("git", meta.get("git").filter(|git| git.get() != "{}"));
        let base = meta.object("base_instructions");
        let instructions = base.as_ref().and_then(|base| base.get("text"));
        head.agent.take("instructions", instructions.or_else(|| meta.get("instructions")));
        self.id = Some(id);
    }

    fn turn_context(&mut self, payload: &Fields<'_>, draft: &mut Draft<'_>) {
        self.model = payload.owned("model").or(self.model.take());
        let settings = (payload.object("collaboration_mode")).and_then(|mode| mode.object("settings"));
        self.effort = payload
            .owned("effort")
            .or_else(|| settings.as_ref()?.owned("reasoning_effort"))
            .or_else(|| payload.owned("reasoning_effort"));
        self.turn = payload.owned("turn_id").or(self.turn.take());
        let head = draft.head(self.track);
        head.model = head.model.take().or_else(|| self.model.clone());
    }

    fn event(
        &mut self,
        payload: &Fields<'_>,
        draft: &mut Draft<'_>,
        time: Option<&str>,
        source: &str,
    ) -> io::Result<()> {
        let kind = payload.text("type").unwrap_or_default();
        match &*kind {
            "token_count" => {
                if !self.is_copied && self.counter.event(payload, draft, self.track, time)? {
                    self.open = None;
                }
                Ok(())
            }
            "task_started" | "turn_started" => {
                self.run = Some(Run::Interrupted);
                self.turn = payload.owned("turn_id");
                Ok(())
            }
            "task_complete" | "turn_complete" => {
                self.open = None;
                let error = payload.object("error");
                let reason = error.as_ref().and_then(|error| error.owned("message"));
                let Some(reason) = reason.or_else(|| error.map(|_| "no reason is given".to_owned())) else {
                    self.run = Some(Run::Finished);
                    return Ok(());
                };
                let mut step = Step::failure(time, reason.clone());
                step.extra.put("src", source);
                step.extra.take("error", payload.get("error"));
                self.run = Some(Run::Failed(reason));
                self.say(step, draft)
            }
            "turn_aborted" => {
                self.run = Some(Run::Interrupted);
                self.notice(payload, "reason", draft, time, source)
            }
            "error" | "stream_error" | "warning" => {
                if kind == "error" {
                    let said = payload.owned("message");
                    self.run = Some(Run::Failed(said.unwrap_or_else(|| "no reason is given".to_owned())));
                }
                self.notice(payload, "message", draft, time, source)
            }
            "context_compacted" => {
                self.compaction_events += u64::from(!self.is_copied);
                Ok(())
            }
            "thread_rolled_back" => {
                let text = "the user took turns back, which are among the steps";
                draft.report.note("rolled-back", text, None);
                self.notice(payload, "message", draft, time, source)
            }
            "exited_review_mode" => {
                let mut step = Step::system(time, "");
                step.extra.put("src", source);
                step.extra.put("subtype", &*kind);
                step.extra.take("review_output", payload.get("review_output"));
                self.say(step, draft)
            }
            "item_completed" => {
                if let Some(item) = payload.object("item") {
                    self.fact(item.text("id").as_deref(), &item, draft);
                }
                Ok(())
            }
            ended if ended.ends_with("_end") => {
                self.fact(payload.text("call_id").as_deref(), payload, draft);
                Ok(())
            }
            known if PLUMBING.contains(&known) => Ok(()),
            unknown => {
                draft.report.unknown(&format!("event {unknown}"));
                draft.unread(self.track, payload.iter());
                Ok(())
            }
        }
    }

    /// A word of the program's own, which is no answer of the model.
    fn notice(
        &mut self,
        payload: &Fields<'_>,
        key: &str,
        draft: &mut Draft<'_>,
        time: Option<&str>,
        source: &str,
    ) -> io::Result<()> {
        let mut step = Step::system(time, payload.text(key).unwrap_or_default().into_owned());
        step.extra.put("src", source);
        step.extra.put("subtype", payload.text("type").unwrap_or_default());
        for (name, value) in payload.iter().filter(|(name, _)| ![key, "type"].contains(name)) {
            step.extra.take(name, Some(value));
        }
        self.say(step, draft)
    }

    /// Keeps how a call ended, for its answer.
    fn fact(&mut self, call: Option<&str>, item: &Fields<'_>, draft: &mut Draft<'_>) {
        let Some(call) = call else { return };
        let mut threads: Vec<String> = item.owned("new_thread_id").into_iter().collect();
        if item.is("tool", "spawn_agent") {
            let receivers = item.list("receiver_thread_ids").into_iter().filter_map(text);
            threads.extend(receivers);
        }
        if !threads.is_empty() {
            self.spawned.insert(call.to_owned(), threads);
        }
        let mut fact = Extra::default();
        for key in ["exit_code", "status", "duration", "success"] {
            fact.take(key, item.get(key));
        }
        if fact.is_empty() {
            return;
        }
        if let Some(at) = self.running.remove(call) {
            let results = draft.step(at).and_then(|step| step.observation.as_mut());
            let result = results.and_then(|observation| {
                observation.results.iter_mut().find(|known| known.source_call_id.as_deref() == Some(call))
            });
            if let Some(result) = result {
                if has_failed(&fact) {
                    fact.put("is_error", true);
                }
                result.extra.append(fact);
            }
        } else if draft.waiting(self.track, call).is_some() {
            self.facts.insert(call.to_owned(), fact);
        }
    }

    /// Remembers a call that was answered, and of which nobody has said yet how it ended.
    pub fn runs_on(&mut self, call: &str, at: At) {
        if self.running.len() < MOST_RUNNING {
            self.running.insert(call.to_owned(), at);
        }
    }

    /// Adds a step that ends what the model said.
    pub fn say(&mut self, mut step: Step, draft: &mut Draft<'_>) -> io::Result<()> {
        self.open = None;
        step.is_copied_context = self.is_copied;
        draft.push(self.track, step).map(|_| ())
    }
}

fn text(raw: &RawValue) -> Option<String> {
    crate::atif::fields::text(raw).map(std::borrow::Cow::into_owned)
}
