//! The attack catalogue: each attack is data, run in every way that pier is called and once without any sandbox.
//!
//! What counts is the effect on the host. Each check is shown to fail where there is no sandbox, so that none holds by
//! accident, and what holds in spite of [`not_yet`] fails too, so that the list shrinks. The report is printed and
//! kept in `target/tmp/attacks.txt`.

mod a;
mod b;
mod c;
mod case;
mod d;
mod e;
mod f;
mod g;
mod h;
mod i;
mod internet;
mod j;
mod k;
mod names;
mod not_yet;
pub mod program;
mod report;
mod run;
mod scene;
mod screen;
mod stage;
mod wire;
mod world;

use case::Case;

/// The ids of the catalogue that a session has to stand.
const IDS: &[&str] = &[
    "A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8", "A9", "A10", "A11", "A12", "A13", "A14", "A15", //
    "B1", "B2", "B3", "B6", "B8", "B9", "B10", "B11", "B12", "B13", "B14", "B15", "B16", "B17",
    "B18", //
    "C2", "C4", "C5", "C6", "C7", "C8", "C9", "C10", //
    "D1", "D2", "D3", "D4", "D6", "D7", "D8", "D10", "D11", "D12", "D13", "D16", "D17", "D18", "D19", "D20",
    "D21", "D22", "D23", "D24", "D27", //
    "E1", "E2", "E4", "E5", "E6", "E7", "E9", "E10", "E11", "E12", "E13", "E14", "E15", "E16", "E17", //
    "F1", "F2", "F3", "F4", "F6", "F7", "F8", "F9", "F10", //
    "G1", "G2", "G3", "G4", "G5", "G7", "G8", "G9", "G10", //
    "H1", "H2", "H3", "H4", "H6", "H8", "H10", "H11", "H12", "H13", "H14", //
    "I1", "I2", "I3", "I5", "I6", "I7", "I8", //
    "J1", "J3", "J4", "J5", //
    "K3", "K4", "K5", "K6", "K7", "K8",
];

fn catalogue() -> Vec<&'static Case> {
    [
        a::CASES,
        b::CASES,
        c::CASES,
        d::CASES,
        d::names::CASES,
        d::sessions::CASES,
        e::CASES,
        e::PROBES,
        f::CASES,
        g::CASES,
        h::CASES,
        i::CASES,
        i::image::CASES,
        i::engine::CASES,
        i::process::CASES,
        j::CASES,
        k::CASES,
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn every_id_of_the_catalogue_has_a_case_and_each_case_one_name() {
    let cases = catalogue();
    let family = |case: &&Case| case.id.split('.').next().unwrap();
    let missing: Vec<&&str> =
        IDS.iter().filter(|id| !cases.iter().any(|case| family(case) == **id)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let mut names: Vec<&str> = cases.iter().map(|case| case.id).collect();
    names.sort_unstable();
    let twice: Vec<&[&str]> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let stale: Vec<&&str> =
        not_yet::LIST.iter().map(|(id, _)| id).filter(|id| !names.iter().any(|name| name == *id)).collect();
    assert!(stale.is_empty(), "in the list and in no case: {stale:?}");
}

/// Whether an id of the catalogue, or of a case, means this case.
fn covers(wanted: &str, id: &str) -> bool {
    id == wanted || id.split('.').next() == Some(wanted)
}

#[test]
fn every_attack_is_held() {
    let rows = run::all(&catalogue());
    let text = report::render(&rows);
    println!("{text}");
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("attacks.txt");
    // An earlier run by another user leaves a file of that user's; what is printed is the report.
    if let Err(error) = fs_err::write(path, &text) {
        println!("the report is not kept: {error}");
    }
    let wrong = report::wrong(&rows);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
