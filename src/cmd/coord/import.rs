//! `pier coord requirements import`.

use std::collections::HashSet;

use camino::{Utf8Path, Utf8PathBuf};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::super::{Global, Outcome};
use super::context::Context;
use super::new::{key, project};
use super::step::Flags;
use crate::coord::domain::{self, Arrived, Change, Way, Write};
use crate::coord::draft::Draft;
use crate::coord::import::{self, Found};
use crate::coord::kind::Kind;
use crate::coord::store::{Entry, Part, Store};
use crate::coord::{id, item};
use crate::diag::{Exit, Failure};
use crate::ui;
use crate::util::fs::{canonical, read_bounded};
use crate::util::text::escape;

/// The most that is read of a document, in bytes.
const MOST: u64 = 4 << 20;

const EXAMPLES: &str = "Examples:\n  pier coord requirements import docs/requirements.md --preview\n  \
    pier coord requirements import docs/requirements.md\n  pier coord requirements import REQUIREMENTS.md --update\n\n\
    A requirement is a heading, a point of a list or a row of a table that begins with a key, such as\n\n    \
    ### FR-12: It starts at once\n    - **NFR-3** It needs less than 5 ms.\n    | CON-1 | No daemon |\n\n\
    Its text goes as far as its section, point or row. Its kind follows from the key (`NFR`, `QRQ`: quality; \
    `CRQ`, `CON`: constraint), or from the heading above it. The item has the key, the text, and in `source_refs` \
    the file with line and heading.\n\n\
    Again: what has an item is left alone. What says something else than its item is told, and is taken with \
    `--update`. Exit codes: 0 the items say what the documents say, 1 some do not.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Import {
    #[command(flatten)]
    flags: Flags,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    preview: bool,
    /// Let items say what the documents say now.
    #[arg(long)]
    update: bool,
    /// The beginning of ids, where the repository does not say it.
    #[arg(long, value_name = "KEY")]
    project_key: Option<String>,
    /// Documents in Markdown.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<Utf8PathBuf>,
}

/// What became of one requirement.
#[derive(Clone, Serialize)]
struct Row {
    what: What,
    key: String,
    id: Option<String>,
    source: String,
    title: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    New,
    Updated,
    /// The item says something else.
    Differs,
    /// The document does not have it any more.
    Gone,
}

#[derive(Serialize)]
struct Answer {
    unchanged: usize,
    pushed: bool,
    requirements: Vec<Row>,
}

/// A document, with the path by which items name it.
struct Document {
    path: String,
    found: Vec<Found>,
}

pub fn run(global: &Global, args: &Import) -> Outcome {
    let context = Context::open(global, &args.flags.common)?;
    let documents = args.files.iter().map(|file| read(&context, file)).collect::<Result<Vec<_>, _>>()?;
    let mut keys = HashSet::new();
    for found in documents.iter().flat_map(|document| &document.found) {
        if !keys.insert(&found.key) {
            return Err(refused(&format!("two of the documents have the key {}", found.key)));
        }
    }
    let key = key(&context, None, args.project_key.as_deref())?;
    let project = project(&context);
    let mut change = |store: &Store| {
        let (writes, rows, unchanged) = compare(&context, store, &documents, (&key, &project), args.update)?;
        Ok(Change { subject: "Import requirements".into(), writes, value: (rows, unchanged) })
    };
    let ((rows, unchanged), arrived) = context.hold(|domain| {
        if args.preview {
            return Ok((change(domain.store)?.value, Arrived::Here));
        }
        let way = if args.flags.no_push { Way::Local } else { Way::Push };
        domain.change(way, !args.flags.no_pull, &mut change)
    })?;
    context.report(&arrived);
    let differ = rows.iter().any(|row| matches!(row.what, What::Differs | What::Gone));
    if args.flags.json {
        let pushed = arrived == Arrived::Pushed;
        ui::json(&Answer { unchanged, pushed, requirements: rows });
    } else {
        show(&rows, unchanged, args.preview);
    }
    Ok(if differ { Exit::Failed } else { Exit::Done })
}

fn refused(message: &str) -> Failure {
    Failure::new(Exit::Failed, "coord::requirements", escape(message))
}

fn read(context: &Context, file: &Utf8Path) -> Result<Document, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Failed, "coord::files", format!("`{file}` cannot be read: {error}"))
    };
    let at = canonical(&context.cwd.join(file)).map_err(failed)?;
    let text = String::from_utf8_lossy(&read_bounded(&at, MOST).map_err(failed)?).into_owned();
    let path = at.strip_prefix(&context.project).unwrap_or(&at).to_string();
    let found = import::parse(&text)
        .map_err(|why| refused(&format!("`{file}`: {why}")).help("each requirement has a key of its own"))?;
    if found.is_empty() {
        return Err(refused(&format!("`{file}` has no requirement"))
            .help("one begins with a key, as in `### FR-1: Title` or `- **FR-1** text`"));
    }
    Ok(Document { path, found })
}

type Compared = (Vec<Write>, Vec<Row>, usize);

/// Compares the documents with the items that are there, and says what to write.
fn compare(
    context: &Context,
    store: &Store,
    documents: &[Document],
    (key, project): (&str, &str),
    update: bool,
) -> Result<Compared, domain::Error> {
    let (entries, _) = store.entries(Part::Directory("requirements"))?;
    let mut used: HashSet<String> = entries.iter().map(|entry| entry.head.id.clone()).collect();
    let entries: Vec<Entry> = entries.into_iter().filter(|entry| entry.head.status == "active").collect();
    let texts: Vec<&str> = entries.iter().map(|entry| entry.text.as_str()).collect();
    let now = Timestamp::now();
    let (mut writes, mut rows, mut unchanged) = (Vec::new(), Vec::new(), 0);
    for Document { path, found } in documents {
        let compared = import::compare(path, found, &texts);
        unchanged += compared.same;
        let row = |what, one: &Found, id: Option<&str>| Row {
            what,
            key: one.key.clone(),
            id: id.map(str::to_owned),
            source: one.source(path),
            title: one.title.clone(),
        };
        let order = |index: usize| (index + 1) * 10;
        for index in compared.new {
            let one = &found[index];
            let kind = Kind::of(one.kind);
            let id = id::fresh(key, &kind.code, now, 1, &|id| used.contains(id));
            used.insert(id.clone());
            let draft = Draft {
                kind: &kind,
                category: None,
                status: None,
                project,
                title: &one.title,
                owner: "",
                priority: "medium",
                testable: true,
                note: None,
                body: Some(&one.body),
            };
            let text =
                import::apply(&draft.text(&id, &context.actor, now), one, &one.source(path), order(index));
            // Whether a test proves it is for somebody to say who has read it.
            let text = text.replacen("\ntestable: yes\n", "\ntestable: null\n", 1);
            writes.push(Write { path: Store::place(&kind, None, &id), text: Some(text) });
            rows.push(row(What::New, one, Some(&id)));
        }
        for (index, entry) in compared.changed {
            let (one, entry) = (&found[index], &entries[entry]);
            if update {
                let text = import::apply(&entry.text, one, &one.source(path), order(index));
                let mut text = item::Item::parse(&text);
                text.set_raw("updated", &id::time(now));
                writes.push(Write { path: entry.path.clone(), text: Some(text.text()) });
            }
            let what = if update { What::Updated } else { What::Differs };
            rows.push(row(what, one, Some(&entry.head.id)));
        }
        rows.extend(compared.gone.into_iter().map(|index| Row {
            what: What::Gone,
            key: item::get(&entries[index].text, "requirement_key"),
            id: Some(entries[index].head.id.clone()),
            source: path.clone(),
            title: entries[index].head.title.clone(),
        }));
    }
    Ok((writes, rows, unchanged))
}

fn show(rows: &[Row], unchanged: usize, preview: bool) {
    for Row { what, key, id, source, title } in rows {
        let id = if preview && *what == What::New { "-" } else { id.as_deref().unwrap_or("-") };
        let word = match what {
            What::New => "new",
            What::Updated => "updated",
            What::Differs => "differs",
            What::Gone => "gone",
        };
        let columns = [word, key, id, source, title].map(escape);
        ui::answer(&columns.join("\t"));
    }
    let count = |what| rows.iter().filter(|row| row.what == what).count();
    ui::say(&format!("{} new, {} updated, {unchanged} as they were", count(What::New), count(What::Updated)));
    if count(What::Differs) > 0 {
        ui::say("what differs is as it was: `--update` takes it from the documents");
    }
    if count(What::Gone) > 0 {
        ui::say(
            "items whose requirement is gone stay: change their status, or give the document their text back",
        );
    }
}
