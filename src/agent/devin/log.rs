//! Sessions of the Devin CLI, which are in one database: messages are a tree, and the newest branch is what was said.

use std::collections::{HashMap, HashSet};
use std::io;

use camino::Utf8Path;

use crate::agent::chat::{self, Beside};
use crate::agent::log::{self, Converter, Logs, named};
use crate::atif::draft::{Draft, MAIN};
use crate::atif::fields::{Fields, Odd};
use crate::atif::report::Run;
use crate::atif::step::Usage;
use crate::atif::time;

pub struct Log;

fn is_log(path: &Utf8Path, head: &str) -> bool {
    // Its list of tables may be on later pages, or in the write-ahead log alone.
    let is_own = head.contains("message_nodes") && head.contains("chat_message");
    let is_named = path.file_name() == Some("sessions.db") && path.iter().any(|part| part == "devin");
    head.starts_with(named::MAGIC) && (is_own || is_named)
}

impl Converter for Log {
    fn is_log(&self, path: &Utf8Path, head: &str) -> bool {
        is_log(path, head)
    }

    fn convert(&self, logs: &dyn Logs, draft: &mut Draft<'_>) -> io::Result<()> {
        let mut ended = None;
        for index in log::chosen(logs, is_log) {
            let path = &logs.files()[index].path;
            let Some(database) = named::open(logs, index, draft) else { continue };
            let (mut sessions, mut nodes) = (Vec::new(), Vec::new());
            let mut whole = database.rows("sessions", |row| sessions.push(row));
            whole &= database.rows("message_nodes", |row| nodes.push(row));
            if !whole {
                let text = "not all of the database can be read";
                draft.report.partial("unreadable-file", text, Some((path.as_str(), 0)));
            }
            let active = |row: &named::Row| row.real("last_activity_at").unwrap_or(0.0);
            sessions.sort_by(|one, other| active(one).total_cmp(&active(other)));
            sessions.retain(|session| session.is_since("last_activity_at", logs.since()));
            for session in &sessions {
                let id = session.text("id").unwrap_or_default();
                if !logs.takes(id) {
                    continue;
                }
                draft.report.conversation(id);
                ended = read(session, &nodes, draft, path)?.or(ended);
            }
        }
        draft.report.run = match ended {
            Some(true) => Run::Finished,
            Some(false) => Run::Interrupted,
            None => Run::Unknown,
        };
        Ok(())
    }
}

/// Reads a session; says whether its last message is an answer without calls.
fn read(
    session: &named::Row,
    nodes: &[named::Row],
    draft: &mut Draft<'_>,
    path: &Utf8Path,
) -> io::Result<Option<bool>> {
    let id = session.text("id").unwrap_or_default();
    let of_it: Vec<&named::Row> = nodes.iter().filter(|node| node.text("session_id") == Some(id)).collect();
    let head = draft.head(MAIN);
    head.session = head.session.take().or_else(|| Some(id.to_owned()));
    head.model = head.model.take().or_else(|| session.text("model").map(str::to_owned));
    for column in ["working_directory", "title"] {
        if let Some(text) = session.text(column) {
            head.agent.put(column, text);
        }
    }
    let metadata = session.text("metadata").and_then(|text| Fields::parse(text).ok()).unwrap_or_default();
    for key in ["total_acu_cost", "total_credit_cost"] {
        head.totals.take(key, metadata.get(key));
    }
    let chain = chain(&of_it, session.whole("main_chain_id"));
    let left = of_it.len() - chain.len();
    if left > 0 {
        draft.report.note(
            "other-branches",
            format!("{left} messages are of branches that were given up"),
            None,
        );
    }
    let mut seen = HashSet::new();
    let mut ended = None;
    for node in chain {
        let Some(message) = node.text("chat_message").and_then(|text| Fields::parse(text).ok()) else {
            draft.report.partial("unreadable-message", "a message is no object", Some((path.as_str(), 0)));
            continue;
        };
        let role = message.text("role").unwrap_or_default();
        draft.report.count(&role);
        let time = node.real("created_at").and_then(time::of_seconds);
        let source = format!("{path}:{id}");
        let Some(at) =
            chat::message(draft, MAIN, &message, Beside { time: time.as_deref(), source: &source })?
        else {
            draft.report.unknown(&role);
            draft.unread(MAIN, message.iter());
            continue;
        };
        let is_answer = role == "assistant";
        ended = Some(is_answer && message.list("tool_calls").is_empty());
        let metadata = message.object("metadata").unwrap_or_default();
        // One answer may be told more than once.
        let request = metadata.owned("request_id");
        let is_new = request.is_none_or(|request| seen.insert(request));
        let (Some(metrics), Some(step)) = (metadata.object("metrics"), draft.step(at)) else { continue };
        if is_answer && is_new {
            let odd = Odd::default();
            let count = |key: &'static str| metrics.tokens(key, &odd).unwrap_or(0);
            step.usage = Some(Usage {
                input: count("input_tokens"),
                cache_read: count("cache_read_tokens"),
                cache_write: count("cache_creation_tokens"),
                output: count("output_tokens"),
                cost: None,
                odd: odd.name(),
            });
            for (key, value) in metrics.iter() {
                step.metrics.get_or_insert_default().extra.take(key, Some(value));
            }
        }
        for key in ["request_id", "model"] {
            step.extra.take(key, metadata.get(key));
        }
    }
    Ok(ended)
}

/// Returns the messages of the branch that ends with this one, from its beginning; all of them where there is no such branch.
fn chain<'a>(nodes: &[&'a named::Row], last: Option<i64>) -> Vec<&'a named::Row> {
    let by_id: HashMap<i64, &'a named::Row> =
        nodes.iter().filter_map(|node| Some((node.whole("node_id")?, *node))).collect();
    let mut chain = Vec::new();
    let mut next = last;
    while let Some(node) = next.and_then(|id| by_id.get(&id)) {
        if chain.len() > nodes.len() {
            break;
        }
        chain.push(*node);
        next = node.whole("parent_node_id");
    }
    if chain.is_empty() || chain.len() > nodes.len() {
        return nodes.to_vec();
    }
    chain.reverse();
    chain
}
