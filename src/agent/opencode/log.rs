//! Sessions of opencode, as `opencode export` prints them, as its database has them and as older versions keep them in a directory,
//! and the stream that a headless run prints.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;

use camino::Utf8Path;
use serde_json::value::RawValue;

use crate::agent::log::{self, Converter, Logs, rows, whole};
use crate::atif::draft::{Draft, MAIN, Track};
use crate::atif::fields::Fields;
use crate::atif::report::Run;
use parts::Speaker;

mod database;
mod parts;
mod stream;

pub struct Log;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A whole session in one file.
    Export,
    /// All sessions of a home.
    Database,
    /// Files of the directory `storage`.
    Session,
    Message,
    Part,
    /// What a headless run printed.
    Stream,
}

/// What a stream is made of.
const EVENTS: &[&str] = &["step_start", "text", "reasoning", "tool_use", "step_finish", "error"];

fn kind(path: &Utf8Path, head: &str) -> Option<Kind> {
    let name = path.file_name().unwrap_or_default();
    let has = |key: &str| head.contains(&format!("\"{key}\""));
    if path.extension() == Some("json") {
        let below = |parent: &str| path.components().rev().nth(2).is_some_and(|part| part.as_str() == parent);
        return match name.split('_').next() {
            Some("ses") if below("session") && has("projectID") => Some(Kind::Session),
            Some("msg") if below("message") && has("sessionID") => Some(Kind::Message),
            Some("prt") if has("messageID") && has("sessionID") => Some(Kind::Part),
            _ => {
                let start: String = head.chars().filter(|c| !c.is_whitespace()).take(20).collect();
                let is_export = start.starts_with("{\"info\":{\"id\":\"ses") && has("projectID");
                is_export.then_some(Kind::Export)
            }
        };
    }
    if path.extension() == Some("db") {
        // Versions that are none of the usual have their own: `opencode-NAME.db`.
        return (name.starts_with("opencode") && rows::is_database(head)).then_some(Kind::Database);
    }
    if name == "opencode.txt" {
        return Some(Kind::Stream);
    }
    let is_event = |line: &str| {
        let Ok(event) = Fields::parse(line) else { return false };
        event.has("sessionID") && event.text("type").is_some_and(|kind| EVENTS.contains(&&*kind))
    };
    (head.lines().take(20).filter(|line| line.starts_with('{')).any(is_event)
        // The first event may be longer than what is seen of it.
        || head.starts_with("{\"type\":\"") && head.contains("\"sessionID\":\"ses_"))
    .then_some(Kind::Stream)
}

impl Converter for Log {
    fn is_log(&self, path: &Utf8Path, head: &str) -> bool {
        kind(path, head).is_some()
    }

    fn convert(&self, logs: &dyn Logs, draft: &mut Draft<'_>) -> io::Result<()> {
        let mut sessions = own(sessions(logs, draft)?, logs, draft);
        // Those that asked others come first, and one comes after the other, by their times.
        sessions.sort_by_key(|session| (session.created, session.id.clone()));
        let mut reader = Reader {
            logs,
            known: sessions.iter().map(|session| session.id.clone()).collect(),
            last: Last::Nothing,
            errors: Vec::new(),
            cost: 0.0,
        };
        if !sessions.is_empty() {
            draft.compacted(MAIN, 0);
        }
        for session in &sessions {
            reader.session(session, draft)?;
        }
        for index in log::chosen(logs, |path, head| kind(path, head) == Some(Kind::Stream)) {
            reader.stream(index, draft, sessions.is_empty())?;
        }
        if reader.cost > 0.0 {
            draft.cost = Some(reader.cost);
        }
        draft.report.run = match reader.last {
            Last::Nothing => Run::Unknown,
            Last::End => Run::Finished,
            Last::Middle => Run::Interrupted,
            Last::Failure(reason) => Run::Failed(reason),
        };
        Ok(())
    }
}

/// Where a session is.
struct Session {
    id: String,
    parent: Option<String>,
    /// In milliseconds.
    created: u64,
    place: Place,
}

enum Place {
    Export(usize),
    Database(database::Stored),
    /// Files of the directory: its own, where it is there, and its messages, each with its parts.
    Storage(Option<usize>, Vec<(usize, Vec<usize>)>),
}

/// The files of a session in the directory.
#[derive(Default)]
struct Stored {
    own: Option<usize>,
    /// With their names.
    messages: Vec<(String, usize)>,
}

/// Finds the sessions; one that is there twice, exported and in the database or the directory as well, is read once.
fn sessions(logs: &dyn Logs, draft: &mut Draft<'_>) -> io::Result<Vec<Session>> {
    let (mut found, mut kept) = (Vec::new(), Vec::new());
    let mut stored: BTreeMap<String, Stored> = BTreeMap::new();
    let mut parts: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for index in 0..logs.files().len() {
        let path = &logs.files()[index].path;
        let stem = path.file_stem().unwrap_or_default().to_owned();
        let parent = path.parent().and_then(Utf8Path::file_name).unwrap_or_default().to_owned();
        match kind(path, &logs.head(index)) {
            Some(Kind::Export) => {
                let Some(text) = whole::text(logs, index, draft) else { continue };
                let (fields, ..) = Fields::parse_parts(&text, "messages");
                let info = fields.object("info").unwrap_or_default();
                found.extend(Session::of(&info, Place::Export(index)));
            }
            Some(Kind::Database) => kept.extend(database::sessions(logs, index, draft)?),
            Some(Kind::Session) => stored.entry(stem).or_default().own = Some(index),
            Some(Kind::Message) => stored.entry(parent).or_default().messages.push((stem, index)),
            // Their names are in the order in which they were made, as those of messages.
            Some(Kind::Part) => parts.entry(parent).or_default().push(index),
            Some(Kind::Stream) | None => {}
        }
    }
    // Of copies of a database, the newest has all of a session that went on.
    kept.sort_by_key(|session| match &session.place {
        Place::Database(stored) => Reverse(stored.updated),
        Place::Export(_) | Place::Storage(..) => Reverse(0),
    });
    for session in kept {
        if !is_known(&found, &session.id, draft) {
            found.push(session);
        }
    }
    for (id, Stored { own, messages }) in stored {
        if is_known(&found, &id, draft) {
            continue;
        }
        let messages =
            messages.into_iter().map(|(name, index)| (index, parts.remove(&name).unwrap_or_default()));
        let place = Place::Storage(own, messages.collect());
        let text = own.and_then(|index| whole::text(logs, index, draft)).unwrap_or_default();
        let info = Fields::parse(&text).unwrap_or_default();
        found.push(match Session::of(&info, place) {
            Ok(session) => session,
            Err(place) => Session { id, parent: None, created: 0, place },
        });
    }
    for (name, files) in parts {
        let at = files.first().map(|index| (logs.files()[*index].path.as_str(), 0));
        draft.report.partial("orphan-parts", format!("the message `{name}` of some parts is not there"), at);
    }
    Ok(found)
}

/// Leaves out those of other runs, with those that came out of them.
fn own(sessions: Vec<Session>, logs: &dyn Logs, draft: &mut Draft<'_>) -> Vec<Session> {
    let parents: HashMap<String, String> =
        sessions.iter().filter_map(|session| Some((session.id.clone(), session.parent.clone()?))).collect();
    let root = |id: &str| log::root_of(id, |id| parents.get(id).map(String::as_str)).to_owned();
    let own = |session: &Session| match session.place {
        Place::Database(_) => logs.takes(&root(&session.id)),
        Place::Export(_) | Place::Storage(..) => true,
    };
    let own: Vec<Session> = sessions.into_iter().filter(own).collect();
    for session in own.iter().filter(|session| matches!(session.place, Place::Database(_))) {
        draft.report.conversation(&root(&session.id));
    }
    own
}

fn is_known(found: &[Session], id: &str, draft: &mut Draft<'_>) -> bool {
    let known = found.iter().any(|session| session.id == id);
    if known {
        draft.report.note("duplicate-session", format!("`{id}` is there twice, and was read once"), None);
    }
    known
}

impl Session {
    fn of(info: &Fields<'_>, place: Place) -> Result<Self, Place> {
        let Some(id) = info.word("id") else { return Err(place) };
        Ok(Session {
            id: id.into_owned(),
            parent: info.owned("parentID"),
            created: info.object("time").and_then(|time| time.count("created")).unwrap_or(0),
            place,
        })
    }
}

/// What the last record of the conversation was.
enum Last {
    Nothing,
    /// The model had nothing more to do.
    End,
    /// It wanted something, or was told something.
    Middle,
    Failure(String),
}

struct Reader<'a> {
    logs: &'a dyn Logs,
    /// The sessions that are here.
    known: HashSet<String>,
    last: Last,
    /// What was said to be wrong, for a stream repeats it.
    errors: Vec<String>,
    cost: f64,
}

impl Reader<'_> {
    fn session(&mut self, session: &Session, draft: &mut Draft<'_>) -> io::Result<()> {
        let track = match &session.parent {
            None => MAIN,
            Some(parent) => {
                let parent = draft.find_sub(parent).unwrap_or(MAIN);
                draft.sub(parent, &session.id)
            }
        };
        let logs = self.logs;
        match &session.place {
            Place::Export(index) => {
                let name = logs.files()[*index].path.as_str();
                whole::each_element(logs, *index, "messages", draft, |draft, fields, messages| {
                    let speaker = take_head(&fields.object("info").unwrap_or_default(), draft, track);
                    self.messages(messages, &speaker, draft, name)
                })
            }
            Place::Database(stored) => self.stored_rows(&session.id, stored, track, draft),
            Place::Storage(own, messages) => {
                let text = own.and_then(|index| whole::text(logs, index, draft)).unwrap_or_default();
                let mut speaker = take_head(&Fields::parse(&text).unwrap_or_default(), draft, track);
                speaker.session = Some(session.id.clone());
                for (index, parts) in messages {
                    self.stored(*index, parts, &mut speaker, draft)?;
                }
                Ok(())
            }
        }
    }

    fn messages(
        &mut self,
        messages: &[&RawValue],
        speaker: &Speaker,
        draft: &mut Draft<'_>,
        name: &str,
    ) -> io::Result<()> {
        let mut speaker = speaker.clone();
        for (number, raw) in messages.iter().enumerate() {
            let Some(message) = Fields::of(raw) else {
                let text = format!("message {} is no object", number + 1);
                draft.report.partial("unreadable-record", text, Some((name, 0)));
                continue;
            };
            let info = message.object("info").unwrap_or_default();
            self.message(&info, &message.objects("parts"), &mut speaker, draft)?;
        }
        Ok(())
    }

    /// Reads a message whose parts are files of their own.
    fn stored(
        &mut self,
        index: usize,
        parts: &[usize],
        speaker: &mut Speaker,
        draft: &mut Draft<'_>,
    ) -> io::Result<()> {
        let Some(text) = whole::text(self.logs, index, draft) else { return Ok(()) };
        let Some(info) = self.object(index, &text, draft) else { return Ok(()) };
        let texts: Vec<(usize, String)> = (parts.iter())
            .filter_map(|index| Some((*index, whole::text(self.logs, *index, draft)?)))
            .collect();
        let parts: Vec<Fields<'_>> =
            texts.iter().filter_map(|(index, text)| self.object(*index, text, draft)).collect();
        self.message(&info, &parts, speaker, draft)
    }

    fn object<'a>(&self, index: usize, text: &'a str, draft: &mut Draft<'_>) -> Option<Fields<'a>> {
        let read = Fields::parse(text);
        if let Err(error) = &read {
            let at = Some((self.logs.files()[index].path.as_str(), error.line() as u64));
            draft.report.partial("unreadable-file", format!("it is no record: {error}"), at);
        }
        read.ok()
    }
}

/// Takes what a session says of itself.
fn take_head(info: &Fields<'_>, draft: &mut Draft<'_>, track: Track) -> Speaker {
    let head = draft.head(track);
    let is_first = head.session.is_none();
    head.session = head.session.take().or(info.owned("id"));
    head.version = head.version.take().or(info.owned("version"));
    let model = info.object("model").unwrap_or_default();
    head.model = head.model.take().or(parts::model(&model, "id"));
    if is_first {
        head.agent.take("cwd", info.get("directory"));
        head.agent.take("permission", info.get("permission"));
        head.extra.take("title", info.get("title"));
    }
    if track != MAIN
        && let Some(name) = info.word("agent")
    {
        draft.name(track, &name);
    }
    Speaker { track, session: info.owned("id"), effort: parts::variant(&model), model: None }
}
