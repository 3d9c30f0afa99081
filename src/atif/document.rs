//! A draft as the text of a document, a step at a time.

use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom, Write};

use serde::Serialize;
use serde_json::json;

use super::draft::{Draft, MAIN, Place, Sums, Track};
use super::raw::Extra;
use super::report::{Report, Run, Status};
use crate::util::text::counted;

/// How much of the steps that were put down is read at once, in bytes.
const READ: usize = 64 << 10;

/// What a document comes to, for those who need not read it again.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub session: Option<String>,
    pub version: String,
    pub model: Option<String>,
    pub steps: usize,
    pub agent_steps: u64,
    /// Answers of models, those of sub-agents included.
    pub calls: u64,
    pub subagents: usize,
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    pub cached_tokens: Option<u64>,
    pub cost_usd: Option<f64>,
    /// `agent`, or the table of prices that was used.
    pub cost_source: Option<String>,
    pub peak_context_tokens: Option<u64>,
    pub summarization_count: Option<u64>,
}

impl Draft<'_> {
    /// Writes the document, in this version of the format. `None` where there is no step: then nothing is written, and the report
    /// says that it failed.
    pub fn finish(mut self, version: &str, out: &mut dyn Write) -> io::Result<(Report, Option<Summary>)> {
        self.put_down_all()?;
        self.promote();
        if self.conversations[0].places.is_empty() {
            self.report.status = Status::Failed;
            self.report.note("empty", "there is nothing of a conversation in these logs", None);
            return Ok((self.report, None));
        }
        if self.report.run == Run::Interrupted {
            self.report.partial("ends-early", "the log ends before the agent did", None);
        }
        if self.report.run == Run::Running {
            self.report.partial("still-running", "the agent goes on: this is what it has done so far", None);
        }
        let unanswered: u64 = self.conversations.iter().map(|of| of.sums.unanswered).sum();
        if unanswered > 0 {
            let text = counted(unanswered, "call has no answer", "calls have no answer");
            self.report.note("unanswered-calls", text, None);
        }
        let summary = self.summary();
        let report = std::mem::take(&mut self.report);
        self.write(MAIN, version, &summary, Some(&report), out, 0)?;
        out.write_all(b"\n")?;
        Ok((report, Some(summary)))
    }

    /// Where only a sub-agent's log was found, it is the document.
    fn promote(&mut self) {
        if !self.conversations[0].places.is_empty() {
            return;
        }
        if let Some(number) = self.conversations.iter().position(|of| !of.places.is_empty()) {
            self.report.partial("main-missing", "the log of the agent that was asked is not there", None);
            self.conversations.swap(0, number);
            self.conversations[number].id = self.conversations[0].id.take();
            for of in &mut self.conversations {
                of.parent = MAIN;
            }
        }
    }

    fn all(&self) -> Sums {
        let mut sums = self.conversations[0].sums;
        for of in &self.conversations[1..] {
            sums.join(&of.sums);
        }
        if let Some(whole) = self.whole.as_ref().filter(|_| sums.measured == 0) {
            let model = self.conversations[0].head.model.as_deref().or(self.about.model.as_deref());
            let cost = model.and_then(|model| self.prices.cost(model, whole));
            sums.add(whole, cost);
        }
        sums
    }

    fn summary(&mut self) -> Summary {
        let sums = self.all();
        let main = &self.conversations[0];
        let measured = (sums.measured > 0).then_some(());
        let (cost_usd, cost_source) = match self.cost.filter(|cost| cost.is_finite()) {
            Some(cost) => (Some(cost), Some("agent".to_owned())),
            None if sums.priced > 0 && sums.unpriced == 0 => {
                (Some(sums.cost), Some(self.prices.source.clone()))
            }
            None => (None, None),
        };
        if cost_usd.is_none() && sums.unpriced > 0 {
            let text =
                counted(sums.unpriced, "step has tokens and no price", "steps have tokens and no price");
            self.report.note("price", text, None);
        }
        Summary {
            session: main.head.session.clone(),
            version: (main.head.version.clone().or(self.about.version.clone()))
                .unwrap_or_else(|| "unknown".to_owned()),
            model: main.head.model.clone().or(self.about.model.clone()),
            steps: main.places.len(),
            agent_steps: main.sums.agent_steps,
            calls: self.conversations.iter().map(|of| of.sums.answers).sum(),
            subagents: self.conversations.iter().skip(1).filter(|of| !of.places.is_empty()).count(),
            prompt_tokens: measured.map(|()| sums.prompt),
            completion_tokens: measured.map(|()| sums.completion),
            cached_tokens: measured.map(|()| sums.cached),
            cost_usd,
            cost_source,
            peak_context_tokens: (main.sums.peak > 0).then_some(main.sums.peak),
            summarization_count: main.compactions,
        }
    }

    /// Writes one conversation, and within it those of the sub-agents that it asked.
    fn write(
        &mut self,
        track: Track,
        version: &str,
        summary: &Summary,
        report: Option<&Report>,
        out: &mut dyn Write,
        indent: usize,
    ) -> io::Result<()> {
        let number = track.number();
        let of = &self.conversations[number];
        let is_main = report.is_some();
        let mut fields = Fields { out, indent: indent + 2, first: true };
        fields.open()?;
        fields.put("schema_version", &version)?;
        if let Some(session) = of.head.session.as_ref().or(summary.session.as_ref()) {
            fields.put("session_id", session)?;
        }
        if let Some(id) = of.id.as_ref().filter(|_| !is_main) {
            fields.put("trajectory_id", id)?;
        }
        fields.put("agent", &self.agent(number, summary))?;
        fields.key("steps")?;
        let places = of.places.clone();
        self.write_steps(&places, fields.out, indent)?;
        fields.put("final_metrics", &self.metrics(number, summary, is_main))?;
        let of = &self.conversations[number];
        let mut extra = of.head.extra.clone();
        if !of.unread.is_empty() {
            extra.list("unknown_records", &of.unread);
        }
        if let Some(report) = report {
            let conversion = json!({
                "converter": concat!("pier ", env!("CARGO_PKG_VERSION")),
                "status": report.status,
                "reasons": report.reasons,
                "counts": report.counts,
                "records": report.records,
                "unknown": report.unknown,
            });
            extra.put("run", serde_json::to_value(&report.run)?);
            extra.put("conversion", conversion);
        }
        if !extra.is_empty() {
            fields.put("extra", &extra)?;
        }
        let is_child = |child: usize| {
            let of = &self.conversations[child];
            child != 0 && child != number && of.parent.number() == number && of.id.is_some()
        };
        let children: Vec<usize> = (0..self.conversations.len()).filter(|child| is_child(*child)).collect();
        if !children.is_empty() {
            fields.key("subagent_trajectories")?;
            fields.out.write_all(b"[")?;
            for (place, child) in children.iter().enumerate() {
                if place > 0 {
                    fields.out.write_all(b",")?;
                }
                write!(fields.out, "\n{:indent$}", "", indent = indent + 4)?;
                self.write(Track::of(*child), version, summary, None, fields.out, indent + 4)?;
            }
            write!(fields.out, "\n{:indent$}]", "", indent = indent + 2)?;
        }
        fields.close()
    }

    fn agent(&self, number: usize, summary: &Summary) -> Extra {
        let of = &self.conversations[number];
        let mut agent = Extra::default();
        agent.put("name", self.about.agent.clone());
        agent.put("version", of.head.version.as_ref().unwrap_or(&summary.version).clone());
        if let Some(model) = of.head.model.as_ref().or(summary.model.as_ref()) {
            agent.put("model_name", model.clone());
        }
        let mut extra = of.head.agent.clone();
        if let Some(name) = &of.name {
            extra.put("subagent", name.clone());
        }
        agent.nest("extra", &extra);
        agent
    }

    fn write_steps(&mut self, places: &[Place], out: &mut dyn Write, indent: usize) -> io::Result<()> {
        out.write_all(b"[")?;
        // A sub-agent that was named and never spoke.
        if places.is_empty() {
            let step = super::step::Step { step_id: 1, ..super::step::Step::system(None, "") };
            write!(out, "\n{:indent$}", "", indent = indent + 4)?;
            indented(&serde_json::to_vec_pretty(&step)?, indent + 4, out)?;
        }
        self.spool.flush()?;
        // Steps of one conversation are mostly in their order.
        let mut spool = BufReader::with_capacity(READ, &mut **self.spool.get_mut());
        let mut at = spool.seek(SeekFrom::Start(places.first().map_or(0, |place| place.offset)))?;
        let mut text = Vec::new();
        for (number, place) in places.iter().enumerate() {
            if number > 0 {
                out.write_all(b",")?;
            }
            write!(out, "\n{:indent$}", "", indent = indent + 4)?;
            spool.seek_relative(place.offset.cast_signed() - at.cast_signed())?;
            text.clear();
            (&mut spool).take(place.length).read_to_end(&mut text)?;
            at = place.offset + place.length;
            indented(&text, indent + 4, out)?;
        }
        write!(out, "\n{:indent$}]", "", indent = indent + 2)
    }

    fn metrics(&self, number: usize, summary: &Summary, is_main: bool) -> Extra {
        let of = &self.conversations[number];
        let sums = if is_main { self.all() } else { of.sums };
        let mut totals = Extra::default();
        if sums.measured > 0 {
            totals.put("total_prompt_tokens", sums.prompt);
            totals.put("total_completion_tokens", sums.completion);
            totals.put("total_cached_tokens", sums.cached);
        }
        let own = (sums.priced > 0 && sums.unpriced == 0).then_some(sums.cost);
        if let Some(cost) = if is_main { summary.cost_usd } else { own } {
            totals.put("total_cost_usd", cost);
        }
        totals.put("total_steps", of.places.len().max(1));
        let mut extra = Extra::default();
        if sums.cache_write > 0 {
            extra.put("total_cache_creation_input_tokens", sums.cache_write);
        }
        if of.sums.peak > 0 {
            extra.put("peak_context_tokens", of.sums.peak);
        }
        if let Some(times) = of.compactions {
            extra.put("summarization_count", times);
            if times > 0 {
                extra.put("compacted", true);
            }
        }
        if is_main {
            if let Some(source) = &summary.cost_source {
                extra.put("cost_source", source.clone());
            }
            if summary.subagents > 0 {
                let own = self.conversations[0].sums;
                extra.put("subagents", summary.subagents);
                extra.put("subagent_prompt_tokens", sums.prompt - own.prompt);
                extra.put("subagent_completion_tokens", sums.completion - own.completion);
            }
        }
        extra.append(of.head.totals.clone());
        totals.nest("extra", &extra);
        totals
    }
}

/// An object that is written a field at a time.
struct Fields<'a> {
    out: &'a mut dyn Write,
    indent: usize,
    first: bool,
}

impl Fields<'_> {
    fn open(&mut self) -> io::Result<()> {
        self.out.write_all(b"{")
    }

    fn key(&mut self, key: &str) -> io::Result<()> {
        let comma = if self.first { "" } else { "," };
        self.first = false;
        write!(self.out, "{comma}\n{:indent$}\"{key}\": ", "", indent = self.indent)
    }

    fn put(&mut self, key: &str, value: &impl Serialize) -> io::Result<()> {
        self.key(key)?;
        indented(&serde_json::to_vec_pretty(value)?, self.indent, self.out)
    }

    fn close(&mut self) -> io::Result<()> {
        write!(self.out, "\n{:indent$}}}", "", indent = self.indent - 2)
    }
}

/// Writes a text whose lines begin further right; in strings of JSON there is no end of a line.
fn indented(text: &[u8], indent: usize, out: &mut dyn Write) -> io::Result<()> {
    let margin = format!("\n{:indent$}", "");
    let mut from = 0;
    for end in memchr::memchr_iter(b'\n', text) {
        out.write_all(&text[from..end])?;
        out.write_all(margin.as_bytes())?;
        from = end + 1;
    }
    out.write_all(&text[from..])
}
