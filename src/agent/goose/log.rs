//! Sessions of goose: its database, the files of a line each message that older releases wrote, what it exports, and what a headless
//! run prints.

use std::io;

use camino::Utf8Path;
use serde_json::value::RawValue;

use super::messages::Messages;
use crate::agent::log::{self, Converter, Logs, named, whole};
use crate::atif::draft::{Draft, MAIN, Track};
use crate::atif::fields::{Fields, Odd};
use crate::atif::raw::Json;
use crate::atif::report::Run;
use crate::atif::step::Usage;

pub struct Log;

/// What a file is, from the best to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Database,
    Lines,
    Export,
    Printed,
}

/// Parts of messages that no other agent has.
fn is_own(message: &Fields<'_>) -> bool {
    message.objects("content").iter().any(|part| {
        matches!(&*part.text("type").unwrap_or_default(), "toolRequest" | "toolResponse")
            || part.is("type", "text") && message.has("created")
            || part.is("type", "thinking") && message.has("created")
    })
}

fn kind(path: &Utf8Path, head: &str) -> Option<Kind> {
    if head.starts_with(named::MAGIC) {
        let has = |name| head.contains(name);
        // Its list of tables may be on later pages, or in the write-ahead log alone.
        let is_own = has("content_json") && has("created_timestamp");
        let is_named = path.file_name() == Some("sessions.db") && path.iter().any(|part| part == "goose");
        return (is_own || is_named).then_some(Kind::Database);
    }
    for line in head.lines().filter(|line| line.starts_with('{')).take(16) {
        let Ok(record) = Fields::parse(line) else { continue };
        let message = record.object("message").unwrap_or_default();
        if record.is("type", "message") && is_own(&message)
            || record.is("type", "complete") && record.has("total_tokens")
        {
            return Some(Kind::Printed);
        }
        if record.has("working_dir") && record.has("message_count") && !record.has("conversation") {
            return Some(Kind::Lines);
        }
    }
    // One value, which may be longer than what is seen of it.
    let has = |word: &str| head.contains(word);
    if head.trim_start().starts_with('{')
        && (has("\"toolRequest\"") || has("\"created\""))
        && (has("\"conversation\"") && has("\"working_dir\"")
            || has("\"messages\"") && has("\"toolRequest\""))
    {
        return Some(Kind::Export);
    }
    (path.file_name() == Some("goose.txt")).then_some(Kind::Printed)
}

impl Converter for Log {
    fn is_log(&self, path: &Utf8Path, head: &str) -> bool {
        kind(path, head).is_some()
    }

    fn convert(&self, logs: &dyn Logs, draft: &mut Draft<'_>) -> io::Result<()> {
        let files = log::by_kind(logs, kind);
        let best = files.first().map(|(kind, _)| *kind);
        let mut reader = Reader::default();
        for (kind, index) in files {
            let name = logs.files()[index].path.as_str();
            match kind {
                Kind::Printed => {
                    let beside = best != Some(Kind::Printed);
                    log::each_printed(logs, index, draft, |draft, event, line| {
                        reader.event(event, beside, draft, &format!("{name}:{line}"))
                    })?;
                }
                // What is exported is in the database as well.
                Kind::Export if best != Some(Kind::Export) => {}
                Kind::Lines if best != Some(Kind::Lines) => {}
                Kind::Database => reader.database(logs, index, draft)?,
                Kind::Lines => {
                    log::each_record(logs, index, draft, |draft, record, line| {
                        if record.has("role") {
                            return reader.messages.add(record, MAIN, draft, &format!("{name}:{line}"));
                        }
                        session(record, MAIN, draft);
                        Ok(())
                    })?;
                }
                Kind::Export => reader.export(logs, index, draft)?,
            }
        }
        draft.report.run = match reader.run.take() {
            Some(run) => run,
            None => reader.messages.outcome(draft),
        };
        Ok(())
    }
}

#[derive(Default)]
struct Reader {
    messages: Messages,
    run: Option<Run>,
}

impl Reader {
    /// Reads an event that was printed; `beside` says that the conversation itself is read elsewhere.
    fn event(
        &mut self,
        event: &Fields<'_>,
        beside: bool,
        draft: &mut Draft<'_>,
        source: &str,
    ) -> io::Result<()> {
        let kind = event.text("type").unwrap_or_default();
        draft.report.count(&kind);
        match &*kind {
            "message" if beside => {}
            "message" => {
                let message = event.object("message").unwrap_or_default();
                self.messages.add(&message, MAIN, draft, source)?;
            }
            "error" => {
                let said = event.owned("error").unwrap_or_else(|| "no reason is given".to_owned());
                if !beside {
                    self.messages.failure(&said, draft, source)?;
                }
                self.run = Some(Run::Failed(said));
            }
            "complete" => {
                if !matches!(self.run, Some(Run::Failed(_))) {
                    self.run = Some(self.messages.failed.clone().map_or(Run::Finished, Run::Failed));
                }
                complete(event, draft);
            }
            "notification" | "model_change" => {}
            unknown if !beside => {
                draft.report.unknown(unknown);
                draft.unread(MAIN, event.iter());
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads a session that was exported, or the answer of a run that prints one value.
    fn export(&mut self, logs: &dyn Logs, index: usize, draft: &mut Draft<'_>) -> io::Result<()> {
        let name = logs.files()[index].path.as_str();
        let key = if logs.head(index).contains("\"conversation\"") { "conversation" } else { "messages" };
        whole::each_element(logs, index, key, draft, |draft, fields, messages| {
            session(fields, MAIN, draft);
            let metadata = fields.object("metadata").unwrap_or_default();
            complete(&metadata, draft);
            for message in messages {
                self.messages.add(&Fields::of(message).unwrap_or_default(), MAIN, draft, name)?;
            }
            Ok(())
        })
    }

    /// Reads the sessions of a database, the oldest first.
    fn database(&mut self, logs: &dyn Logs, index: usize, draft: &mut Draft<'_>) -> io::Result<()> {
        let path = &logs.files()[index].path;
        let Some(database) = named::open(logs, index, draft) else { return Ok(()) };
        let mut sessions: Vec<named::Row> = Vec::new();
        let mut whole = database.rows("sessions", |row| sessions.push(row));
        sessions.sort_by(|one, other| one.text("created_at").cmp(&other.text("created_at")));
        let mut messages: Vec<named::Row> = Vec::new();
        whole &= database.rows("messages", |row| messages.push(row));
        if !whole {
            let text = "not all of the database can be read";
            draft.report.partial("unreadable-file", text, Some((path.as_str(), 0)));
        }
        draft.compacted(MAIN, 0);
        for session in &sessions {
            let id = session.text("id").unwrap_or_default();
            let is_recent = |message: &named::Row| message.is_since("created_timestamp", logs.since());
            let mut own = messages.iter().filter(|message| message.text("session_id") == Some(id));
            if !logs.takes(id) || logs.since().is_some() && !own.any(is_recent) {
                continue;
            }
            draft.report.conversation(id);
            let is_sub = session.text("session_type") == Some("sub_agent");
            let track = if is_sub { draft.sub(MAIN, id) } else { MAIN };
            self.messages.begin();
            let head = draft.head(track);
            head.session = head.session.take().or_else(|| Some(id.to_owned()));
            if let Some(directory) = session.text("working_dir") {
                head.agent.put("working_dir", directory);
            }
            if let Some(provider) = session.text("provider_name") {
                head.agent.put("provider", provider);
            }
            let config = session.text("model_config_json").and_then(|text| Fields::parse(text).ok());
            head.model = head.model.take().or_else(|| config?.owned("model_name"));
            for message in messages.iter().filter(|message| message.text("session_id") == Some(id)) {
                self.row(message, track, draft, &format!("{path}:{id}"))?;
            }
            if !is_sub {
                totals(session, draft);
            }
        }
        Ok(())
    }

    fn row(&mut self, row: &named::Row, track: Track, draft: &mut Draft<'_>, source: &str) -> io::Result<()> {
        // As the other forms have it.
        let json =
            |column: &str| row.text(column).filter(|text| serde_json::from_str::<&RawValue>(text).is_ok());
        let message = format!(
            "{{\"id\":{},\"role\":{},\"created\":{},\"content\":{},\"metadata\":{}}}",
            row.text("message_id").map_or_else(|| "null".to_owned(), |id| Json::text(id).get().to_owned()),
            Json::text(row.text("role").unwrap_or_default()).get(),
            row.whole("created_timestamp").map_or_else(|| "null".to_owned(), |time| time.to_string()),
            json("content_json").unwrap_or("null"),
            json("metadata_json").unwrap_or("null"),
        );
        match Fields::parse(&message) {
            Ok(message) => self.messages.add(&message, track, draft, source),
            Err(_) => Ok(()),
        }
    }
}

/// Takes what a session says of itself.
fn session(fields: &Fields<'_>, track: Track, draft: &mut Draft<'_>) {
    let head = draft.head(track);
    head.session = head.session.take().or_else(|| fields.owned("id"));
    for (key, name) in
        [("working_dir", "working_dir"), ("description", "description"), ("name", "session_name")]
    {
        head.agent.take(name, fields.get(key));
    }
    let config = fields.object("model_config");
    head.model = head.model.take().or_else(|| config?.owned("model_name"));
    let odd = Odd::default();
    let count = |key: &'static str| fields.tokens(key, &odd);
    let (input, output) = (count("accumulated_input_tokens"), count("accumulated_output_tokens"));
    if let (Some(input), Some(output)) = (input, output) {
        draft.total(Usage { input, output, ..Usage::default() });
    } else {
        draft.total(Usage { odd: odd.name(), ..Usage::default() });
    }
}

/// The same for the row of one.
fn totals(row: &named::Row, draft: &mut Draft<'_>) {
    let columns = ["accumulated_input_tokens", "accumulated_output_tokens"];
    let odd = columns.into_iter().find(|column| row.whole(column).is_some_and(|count| count < 0));
    let [input, output] = columns.map(|column| row.whole(column).and_then(|count| u64::try_from(count).ok()));
    let (input, output) = input.zip(output).unwrap_or_default();
    draft.total(Usage { input, output, odd, ..Usage::default() });
    if let Some(cost) = row.real("accumulated_cost").filter(|cost| cost.is_finite() && *cost > 0.0) {
        draft.cost = Some(draft.cost.unwrap_or(0.0) + cost);
    }
}

/// Takes what a run says at its end.
fn complete(event: &Fields<'_>, draft: &mut Draft<'_>) {
    if let Some(usage) = super::messages::usage(event) {
        draft.total(usage);
    }
    draft.head(MAIN).totals.take("total_tokens", event.get("total_tokens"));
    if let Some(cost) = event.float("cost_usd").filter(|cost| *cost >= 0.0) {
        draft.cost = Some(draft.cost.unwrap_or(0.0) + cost);
    }
}
