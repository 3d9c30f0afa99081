//! Conversations of an agent: the files of each, by their names and by what they name.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;

use super::{matches, times};
use crate::util::fs::open_without_links;
use crate::util::sqlite::MAGIC;

/// How much of a file is looked at for the name of another conversation, in bytes.
const HEAD: u64 = 16 << 10;

/// How much of all files, in bytes.
const MOST_HEADS: u64 = 64 << 20;

/// The shortest name that tells one conversation from another, in bytes.
const LEAST_NAME: usize = 8;

/// The same of one that begins like others of its kind.
const LEAST_BEGUN: usize = 20;

/// How many conversations one may be a part of, each of the next.
const MOST_DEEP: usize = 20;

/// The length of a UUID as text, with which names of logs end.
const UUID: usize = 36;

/// Files that are of one conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    pub name: String,
    /// Relative to the home.
    pub files: Vec<Utf8PathBuf>,
    /// It is a database, with conversations of its own.
    pub is_database: bool,
    /// Where the file system says it of every file.
    pub created: Option<Timestamp>,
    pub changed: Option<Timestamp>,
}

/// Sorts files of a home, which these patterns stand for, by their conversations. What an agent asked another one is in the same.
pub fn group(home: &Utf8Path, patterns: &[String], files: &[Utf8PathBuf]) -> Vec<Unit> {
    let mut named: BTreeMap<String, Vec<File>> = BTreeMap::new();
    let mut left = MOST_HEADS;
    for path in files {
        // What a database begins with is always looked at.
        let head = head(home, path, HEAD.min(left).max(MAGIC.len() as u64));
        left = left.saturating_sub(head.len() as u64);
        named.entry(name(path, patterns)).or_default().push(File { path: path.clone(), head });
    }
    let above = above(&named);
    let mut units: BTreeMap<String, Vec<File>> = BTreeMap::new();
    for (own, files) in named {
        let mut way = vec![&own];
        while let Some(next) = way.last().and_then(|last| above.get(*last)).filter(|_| way.len() < MOST_DEEP)
        {
            if let Some(at) = way.iter().position(|seen| *seen == next) {
                // Two name each other: the first of them has both, and all that is below.
                let first = way.drain(at..).min();
                way.extend(first);
                break;
            }
            way.push(next);
        }
        let root = way.last().copied().unwrap_or(&own);
        units.entry(root.clone()).or_default().extend(files);
    }
    units.into_iter().map(|(name, files)| unit(home, name, files)).collect()
}

/// A file, and how it begins.
struct File {
    path: Utf8PathBuf,
    head: String,
}

impl File {
    fn directories(&self) -> impl Iterator<Item = &str> {
        self.path.parent().into_iter().flat_map(Utf8Path::components).map(|part| part.as_str())
    }

    /// Returns what may be a name in its beginning.
    fn words(&self) -> impl Iterator<Item = &str> {
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
        self.head.split(move |letter| !is_part(letter)).filter(|word| word.len() >= LEAST_NAME)
    }
}

/// Finds what each conversation is a part of: it lies in a directory that is called so, or says so in its beginning; or that one says
/// in its own beginning what the directory of the part is called. Each file is looked at once, for there may be very many.
fn above(named: &BTreeMap<String, Vec<File>>) -> BTreeMap<String, String> {
    let mut ids: HashMap<&str, &String> = HashMap::new();
    for name in named.keys().filter(|name| is_id(name)) {
        ids.entry(name).or_insert(name);
        if let Some(uuid) =
            name.len().checked_sub(UUID).and_then(|at| name.get(at..)).filter(|uuid| is_uuid(uuid))
        {
            ids.entry(uuid).or_insert(name);
        }
    }
    let mut above = BTreeMap::new();
    let mut directories: HashMap<&str, &String> = HashMap::new();
    for (own, files) in named {
        let other = |id: &str| ids.get(id).copied().filter(|other| *other != own);
        let found = files.iter().find_map(|file| file.directories().chain(file.words()).find_map(other));
        if let Some(other) = found {
            above.insert(own.clone(), other.clone());
            continue;
        }
        let last = files.iter().filter_map(|file| file.path.parent()?.file_name());
        directories.extend(last.filter(|name| is_uuid(name)).map(|name| (name, own)));
    }
    for (other, files) in named {
        for file in files {
            let parts = file.words().filter_map(|word| directories.get(word));
            for own in parts.filter(|own| **own != other) {
                above.entry((*own).clone()).or_insert_with(|| other.clone());
            }
        }
    }
    above
}

fn unit(home: &Utf8Path, name: String, files: Vec<File>) -> Unit {
    let is_database = files.iter().any(|file| file.head.starts_with(MAGIC));
    let times: Vec<_> = files.iter().map(|file| times(home, &file.path)).collect();
    let created = times.iter().map(|(created, _)| *created).collect::<Option<Vec<_>>>();
    let created = created.and_then(|created| created.into_iter().min());
    let changed = times.into_iter().filter_map(|(_, changed)| changed).max();
    Unit { name, files: files.into_iter().map(|file| file.path).collect(), is_database, created, changed }
}

/// Returns the last part of a path that its pattern leaves open: the name of the conversation, or of a part of it. What is too short to
/// be one, as `context_1` is for `context*.jsonl`, lies in a directory that is called so; what is called like others of its kind, as
/// `messages` is, has its path.
fn name(path: &Utf8Path, patterns: &[String]) -> String {
    let parts: Vec<&str> = path.components().map(|part| part.as_str()).collect();
    let open = |pattern: &String| -> Option<String> {
        let pattern: Vec<&str> = pattern.split('/').collect();
        let is_own =
            pattern.len() == parts.len() && pattern.iter().zip(&parts).all(|(of, part)| matches(of, part));
        let open =
            pattern.iter().zip(&parts).enumerate().rev().filter(|(_, (of, _))| is_own && of.contains('*'));
        let mut names = open.map(|(at, (of, part))| {
            let name = if at + 1 < parts.len() { part } else { path.file_stem().unwrap_or(part) };
            (name, of.starts_with('*'))
        });
        let found = names.find(|(name, is_whole)| *is_whole || is_id(name) && name.len() >= LEAST_BEGUN);
        found.map(|(name, _)| name).filter(|name| is_id(name)).map(str::to_owned)
    };
    patterns.iter().find_map(open).unwrap_or_else(|| path.to_string())
}

/// Says whether a name can be that of one conversation: a word without a digit is in many texts.
fn is_id(name: &str) -> bool {
    name.len() >= LEAST_NAME && name.bytes().any(|byte| byte.is_ascii_digit())
}

fn is_uuid(text: &str) -> bool {
    text.len() == UUID && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// Returns the first bytes of a file, in which what is no letter is a blank.
fn head(home: &Utf8Path, path: &Utf8Path, most: u64) -> String {
    let mut head = Vec::new();
    let read = open_without_links(&home.join(path)).and_then(|file| file.take(most).read_to_end(&mut head));
    if read.is_err() {
        return String::new();
    }
    // Names are of ASCII; what comes out is as long as what was read.
    let plain = |byte: u8| if byte.is_ascii() { char::from(byte) } else { ' ' };
    head.into_iter().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0199d3c8-7c1e-7b10-8a57-0d2d1d9a1b11";
    const TWO: &str = "0199d3c8-7c1e-7b10-8a57-0d2d1d9a1b22";

    fn grouped(agent: &str, files: &[(String, String)]) -> Vec<Vec<String>> {
        let base = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(base.path()).unwrap().canonicalize_utf8().unwrap();
        for (path, text) in files {
            fs_err::create_dir_all(home.join(path).parent().unwrap()).unwrap();
            fs_err::write(home.join(path), text).unwrap();
        }
        let patterns: Vec<String> =
            crate::agent::find(agent).unwrap().logs().into_iter().map(str::to_owned).collect();
        let found = super::super::since(&home, &patterns, Timestamp::UNIX_EPOCH);
        assert_eq!(found.len(), files.len(), "{found:?}");
        let units = group(&home, &patterns, &found);
        assert!(units.iter().all(|unit| unit.changed.is_some() && !unit.is_database));
        let plain = |unit: &Unit| unit.files.iter().map(ToString::to_string).collect();
        units.iter().map(plain).collect()
    }

    fn check(agent: &str, groups: &[&[(String, &str)]]) {
        let files: Vec<(String, String)> =
            groups.iter().copied().flatten().map(|(path, text)| (path.clone(), (*text).to_owned())).collect();
        let mut expected: Vec<Vec<String>> =
            groups.iter().map(|group| group.iter().map(|(path, _)| path.clone()).collect()).collect();
        let mut found = grouped(agent, &files);
        for group in expected.iter_mut().chain(&mut found) {
            group.sort();
        }
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{agent}");
    }

    #[test]
    fn files_of_one_conversation_are_together() {
        let projects = ".claude/projects/-home-me-app";
        check(
            "claude-code",
            &[
                &[
                    (format!("{projects}/{ONE}.jsonl"), ""),
                    (format!("{projects}/{ONE}/subagents/agent-1.jsonl"), ""),
                    (format!("{projects}/agent-2.jsonl"), &format!("{{\"sessionId\":\"{ONE}\"}}")),
                ],
                &[(format!("{projects}/{TWO}.jsonl"), "")],
            ],
        );
        let day = ".codex/sessions/2026/01/02";
        check(
            "codex",
            &[
                &[
                    (format!("{day}/rollout-2026-01-02T03-04-05-{ONE}.jsonl"), ""),
                    (
                        format!("{day}/rollout-2026-01-02T03-04-06-0.jsonl"),
                        &format!("{{\"parent_thread_id\":\"{ONE}\"}}"),
                    ),
                ],
                &[(format!("{day}/rollout-2026-01-02T03-04-05-{TWO}.jsonl"), "")],
            ],
        );
        let own = format!("{{\"sessionId\":\"{ONE}\"}}");
        let chats = ".gemini/tmp/x/chats";
        check(
            "gemini-cli",
            &[
                &[
                    (format!("{chats}/session-2026-01-02T03-04-0199d3c8.jsonl"), &own),
                    (format!("{chats}/{ONE}/a.jsonl"), ""),
                ],
                &[(format!("{chats}/session-2026-01-02T03-05-aaaaaaaa.jsonl"), "")],
            ],
        );
        let below = |id: &str, name: &str| (format!(".kimi/sessions/x/{id}/{name}"), "");
        check(
            "kimi-cli",
            &[
                &[
                    below(ONE, "wire.jsonl"),
                    below(ONE, "context_1.jsonl"),
                    below(ONE, "subagents/one/wire.jsonl"),
                ],
                &[below(TWO, "wire.jsonl"), below(TWO, "context_1.jsonl")],
            ],
        );
        let below = |id: &str, name: &str| (format!(".openhands/conversations/{id}/{name}"), "");
        check(
            "openhands",
            &[
                &[
                    below(ONE, "base_state.json"),
                    below(ONE, "events/event-1.json"),
                    below(ONE, "events/event-2.json"),
                ],
                &[below(TWO, "base_state.json"), below(TWO, "events/event-1.json")],
            ],
        );
        let below = |id: &str, name: &str| (format!(".cline/data/sessions/{id}/{name}"), "");
        check(
            "cline",
            &[
                &[below(ONE, &format!("{ONE}.json")), below(ONE, &format!("{ONE}.messages.json"))],
                &[below(TWO, &format!("{TWO}.json"))],
            ],
        );
    }

    #[test]
    fn two_that_name_each_other_are_one_and_a_short_name_names_nobody() {
        let of = |id: &str, text: &str| (format!(".pi/agent/sessions/x/{id}.jsonl"), text.to_owned());
        let files = [
            of(ONE, TWO),
            of(TWO, ONE),
            of("a", "b"),
            of("b", "a"),
            of("messages", "a-name"),
            of("a-name", ""),
        ];
        assert_eq!(grouped("pi", &files).len(), 5);
    }
}
