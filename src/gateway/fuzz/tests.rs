//! The corpus and mutations of it, where libFuzzer cannot be had.

#![expect(clippy::disallowed_methods, reason = "how long is a setting of these tests")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::{Strategy as _, any, prop_oneof};
use proptest::sample::{Index, select};
use proptest::strategy::BoxedStrategy;
use proptest::test_runner::{Config, TestError, TestRunner};

type Target = fn(&[u8]);

const TARGETS: &[(&str, Target)] = &[
    ("chunks", super::chunks),
    ("client_hello", super::client_hello),
    ("connect", super::connect),
    ("dns", super::dns),
    ("host_name", super::host_name),
    ("http_head", super::http_head),
    ("logs", super::logs),
    ("redact", super::redact),
    ("request_path", super::request_path),
    ("socks", super::socks),
    ("sqlite", super::sqlite),
    ("trajectory", super::trajectory),
];

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// The names in a directory, in order.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs_err::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The names and the bytes of a target's seeds.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = corpus().join(target);
    let read = |name: String| (name.clone(), fs_err::read(directory.join(name)).unwrap());
    let seeds: Vec<_> = names(&directory).into_iter().map(read).collect();
    assert!(seeds.len() > 3, "{target} has a corpus");
    seeds
}

#[test]
fn every_target_has_a_corpus_and_a_program() {
    let expected: Vec<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&corpus()), expected);
    let programs = names(&corpus().with_file_name("targets"));
    assert_eq!(programs, expected.iter().map(|name| format!("{name}.rs")).collect::<Vec<_>>());
}

#[test]
fn promises_are_kept_for_the_corpus() {
    for (name, target) in TARGETS {
        for (file, seed) in seeds(name) {
            println!("{name}: {file}");
            target(&seed);
        }
    }
}

/// One change of an input.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    /// Some of the input once more, elsewhere.
    Repeat(Index, Index, usize),
    /// What another seed ends with.
    Splice(Index, Index, Index),
}

/// What the readers look at.
const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b".",
    b"/",
    b"..",
    b"%2e",
    b"%2f",
    b"%00",
    b"#",
    b";",
    b"\\",
    b"*.",
    b"xn--",
    b"0x",
    b"[",
    b"]",
    b"Host: b.example\r\n",
    b"Content-Length: 1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: ",
    b"http://",
    b"0\r\n\r\n",
    b"\xc0\xaf",
    b"\xff\xff",
    b"\0\0",
];

fn change() -> BoxedStrategy<Change> {
    let bytes = prop_oneof![select(WORDS).prop_map(<[u8]>::to_vec), vec(any::<u8>(), 1..9)];
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<Index>(), bytes).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (any::<Index>(), 1_usize..20).prop_map(|(at, length)| Change::Remove(at, length)),
        (any::<Index>(), any::<Index>(), 1_usize..60)
            .prop_map(|(at, from, length)| Change::Repeat(at, from, length)),
        (any::<Index>(), any::<Index>(), any::<Index>())
            .prop_map(|(at, which, from)| Change::Splice(at, which, from)),
    ]
    .boxed()
}

fn changed(seeds: &[Vec<u8>], which: Index, changes: &[Change]) -> Vec<u8> {
    let mut input = which.get(seeds).clone();
    for change in changes {
        let place = |at: &Index| at.index(input.len() + 1);
        match change {
            Change::Set(at, byte) => {
                let at = place(at);
                if let Some(old) = input.get_mut(at) {
                    *old = *byte;
                }
            }
            Change::Insert(at, bytes) => {
                let at = place(at);
                input.splice(at..at, bytes.iter().copied());
            }
            Change::Remove(at, length) => {
                let at = place(at);
                input.drain(at..(at + length).min(input.len()));
            }
            Change::Repeat(at, from, length) => {
                let (at, from) = (place(at), place(from));
                let again = input[from..(from + length).min(input.len())].to_vec();
                input.splice(at..at, again);
            }
            Change::Splice(at, which, from) => {
                let at = place(at);
                let other = which.get(seeds);
                input.truncate(at);
                input.extend(&other[from.index(other.len() + 1)..]);
            }
        }
    }
    input
}

/// Runs a target with changed seeds for `FUZZ_SECONDS`, or a few hundred times where nobody says how long.
fn fuzz(name: &str) {
    let (_, target) = TARGETS.iter().find(|(own, _)| *own == name).unwrap();
    let seconds = std::env::var("FUZZ_SECONDS").ok().map(|text| text.parse().unwrap());
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let seeds: Vec<Vec<u8>> = seeds(name).into_iter().map(|(_, seed)| seed).collect();
    let inputs = (any::<Index>(), vec(change(), 0..8))
        .prop_map(move |(which, changes)| changed(&seeds, which, &changes));
    let config = || Config { cases: 256, failure_persistence: None, ..Config::default() };
    let mut runs = 0_u64;
    loop {
        let found = TestRunner::new(config()).run(&inputs, |input| {
            target(&input);
            Ok(())
        });
        if let Err(TestError::Fail(why, input)) = &found {
            panic!("{name} breaks its promise, {why}:\n{}", input.escape_ascii());
        }
        found.unwrap();
        runs += 256;
        if until.is_none_or(|until| Instant::now() >= until) {
            break;
        }
    }
    println!("{name}: {runs} inputs");
}

#[test]
fn mutations_of_chunks() {
    fuzz("chunks");
}

#[test]
fn mutations_of_client_hello() {
    fuzz("client_hello");
}

#[test]
fn mutations_of_connect() {
    fuzz("connect");
}

#[test]
fn mutations_of_dns() {
    fuzz("dns");
}

#[test]
fn mutations_of_host_name() {
    fuzz("host_name");
}

#[test]
fn mutations_of_http_head() {
    fuzz("http_head");
}

#[test]
fn mutations_of_redact() {
    fuzz("redact");
}

#[test]
fn mutations_of_request_path() {
    fuzz("request_path");
}

#[test]
fn mutations_of_socks() {
    fuzz("socks");
}

#[test]
fn mutations_of_sqlite() {
    fuzz("sqlite");
}
