use super::read::{Break, Chain};
use super::*;

fn start() -> Event {
    Event::Start {
        project: "/project".into(),
        plan: sha256(b"plan"),
        agent: None,
        command: "a\n{\"seq\":1}".into(),
        arguments: 2,
    }
}

fn sample() -> (tempfile::TempDir, Utf8PathBuf, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let state = Utf8PathBuf::from_path_buf(directory.path().canonicalize().unwrap()).unwrap();
    let mut log = Log::start(&state, "abcdefgh", &start()).unwrap();
    let finding = Finding { path: "a\nb\"}\u{1b}]0;x".into(), kind: "hook".into(), what: "\u{2028}".into() };
    log.append(&Event::Gate { findings: vec![finding], omitted: 0 }).unwrap();
    log.append(&Event::Signal { signal: 15, from: "pier stop".into() }).unwrap();
    log.append(&Event::End { how: How::Ended, code: 3, seconds: 0.25 }).unwrap();
    let path = log.path.clone();
    (directory, path.clone(), File::open(&path).map(read_all).unwrap())
}

fn read_all(mut file: File) -> Vec<u8> {
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut file, &mut bytes).unwrap();
    bytes
}

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').collect()
}

fn fault(bytes: &[u8]) -> Option<(usize, Break)> {
    Chain::follow(bytes).fault.map(|fault| (fault.line, fault.what))
}

#[test]
fn a_file_is_private_and_its_chain_holds() {
    use std::os::unix::fs::PermissionsExt as _;
    let (directory, path, bytes) = sample();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(path.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let chain = Chain::follow(&bytes);
    assert_eq!((chain.fault, chain.lines.len()), (None, 4));
    assert_eq!(chain.end(), Some((How::Ended, 3, 0.25)));
    assert_eq!(chain.lines[0].event, start());
    let state = Utf8Path::from_path(directory.path()).unwrap();
    let listed = read::list(state).unwrap();
    assert_eq!(listed.iter().map(|entry| entry.session.as_str()).collect::<Vec<_>>(), ["abcdefgh"]);
}

#[test]
fn no_text_makes_a_line_of_its_own() {
    let (_directory, _, bytes) = sample();
    assert_eq!(lines(&bytes).len(), 4);
    // A byte that steers a terminal is written out as well.
    assert!(!bytes.contains(&0x1b));
}

type Case = (&'static str, Vec<u8>, Option<(usize, Break)>);

#[test]
fn every_change_of_a_file_is_found() {
    let (_directory, _, bytes) = sample();
    let all = lines(&bytes);
    let replaced = |from: &str, to: &str| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.contains(from));
        text.replacen(from, to, 1).into_bytes()
    };
    let resealed = |seq: u64, event: &Event, previous: &str| {
        seal(seq, Timestamp::now(), "abcdefgh", event, previous).unwrap().0
    };
    let chain = Chain::follow(&bytes);
    let hash = |index: usize| chain.lines[index].hash.clone();
    let denial = Event::Denial { what: "x".into() };
    let table: [Case; 13] = [
        ("untouched", bytes.clone(), None),
        ("a changed value", replaced("\"signal\":15", "\"signal\":16"), Some((3, Break::Hash))),
        ("a changed hash", replaced(&hash(1), NOTHING), Some((2, Break::Hash))),
        ("a line removed", [all[0], all[2], all[3]].concat(), Some((2, Break::Sequence))),
        ("the first removed", all[1..].concat(), Some((1, Break::Sequence))),
        ("the last removed", all[..3].concat(), None),
        ("two swapped", [all[0], all[2], all[1], all[3]].concat(), Some((2, Break::Sequence))),
        (
            "one put in, well made",
            [all[0], &resealed(1, &denial, &hash(0)), all[1], all[2], all[3]].concat(),
            Some((3, Break::Sequence)),
        ),
        (
            "one rewritten, well made",
            [all[0], &resealed(1, &denial, &hash(0)), all[2], all[3]].concat(),
            Some((3, Break::Previous)),
        ),
        ("cut in the last line", bytes[..bytes.len() - 9].to_vec(), Some((4, Break::CutOff))),
        ("nothing left", Vec::new(), Some((1, Break::Empty))),
        ("a line more", [&bytes[..], &resealed(4, &denial, &hash(3))].concat(), Some((5, Break::AfterEnd))),
        ("text between", [all[0], b"{}\n", all[1]].concat(), Some((2, Break::NotALine))),
    ];
    for (name, bytes, expected) in table {
        assert_eq!(fault(&bytes), expected, "{name}");
    }
}

#[test]
fn a_member_behind_the_hash_is_not_overlooked() {
    let (_directory, _, bytes) = sample();
    let text = String::from_utf8(bytes).unwrap().replacen("\"}\n", "\" }\n", 1);
    assert_eq!(fault(text.as_bytes()), Some((1, Break::NotALine)));
}

#[test]
fn a_long_list_is_cut_and_counted() {
    let finding = Finding { path: "x".into(), kind: "hook".into(), what: String::new() };
    let long = Event::Gate { findings: vec![finding.clone(); MOST_ENTRIES + 5], omitted: 1 };
    let short = Event::Gate { findings: vec![finding; MOST_ENTRIES], omitted: 6 };
    assert_eq!(*bounded(&long), short);
    assert_eq!(*bounded(&short), short);
}
