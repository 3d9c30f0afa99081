//! A document while logs are read: steps that may still change are held, others are put down, so that memory does not grow with
//! the log.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufWriter, Read, Seek, Write};

use base64::Engine as _;
use serde_json::value::RawValue;

use super::prices::Prices;
use super::raw::{Extra, Json};
use super::report::Report;
use super::step::{ImageSource, Metrics, ObservationResult, Part, Step, SubagentRef, ToolCall, Usage};
use super::time;

/// Where steps are put down: a file, or memory.
pub trait Spool: Read + Write + Seek {}

impl<T: Read + Write + Seek> Spool for T {}

/// Where pictures go, beside the document.
pub trait Images {
    /// Keeps a picture, and returns its path relative to the document's directory.
    fn keep(&mut self, media_type: &str, bytes: &[u8]) -> io::Result<String>;
}

/// How many steps are held at least, for words of theirs that come late.
const HELD: usize = 32;

/// How many are held at most, and how many bytes of them, where their calls are never answered.
const MOST_HELD: usize = 4096;
/// The largest sum of tokens: the format's own models have no larger number.
const MOST_COUNT: u64 = i64::MAX as u64;
const MOST_BYTES: usize = 64 << 20;

/// How much is put down at once, in bytes.
const PUT_DOWN: usize = 256 << 10;

/// How much is kept of records that no reader knows, in bytes.
const MOST_UNREAD: usize = 1 << 20;

/// The kinds of pictures that the format has.
const PICTURES: &[&str] = &["image/jpeg", "image/png", "image/gif", "image/webp"];

/// The conversation of the agent that was asked, or of one that it asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Track(usize);

/// The conversation with the user.
pub const MAIN: Track = Track(0);

impl Track {
    pub(super) fn of(number: usize) -> Self {
        Track(number)
    }

    pub(super) fn number(self) -> usize {
        self.0
    }
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    track: Track,
    index: usize,
}

impl At {
    pub fn track(self) -> Track {
        self.track
    }
}

/// Whose document it is, as far as whoever asks for it knows.
#[derive(Clone, Debug, Default)]
pub struct About {
    pub agent: String,
    /// Where its logs do not say them.
    pub version: Option<String>,
    pub model: Option<String>,
}

/// What a conversation says of itself.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub session: Option<String>,
    pub version: Option<String>,
    pub model: Option<String>,
    /// Goes to `agent.extra`.
    pub agent: Extra,
    /// Goes to `extra` of the document.
    pub extra: Extra,
    /// Goes to `final_metrics.extra`.
    pub totals: Extra,
}

/// A step that is held.
struct Held {
    step: Step,
    /// Calls that have no answer yet.
    pending: usize,
    key: Option<String>,
    size: usize,
}

/// Where a step is that was put down.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub offset: u64,
    pub length: u64,
}

/// Sums over the steps that were put down.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    pub prompt: u64,
    pub completion: u64,
    pub cached: u64,
    pub cache_write: u64,
    /// Of the steps whose cost is known, and how many have tokens and none.
    pub cost: f64,
    pub priced: u64,
    pub unpriced: u64,
    /// Steps with tokens.
    pub measured: u64,
    /// The most that the model read at once.
    pub peak: u64,
    pub agent_steps: u64,
    /// Answers of the model.
    pub answers: u64,
    pub unanswered: u64,
}

pub(super) struct Conversation {
    /// Of a sub-agent.
    pub id: Option<String>,
    pub parent: Track,
    pub name: Option<String>,
    pub head: Head,
    pub places: Vec<Place>,
    held: BTreeMap<usize, Held>,
    held_bytes: usize,
    keys: HashMap<String, usize>,
    /// The steps of the calls that are held, and whether each waits for its answer.
    calls: HashMap<String, (usize, bool)>,
    pub sums: Sums,
    /// `None` where its log cannot tell.
    pub compactions: Option<u64>,
    pub unread: Vec<Extra>,
    last_time: Option<String>,
}

impl Conversation {
    fn new(id: Option<String>, parent: Track) -> Self {
        Conversation {
            id,
            parent,
            name: None,
            head: Head::default(),
            places: Vec::new(),
            held: BTreeMap::new(),
            held_bytes: 0,
            keys: HashMap::new(),
            calls: HashMap::new(),
            sums: Sums::default(),
            compactions: None,
            unread: Vec::new(),
            last_time: None,
        }
    }
}

/// A document that is being made.
pub struct Draft<'a> {
    pub about: About,
    pub report: Report,
    /// The file of lines that is being read, and the line.
    pub place: Option<(String, u64)>,
    /// What the agent says that all of it cost, in US dollars.
    pub cost: Option<f64>,
    /// The tokens of all of it, for logs that do not say which call of the model had them.
    pub(super) whole: Option<Usage>,
    pub(super) prices: &'a Prices,
    pub(super) spool: BufWriter<&'a mut dyn Spool>,
    images: &'a mut dyn Images,
    end: u64,
    /// The text of the step that is put down; it is kept for its room.
    text: Vec<u8>,
    pub(super) conversations: Vec<Conversation>,
    tracks: HashMap<String, Track>,
    unread_bytes: usize,
}

impl<'a> Draft<'a> {
    /// Begins a document, with an empty spool.
    pub fn new(
        about: About,
        prices: &'a Prices,
        spool: &'a mut dyn Spool,
        images: &'a mut dyn Images,
    ) -> Self {
        Draft {
            about,
            report: Report::default(),
            place: None,
            cost: None,
            whole: None,
            prices,
            spool: BufWriter::with_capacity(PUT_DOWN, spool),
            images,
            end: 0,
            text: Vec::new(),
            conversations: vec![Conversation::new(None, MAIN)],
            tracks: HashMap::new(),
            unread_bytes: 0,
        }
    }

    /// Returns what a conversation says of itself.
    pub fn head(&mut self, track: Track) -> &mut Head {
        &mut self.conversations[track.0].head
    }

    /// Returns the conversation of a sub-agent, which begins with this call.
    pub fn sub(&mut self, parent: Track, id: &str) -> Track {
        if let Some(track) = self.tracks.get(id) {
            return *track;
        }
        let track = Track(self.conversations.len());
        self.conversations.push(Conversation::new(Some(id.to_owned()), parent));
        self.tracks.insert(id.to_owned(), track);
        track
    }

    pub fn find_sub(&self, id: &str) -> Option<Track> {
        self.tracks.get(id).copied()
    }

    /// Names the kind of a sub-agent.
    pub fn name(&mut self, track: Track, name: &str) {
        self.conversations[track.0].name.get_or_insert_with(|| name.to_owned());
    }

    /// Says that the log of this conversation tells where it was made shorter, and how often it was until now.
    pub fn compacted(&mut self, track: Track, times: u64) {
        *self.conversations[track.0].compactions.get_or_insert(0) += times;
    }

    /// Adds tokens of a run whose log does not say which call of the model had them. Where a step has some, these are not counted.
    pub fn total(&mut self, usage: Usage) {
        if let Some(name) = usage.odd {
            let place = self.place.as_ref().map(|(file, line)| (file.as_str(), *line));
            self.report.partial(ODD, odd(name), place);
        }
        if usage.prompt() == 0 && usage.output == 0 {
            return;
        }
        let whole = self.whole.get_or_insert_default();
        for (to, more) in [
            (&mut whole.input, usage.input),
            (&mut whole.cache_read, usage.cache_read),
            (&mut whole.cache_write, usage.cache_write),
            (&mut whole.output, usage.output),
        ] {
            *to = to.saturating_add(more);
        }
    }

    pub fn steps(&self, track: Track) -> usize {
        let of = &self.conversations[track.0];
        of.places.len()
    }

    /// Keeps a record that no reader knows, with its words: some of them, for a person to look at.
    pub fn unread<'b>(&mut self, track: Track, record: impl Iterator<Item = (&'b str, &'b RawValue)>) {
        if self.unread_bytes > MOST_UNREAD {
            return;
        }
        let mut kept = Extra::default();
        for (key, value) in record {
            self.unread_bytes += key.len() + value.get().len();
            if self.unread_bytes > MOST_UNREAD {
                self.report.note("unknown-left-out", "not all unknown records are kept in `extra`", None);
                return;
            }
            kept.set(key, Json::of(value));
        }
        self.conversations[track.0].unread.push(kept);
    }

    /// Adds a step.
    pub fn push(&mut self, track: Track, step: Step) -> io::Result<At> {
        self.add(track, None, step)
    }

    /// Returns the step of this key, such as the id of a model's answer; where it is not held, a new one.
    pub fn keyed(&mut self, track: Track, key: &str, step: impl FnOnce() -> Step) -> io::Result<At> {
        match self.conversations[track.0].keys.get(key) {
            Some(index) => Ok(At { track, index: *index }),
            None => self.add(track, Some(key.to_owned()), step()),
        }
    }

    /// Returns the last step of a conversation, where it is held.
    pub fn last(&self, track: Track) -> Option<At> {
        let index = self.conversations[track.0].held.last_key_value()?.0;
        Some(At { track, index: *index })
    }

    fn add(&mut self, track: Track, key: Option<String>, mut step: Step) -> io::Result<At> {
        let of = &mut self.conversations[track.0];
        let index = of.places.len();
        step.step_id = index + 1;
        of.places.push(Place { offset: 0, length: 0 });
        if let Some(key) = &key {
            of.keys.insert(key.clone(), index);
        }
        let size = step.size();
        of.held_bytes += size;
        of.held.insert(index, Held { step, pending: 0, key, size });
        self.settle(track)?;
        Ok(At { track, index })
    }

    /// Returns a step while it is held.
    pub fn step(&mut self, at: At) -> Option<&mut Step> {
        self.conversations[at.track.0].held.get_mut(&at.index).map(|held| &mut held.step)
    }

    /// Adds a call to a step that is held; to a new one, otherwise.
    pub fn call(&mut self, at: At, call: ToolCall) -> io::Result<At> {
        let mut at = at;
        if !self.conversations[at.track.0].held.contains_key(&at.index) {
            self.report.note("late-call", "a call came long after its step", None);
            at = self.push(at.track, Step::agent(None))?;
        }
        let of = &mut self.conversations[at.track.0];
        if let Some(held) = of.held.get_mut(&at.index) {
            let size = call.arguments.get().len() + 128;
            held.size += size;
            of.held_bytes += size;
            if !call.tool_call_id.is_empty() {
                held.pending += 1;
                of.calls.insert(call.tool_call_id.clone(), (at.index, true));
            }
            held.step.tool_calls.push(call);
        }
        Ok(at)
    }

    /// Returns the step of a call that waits for its answer.
    pub fn waiting(&self, track: Track, call: &str) -> Option<At> {
        let found = self.conversations[track.0].calls.get(call).filter(|(_, waits)| *waits);
        found.map(|(index, _)| At { track, index: *index })
    }

    /// Puts the answer of a tool to its call. Where there is none, it is kept beside the conversation: nothing is lost.
    pub fn answer(
        &mut self,
        track: Track,
        call: &str,
        mut result: ObservationResult,
        timestamp: Option<&str>,
    ) -> io::Result<At> {
        let of = &mut self.conversations[track.0];
        let size = result.content.as_ref().map_or(0, super::step::Content::size) + 128;
        let known = of.calls.get_mut(call).map(|(index, waits)| (*index, std::mem::take(waits)));
        if let Some((index, waited)) = known
            && let Some(held) = of.held.get_mut(&index)
        {
            if waited {
                held.pending = held.pending.saturating_sub(1);
            }
            result.source_call_id = Some(call.to_owned());
            held.step.observe(result);
            held.size += size;
            of.held_bytes += size;
            let at = At { track, index };
            self.settle(track)?;
            return Ok(at);
        }
        self.report.note("orphan-result", format!("there is no call `{call}` for an answer"), None);
        let mut step = Step::system(timestamp, "");
        result.extra.put("call_id", call);
        step.observe(result);
        self.push(track, step)
    }

    /// Says that an answer is the work of a sub-agent.
    pub fn refer(&mut self, at: At, call: &str, id: &str) {
        if let Some(step) = self.step(at) {
            let results = step.observation.iter_mut().flat_map(|observation| &mut observation.results);
            if let Some(result) = results.rev().find(|result| result.source_call_id.as_deref() == Some(call))
                && !result.subagent_trajectory_ref.iter().any(|known| known.trajectory_id == id)
            {
                result.subagent_trajectory_ref.push(SubagentRef { trajectory_id: id.to_owned() });
            }
        }
    }

    /// Keeps a picture beside the document; `None`, with a reason in the report, where it is none.
    pub fn picture(&mut self, media_type: &str, base64: &str) -> io::Result<Option<Part>> {
        let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(base64.trim()) else {
            self.report.partial("picture", format!("a picture of type `{media_type}` is left out"), None);
            return Ok(None);
        };
        self.picture_bytes(media_type, &bytes)
    }

    /// The same for one whose bytes are there.
    pub fn picture_bytes(&mut self, media_type: &str, bytes: &[u8]) -> io::Result<Option<Part>> {
        let Some(media_type) = PICTURES.iter().find(|known| **known == media_type) else {
            self.report.partial("picture", format!("a picture of type `{media_type}` is left out"), None);
            return Ok(None);
        };
        let path = self.images.keep(media_type, bytes)?;
        Ok(Some(Part::Image { source: ImageSource { media_type, path } }))
    }

    /// The same for a URL that holds its data.
    pub fn picture_of_url(&mut self, url: &str) -> io::Result<Option<Part>> {
        if let Some((media_type, data)) =
            url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"))
        {
            return self.picture(media_type, data);
        }
        let shown: String = url.chars().take(100).collect();
        self.report.partial("picture", format!("a picture is not in the log: `{shown}`"), None);
        Ok(None)
    }

    /// Puts down what will hardly change any more.
    fn settle(&mut self, track: Track) -> io::Result<()> {
        loop {
            let of = &self.conversations[track.0];
            let is_many = of.held.len() > HELD || of.held_bytes > MOST_BYTES / 8;
            if !is_many || of.held.len() < 3 {
                return Ok(());
            }
            // The newest two are what is being read.
            let old = of.held.len() - 2;
            let answered = of.held.iter().take(old).find(|(_, held)| held.pending == 0);
            let is_too_much = of.held.len() > MOST_HELD || of.held_bytes > MOST_BYTES;
            let first = of.held.iter().next().filter(|_| is_too_much);
            let Some((index, _)) = answered.or(first) else { return Ok(()) };
            let index = *index;
            self.put_down(track, index)?;
        }
    }

    fn put_down(&mut self, track: Track, index: usize) -> io::Result<()> {
        let of = &mut self.conversations[track.0];
        let Some(held) = of.held.remove(&index) else { return Ok(()) };
        of.held_bytes = of.held_bytes.saturating_sub(held.size);
        if let Some(key) = &held.key {
            of.keys.remove(key);
        }
        let mut step = held.step;
        for call in &step.tool_calls {
            if of.calls.get(&call.tool_call_id).is_some_and(|(of, _)| *of == index) {
                of.calls.remove(&call.tool_call_id);
            }
        }
        of.sums.unanswered += held.pending as u64;
        if step.source == super::step::Source::Agent {
            of.sums.agent_steps += 1;
        }
        of.sums.answers += u64::from(step.llm_call_count.unwrap_or(0));
        if step.llm_call_count == Some(0) {
            (step.usage, step.metrics, step.reasoning_content) = (None, None, None);
        }
        if let Some(name) = step.usage.and_then(|usage| usage.odd) {
            let source =
                step.extra.get("src").and_then(|source| serde_json::from_str::<String>(source.get()).ok());
            let place = source.as_ref().map(|source| place_in(source));
            self.report.partial(ODD, odd(name), place);
            // Zeros that no log has are none.
            step.usage = step.usage.filter(|usage| usage.prompt() > 0 || usage.output > 0);
        }
        if let Some(usage) = step.usage {
            let model =
                step.model_name.as_deref().or(of.head.model.as_deref()).or(self.about.model.as_deref());
            let cost = usage.cost.or_else(|| self.prices.cost(model?, &usage));
            of.sums.add(&usage, cost);
            let metrics = step.metrics.get_or_insert_default();
            metrics.fill(&usage, cost);
        }
        if let Some(text) = step.timestamp.take_if(|text| !time::is_iso(text)) {
            self.report.note("timestamp", "a time is none of ISO 8601: it is in `extra`", None);
            step.extra.put("timestamp_text", text);
        }
        if let Some(time) = &step.timestamp {
            // The same program writes them all: texts of one form are in the order of the times. Parts of a second tell nothing, for
            // records are not written in the order in which they are made.
            let before = of.last_time.as_ref().filter(|before| before.len() == time.len());
            if before.is_some_and(|before| before.get(..19) > time.get(..19)) {
                self.report.note("clock", "a step is older than the one before", None);
            }
            of.last_time = Some(time.clone());
        }
        self.text.clear();
        serde_json::to_writer_pretty(&mut self.text, &step)?;
        self.spool.write_all(&self.text)?;
        of.places[index] = Place { offset: self.end, length: self.text.len() as u64 };
        self.end += self.text.len() as u64;
        Ok(())
    }

    /// Puts down all that is held.
    pub(super) fn put_down_all(&mut self) -> io::Result<()> {
        for number in 0..self.conversations.len() {
            while let Some((index, _)) = self.conversations[number].held.first_key_value() {
                let index = *index;
                self.put_down(Track(number), index)?;
            }
        }
        Ok(())
    }
}

/// The code of a number of tokens that is none.
const ODD: &str = "token-count";

fn odd(name: &str) -> String {
    format!("`{name}` is no number of tokens that can be, and counts as none")
}

/// Returns the file and the line of what a reader has written as `file:line`.
fn place_in(source: &str) -> (&str, u64) {
    let parts = source.rsplit_once(':').and_then(|(file, line)| Some((file, line.parse().ok()?)));
    parts.unwrap_or((source, 0))
}

impl Sums {
    pub(super) fn add(&mut self, usage: &Usage, cost: Option<f64>) {
        let sum = |to: &mut u64, more: u64| *to = to.saturating_add(more).min(MOST_COUNT);
        sum(&mut self.prompt, usage.prompt());
        sum(&mut self.completion, usage.output);
        sum(&mut self.cached, usage.cache_read);
        sum(&mut self.cache_write, usage.cache_write);
        self.measured += 1;
        self.peak = self.peak.max(usage.prompt());
        match cost.filter(|cost| cost.is_finite()) {
            Some(cost) => {
                self.cost += cost;
                self.priced += 1;
            }
            None => self.unpriced += u64::from(usage.prompt() + usage.output > 0),
        }
    }

    /// Adds those of another conversation.
    pub fn join(&mut self, other: &Sums) {
        let sum = |to: &mut u64, more: u64| *to = to.saturating_add(more).min(MOST_COUNT);
        sum(&mut self.prompt, other.prompt);
        sum(&mut self.completion, other.completion);
        sum(&mut self.cached, other.cached);
        sum(&mut self.cache_write, other.cache_write);
        self.cost += other.cost;
        self.priced += other.priced;
        self.unpriced += other.unpriced;
        self.measured += other.measured;
        self.unanswered += other.unanswered;
    }
}

impl Metrics {
    fn fill(&mut self, usage: &Usage, cost: Option<f64>) {
        self.prompt_tokens = Some(usage.prompt());
        self.completion_tokens = Some(usage.output);
        self.cached_tokens = Some(usage.cache_read);
        self.cost_usd = cost.filter(|cost| cost.is_finite());
    }
}
