//! Trajectories as logs: an agent that writes the format itself. What is wrong in one costs no more than itself.

use std::io::{self, Read as _};

use camino::Utf8Path;
use serde_json::value::RawValue;

use crate::agent::log::{self, Converter, Logs, whole};
use crate::atif::draft::{At, Draft, MAIN, Track};
use crate::atif::fields::{self, Fields, Odd};
use crate::atif::raw::{Extra, Json};
use crate::atif::report::Run;
use crate::atif::step::{Content, ObservationResult, Part, Source, Step, SubagentRef, ToolCall, Usage};

pub struct Document;

/// The deepest sub-agent of a sub-agent.
const MOST_NESTED: usize = 16;

/// The largest picture, in bytes.
const MOST_PICTURE: u64 = 64 << 20;

/// What pier adds up itself.
const ADDED_UP: &[&str] = &[
    "compacted",
    "cost_source",
    "peak_context_tokens",
    "subagent_completion_tokens",
    "subagent_prompt_tokens",
    "subagents",
    "summarization_count",
    "total_cache_creation_input_tokens",
];

fn is_log(_: &Utf8Path, head: &str) -> bool {
    let said = head.split_once("\"schema_version\"").map(|(_, rest)| rest.trim_start());
    let version = said.and_then(|rest| rest.strip_prefix(':'));
    head.trim_start().starts_with('{')
        && version.is_some_and(|version| version.trim_start().starts_with("\"ATIF-v"))
}

impl Converter for Document {
    fn is_log(&self, path: &Utf8Path, head: &str) -> bool {
        is_log(path, head)
    }

    fn convert(&self, logs: &dyn Logs, draft: &mut Draft<'_>) -> io::Result<()> {
        let mut files: Vec<(Option<String>, usize)> =
            log::chosen(logs, is_log).map(|index| (first_time(&logs.head(index)), index)).collect();
        // Those without a time come last, in the order of their names.
        files.sort_by(|(one, _), (other, _)| match (one, other) {
            (Some(one), Some(other)) => one.cmp(other),
            (one, other) => one.is_none().cmp(&other.is_none()),
        });
        for (_, index) in files {
            let path = &logs.files()[index].path;
            let reader = Reader { logs, beside: path.parent().unwrap_or(Utf8Path::new("")), name: path };
            whole::each_element(logs, index, "steps", draft, |draft, document, steps| {
                reader.document(draft, MAIN, document, steps, 0)
            })?;
        }
        Ok(())
    }
}

/// The first time in a text, for the order of documents.
fn first_time(head: &str) -> Option<String> {
    let (_, rest) = head.split_once("\"timestamp\"")?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    Some(rest.split('"').next()?.to_owned())
}

struct Reader<'a> {
    logs: &'a dyn Logs,
    /// Where the document is, and what is named relative to it.
    beside: &'a Utf8Path,
    name: &'a Utf8Path,
}

impl Reader<'_> {
    fn document(
        &self,
        draft: &mut Draft<'_>,
        track: Track,
        document: &Fields<'_>,
        steps: &[&RawValue],
        depth: usize,
    ) -> io::Result<()> {
        head(draft, track, document);
        // Before the steps, which name them.
        let subagents = document.objects("subagent_trajectories");
        let known: Vec<(String, &Fields<'_>)> =
            subagents.iter().filter_map(|sub| Some((sub.owned("trajectory_id")?, sub))).collect();
        if known.len() < document.list("subagent_trajectories").len()
            || depth >= MOST_NESTED && !known.is_empty()
        {
            let text = "a sub-agent has no `trajectory_id`, or is too deep: it is left out";
            draft.report.partial("subagent", text, Some((self.name.as_str(), 0)));
        }
        let tracks: Vec<(Track, &Fields<'_>)> = known
            .iter()
            .filter(|_| depth < MOST_NESTED)
            .map(|(id, sub)| (draft.sub(track, id), *sub))
            .collect();
        for step in steps {
            if let Some(step) = Fields::of(step) {
                self.step(draft, track, &step)?;
            } else {
                let at = Some((self.name.as_str(), 0));
                draft.report.partial("unreadable-step", "a step is no object", at);
            }
        }
        for (track, sub) in tracks {
            self.document(draft, track, sub, &sub.list("steps"), depth + 1)?;
        }
        totals(draft, track, document, depth);
        Ok(())
    }

    fn step(&self, draft: &mut Draft<'_>, track: Track, fields: &Fields<'_>) -> io::Result<()> {
        draft.report.count("step");
        let time = fields.owned("timestamp");
        let said = fields.text("source").unwrap_or_default();
        let mut step = match &*said {
            "agent" => Step::agent(time.as_deref()),
            "user" => Step::user(time.as_deref(), ""),
            _ => Step::system(time.as_deref(), ""),
        };
        let is_agent = step.source == Source::Agent;
        if is_agent {
            step.llm_call_count = fields.count("llm_call_count").and_then(|count| u32::try_from(count).ok());
            step.model_name = fields.owned("model_name");
            step.reasoning_content = fields.owned("reasoning_content");
            step.reasoning_effort = fields.get("reasoning_effort").map(|effort| {
                fields::text(effort).map_or_else(|| effort.get().to_owned(), std::borrow::Cow::into_owned)
            });
            metrics(&mut step, &fields.object("metrics").unwrap_or_default());
        }
        step.is_copied_context = fields.truth("is_copied_context");
        step.message = self.content(draft, fields.get("message"))?.unwrap_or_default();
        step.extra = extra(fields.object("extra").as_ref());
        for (key, value) in fields.iter() {
            let is_read = match key {
                "step_id" | "timestamp" | "message" | "observation" | "extra" | "is_copied_context" => true,
                "source" => matches!(&*said, "agent" | "user" | "system"),
                "llm_call_count" | "model_name" | "reasoning_content" | "reasoning_effort" | "metrics"
                | "tool_calls" => is_agent,
                _ => false,
            };
            if !is_read {
                step.extra.take(key, Some(value));
            }
        }
        let at = draft.push(track, step)?;
        let calls = if is_agent { fields.objects("tool_calls") } else { Vec::new() };
        let mut ids = Vec::new();
        for fields in calls {
            let id = fields.owned("tool_call_id").unwrap_or_default();
            let name = fields.text("function_name").unwrap_or_default();
            let mut call = ToolCall::new(&id, &name, Json::arguments(fields.get("arguments")));
            call.extra = extra(fields.object("extra").as_ref());
            draft.call(at, call)?;
            ids.push(id);
        }
        for result in fields.object("observation").unwrap_or_default().objects("results") {
            self.result(draft, at, &ids, &result)?;
        }
        Ok(())
    }

    fn result(&self, draft: &mut Draft<'_>, at: At, calls: &[String], fields: &Fields<'_>) -> io::Result<()> {
        let mut result = ObservationResult {
            content: self.content(draft, fields.get("content"))?,
            extra: extra(fields.object("extra").as_ref()),
            ..ObservationResult::default()
        };
        for refers in fields.objects("subagent_trajectory_ref") {
            match refers.owned("trajectory_id").filter(|id| draft.find_sub(id).is_some()) {
                Some(trajectory_id) => result.subagent_trajectory_ref.push(SubagentRef { trajectory_id }),
                // It is in a file, or nowhere.
                None => result.extra.take("subagent_trajectory_ref", fields.get("subagent_trajectory_ref")),
            }
        }
        let id = fields.text("source_call_id");
        if let Some(id) = id.as_ref().filter(|id| !id.is_empty() && calls.iter().any(|call| *call == ***id)) {
            return draft.answer(at.track(), id, result, None).map(|_| ());
        }
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            result.extra.put("call_id", id.into_owned());
        }
        if let Some(step) = draft.step(at) {
            step.observe(result);
        }
        Ok(())
    }

    /// Returns a text, or texts and pictures; `None` where there is neither.
    fn content(&self, draft: &mut Draft<'_>, raw: Option<&RawValue>) -> io::Result<Option<Content>> {
        let Some(raw) = raw else { return Ok(None) };
        if let Some(text) = fields::text(raw) {
            return Ok(Some(text.as_ref().into()));
        }
        if !raw.get().starts_with('[') {
            return Ok(Some(Json::of(raw).get().into()));
        }
        let mut content = Content::default();
        for part in fields::list(raw) {
            let fields = Fields::of(part).unwrap_or_default();
            if let Some(text) = fields.text("text").filter(|_| fields.is("type", "text")) {
                content.add(&text);
            } else if let Some(source) = fields.object("source").filter(|_| fields.is("type", "image")) {
                let media_type = source.text("media_type").unwrap_or_default();
                let path = source.text("path").unwrap_or_default();
                if let Some(picture) = self.picture(draft, &media_type, &path)? {
                    content.add_part(picture);
                }
            } else {
                // Of a later version of the format.
                content.add(Json::of(part).get());
            }
        }
        Ok(Some(content))
    }

    /// Takes a picture over that is beside the document.
    fn picture(&self, draft: &mut Draft<'_>, media_type: &str, path: &str) -> io::Result<Option<Part>> {
        let wanted = self.beside.join(path);
        let found = self.logs.files().iter().position(|file| file.path == wanted);
        let mut bytes = Vec::new();
        let read = found.map(|index| self.logs.open(index)?.take(MOST_PICTURE).read_to_end(&mut bytes));
        if let Some(Ok(_)) = read {
            return draft.picture_bytes(media_type, &bytes);
        }
        draft.picture_of_url(path)
    }
}

fn extra(fields: Option<&Fields<'_>>) -> Extra {
    let mut extra = Extra::default();
    for (key, value) in fields.into_iter().flat_map(Fields::iter) {
        extra.set(key, Json::of(value));
    }
    extra
}

fn metrics(step: &mut Step, fields: &Fields<'_>) {
    let odd = Odd::default();
    let (prompt, output) = (fields.tokens("prompt_tokens", &odd), fields.tokens("completion_tokens", &odd));
    if prompt.is_some() || output.is_some() || odd.name().is_some() {
        let prompt = prompt.unwrap_or(0);
        let cached = fields.tokens("cached_tokens", &odd).unwrap_or(0).min(prompt);
        step.usage = Some(Usage {
            input: prompt - cached,
            cache_read: cached,
            cache_write: 0,
            output: output.unwrap_or(0),
            cost: fields.float("cost_usd"),
            odd: odd.name(),
        });
    }
    let mut more = extra(fields.object("extra").as_ref());
    for (key, value) in fields.iter() {
        if !["prompt_tokens", "completion_tokens", "cached_tokens", "cost_usd", "extra"].contains(&key) {
            more.take(key, Some(value));
        }
    }
    if !more.is_empty() {
        step.metrics.get_or_insert_default().extra = more;
    }
}

fn head(draft: &mut Draft<'_>, track: Track, document: &Fields<'_>) {
    let agent = document.object("agent").unwrap_or_default();
    let head = draft.head(track);
    head.session = head.session.take().or_else(|| document.owned("session_id"));
    let version = agent.owned("version").filter(|version| version != "unknown");
    head.version = head.version.take().or(version);
    head.model = head.model.take().or_else(|| agent.owned("model_name"));
    for key in ["name", "tool_definitions"] {
        head.agent.take(key, agent.get(key));
    }
    head.agent.append(extra(agent.object("extra").as_ref()));
    for key in ["notes", "continued_trajectory_ref"] {
        head.extra.take(key, document.get(key));
    }
    let said = extra(document.object("extra").as_ref());
    head.extra.nest("document", &said);
    let run = document.object("extra").and_then(|extra| extra.object("run")).unwrap_or_default();
    let outcome = match &*run.text("outcome").unwrap_or_default() {
        "finished" => Some(Run::Finished),
        "interrupted" => Some(Run::Interrupted),
        "failed" => Some(Run::Failed(run.owned("reason").unwrap_or_else(|| "no reason is given".to_owned()))),
        _ => None,
    };
    if let Some(outcome) = outcome.filter(|_| track == MAIN) {
        draft.report.run = outcome;
    }
}

fn totals(draft: &mut Draft<'_>, track: Track, document: &Fields<'_>, depth: usize) {
    let metrics = document.object("final_metrics").unwrap_or_default();
    let more = metrics.object("extra").unwrap_or_default();
    if let Some(times) = more.count("summarization_count") {
        draft.compacted(track, times);
    }
    for (key, value) in more.iter().filter(|(key, _)| !ADDED_UP.contains(key)) {
        draft.head(track).totals.take(key, Some(value));
    }
    // Those of a sub-agent are in its parent's.
    if depth > 0 {
        return;
    }
    let odd = Odd::default();
    let count = |key| metrics.tokens(key, &odd).unwrap_or(0);
    let prompt = count("total_prompt_tokens");
    let cached = count("total_cached_tokens").min(prompt);
    let output = count("total_completion_tokens");
    draft.total(Usage {
        input: prompt - cached,
        cache_read: cached,
        output,
        odd: odd.name(),
        ..Usage::default()
    });
    if let Some(cost) = metrics.float("total_cost_usd").filter(|cost| *cost >= 0.0) {
        draft.cost = Some(draft.cost.unwrap_or(0.0) + cost);
    }
}
