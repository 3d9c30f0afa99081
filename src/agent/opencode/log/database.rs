//! The database in which newer versions keep their sessions: the rows of three tables, of which `opencode export` prints what is
//! read here.

use std::collections::{BTreeMap, HashSet};
use std::io;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::parts::Speaker;
use super::{Reader, Session, take_head};
use crate::agent::log::Logs;
use crate::agent::log::rows::{Record, Tables};
use crate::atif::draft::{Draft, Track};
use crate::atif::fields::Fields;
use crate::util::sqlite::Place;

/// The longest name of a record, in bytes; they have some thirty.
const LONGEST_ID: usize = 200;

/// How much of one message is read, in bytes.
const MOST_OF_ONE: usize = 1 << 30;

/// A session of a database.
pub struct Stored {
    /// Of the database in the list of logs.
    index: usize,
    /// Of its row, where that can be read.
    place: Option<Place>,
    /// In milliseconds.
    pub updated: i64,
    messages: Vec<Message>,
}

struct Message {
    created: i64,
    id: String,
    place: Place,
    /// With their names, which are in the order in which they were made.
    parts: Vec<(String, Place)>,
}

/// Finds the sessions of a database that were changed since the logs are somebody's.
pub fn sessions(logs: &dyn Logs, index: usize, draft: &mut Draft<'_>) -> io::Result<Vec<Session>> {
    let Some(tables) = Tables::open(logs, index, draft) else { return Ok(Vec::new()) };
    let since = logs.since().unwrap_or(i64::MIN);
    let mut found: BTreeMap<String, (Stored, Option<String>, u64)> = BTreeMap::new();
    let mut older = HashSet::new();
    tables.each("session", draft, |draft, row| {
        let Some(id) = name(row, "id") else {
            nameless(draft, "session", &tables);
            return Ok(());
        };
        let updated = row.integer("time_updated");
        if updated.is_some_and(|updated| updated < since) {
            older.insert(id.to_owned());
            return Ok(());
        }
        let updated = updated.unwrap_or(0);
        let stored = Stored { index, place: Some(row.place()), updated, messages: Vec::new() };
        let created = row.integer("time_created").and_then(|created| u64::try_from(created).ok());
        let parent = name(row, "parent_id").map(str::to_owned);
        found.insert(id.to_owned(), (stored, parent, created.unwrap_or(0)));
        Ok(())
    })?;
    let mut places: BTreeMap<String, (String, usize)> = BTreeMap::new();
    tables.each("message", draft, |draft, row| {
        let (Some(id), Some(session)) = (name(row, "id"), name(row, "session_id")) else {
            nameless(draft, "message", &tables);
            return Ok(());
        };
        if older.contains(session) {
            return Ok(());
        }
        // Where the row of a session is broken, its messages are there all the same.
        let (stored, ..) = found
            .entry(session.to_owned())
            .or_insert_with(|| (Stored { index, place: None, updated: 0, messages: Vec::new() }, None, 0));
        let created = row.integer("time_created").unwrap_or(0);
        places.insert(id.to_owned(), (session.to_owned(), stored.messages.len()));
        stored.messages.push(Message { created, id: id.to_owned(), place: row.place(), parts: Vec::new() });
        Ok(())
    })?;
    tables.each("part", draft, |draft, row| {
        let (Some(id), Some(message)) = (name(row, "id"), name(row, "message_id")) else {
            nameless(draft, "part", &tables);
            return Ok(());
        };
        let place = places.get(message).and_then(|(session, at)| Some((found.get_mut(session)?, *at)));
        let Some(((stored, ..), at)) = place else {
            if name(row, "session_id").is_some_and(|session| found.contains_key(session)) {
                let text = format!("the message `{message}` of some parts is not there");
                draft.report.partial("orphan-parts", text, Some(tables.at()));
            }
            return Ok(());
        };
        stored.messages[at].parts.push((id.to_owned(), row.place()));
        Ok(())
    })?;
    if !older.is_empty() {
        let text = format!("{} sessions are older than the run, and are not part of it", older.len());
        draft.report.note("older-sessions", text, Some(tables.at()));
    }
    let sessions = found.into_iter().map(|(id, (mut stored, parent, created))| {
        stored.messages.sort_by(|one, other| (one.created, &one.id).cmp(&(other.created, &other.id)));
        for message in &mut stored.messages {
            message.parts.sort_by(|one, other| one.0.cmp(&other.0));
        }
        Session { id, parent, created, place: super::Place::Database(stored) }
    });
    Ok(sessions.collect())
}

fn nameless(draft: &mut Draft<'_>, table: &str, tables: &Tables) {
    let text = format!("a row of `{table}` does not say what it belongs to");
    draft.report.partial("unreadable-record", text, Some(tables.at()));
}

/// Returns a name, all of which are in memory at once.
fn name<'a>(row: &'a Record<'_>, column: &str) -> Option<&'a str> {
    row.text(column).filter(|id| id.len() <= LONGEST_ID)
}

/// Returns what `export` prints of a session, as far as it is read.
fn info(row: &Record<'_>) -> String {
    let text = |column| row.text(column).map(str::to_owned);
    // These are JSON of their own.
    let inner = |column| row.text(column).and_then(|text| serde_json::from_str::<Value>(text).ok());
    json!({
        "id": name(row, "id"),
        "parentID": name(row, "parent_id"),
        "version": text("version"),
        "directory": text("directory"),
        "title": text("title"),
        "agent": text("agent"),
        "model": inner("model"),
        "permission": inner("permission"),
    })
    .to_string()
}

impl Reader<'_> {
    pub(super) fn stored_rows(
        &mut self,
        session: &str,
        stored: &Stored,
        track: Track,
        draft: &mut Draft<'_>,
    ) -> io::Result<()> {
        let Some(tables) = Tables::open(self.logs, stored.index, draft) else { return Ok(()) };
        let row = stored.place.and_then(|place| tables.again("session", place, draft));
        let info = row.map_or_else(|| json!({ "id": session }).to_string(), |row| info(&row));
        let mut speaker = take_head(&Fields::parse(&info).unwrap_or_default(), draft, track);
        for message in &stored.messages {
            self.message_row(session, &tables, message, &mut speaker, draft)?;
        }
        Ok(())
    }

    fn message_row(
        &mut self,
        session: &str,
        tables: &Tables,
        message: &Message,
        speaker: &mut Speaker,
        draft: &mut Draft<'_>,
    ) -> io::Result<()> {
        let ids = [("id", &*message.id), ("sessionID", session)];
        let Some(info) = data(tables, "message", message.place, &ids, draft) else { return Ok(()) };
        let Ok(info) = Fields::parse(&info) else { return Ok(()) };
        let (mut texts, mut length) = (Vec::new(), 0);
        for (id, place) in &message.parts {
            let ids = [("id", &**id), ("sessionID", session), ("messageID", &message.id)];
            let Some(text) = data(tables, "part", *place, &ids, draft) else { continue };
            length += text.len();
            if length > MOST_OF_ONE {
                let text = format!(
                    "some of the message `{}` is left out: it is larger than {MOST_OF_ONE} bytes",
                    message.id
                );
                draft.report.partial("long-message", text, Some(tables.at()));
                break;
            }
            texts.push(text);
        }
        let parts: Vec<Fields<'_>> = texts.iter().filter_map(|text| Fields::parse(text).ok()).collect();
        self.message(&info, &parts, speaker, draft)
    }
}

/// Reads the record of a row, with the names that are columns of their own behind its fields, as `export` prints them.
fn data(
    tables: &Tables,
    table: &str,
    place: Place,
    ids: &[(&str, &str)],
    draft: &mut Draft<'_>,
) -> Option<String> {
    let row = tables.again(table, place, draft)?;
    let text = row.text("data").unwrap_or_default().trim();
    let name = ids.first().map_or("", |(_, id)| id);
    let wrong = match serde_json::from_str::<&RawValue>(text) {
        Err(error) => format!("the {table} `{name}` is no record: {error}"),
        Ok(_) if !text.starts_with('{') => format!("the {table} `{name}` is no record"),
        Ok(_) => {
            let mut whole = text.strip_suffix('}').unwrap_or(text).trim_end().to_owned();
            for (key, id) in ids {
                let comma = if whole.ends_with('{') { "" } else { "," };
                whole.push_str(&format!("{comma}\"{key}\":{}", Value::from(*id)));
            }
            whole.push('}');
            return Some(whole);
        }
    };
    draft.report.partial("unreadable-record", wrong, Some(tables.at()));
    None
}
