//! Runs every case in its columns, a few at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::case::{Action, Around, Case, Column, Open, Verdict};
use super::internet::Internet;
use super::scene::{Scene, no_marker, probed};
use super::stage::Stage;
use super::world::{OWNER, World};
use crate::docker;
use crate::sandbox::{is_root, was_too_late};

/// Runs at a time: most of them wait for something.
const WORKERS: usize = 4;

/// A case with what was found in each column; none where the case is not meant for it.
pub struct Row<'a> {
    pub case: &'a Case,
    pub cells: Vec<(Column, Verdict)>,
    pub took: Duration,
}

/// Runs them all. `ATTACKS=A,E10` in the environment runs those sections or ids alone.
pub fn all<'a>(cases: &[&'a Case]) -> Vec<Row<'a>> {
    let wanted = chosen();
    let cases: Vec<&'a Case> = cases
        .iter()
        .filter(|case| wanted.is_empty() || wanted.iter().any(|word| matches(word, case.id)))
        .copied()
        .collect();
    // From the end: the cases that wait longest are there, and nothing should wait for them alone.
    let jobs: Vec<(usize, Column)> = (0..cases.len())
        .rev()
        .flat_map(|index| Column::ALL.map(|column| (index, column)))
        .filter(|(index, column)| meant(cases[*index], *column))
        .collect();
    let found: Mutex<Vec<(usize, Column, Verdict, Duration)>> = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((index, column)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let start = Instant::now();
                    let verdict = judge(cases[*index], *column);
                    found.lock().unwrap().push((*index, *column, verdict, start.elapsed()));
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap();
    // What may only show that the machine is busy is looked at again, alone.
    for (index, column, verdict, took) in &mut found {
        if *column == Column::Open && *verdict == Verdict::Held || matches!(verdict, Verdict::Late(_)) {
            let start = Instant::now();
            println!("{} ({}) is run again, alone: {verdict:?}", cases[*index].id, column.name());
            *verdict = match judge(cases[*index], *column) {
                Verdict::Late(what) => Verdict::Open(what),
                other => other,
            };
            *took += start.elapsed();
        }
    }
    let row = |(index, case): (usize, &&'a Case)| {
        let of = |column| found.iter().find(|(at, of, ..)| *at == index && *of == column);
        let cells = Column::ALL.into_iter().filter_map(|column| Some((column, of(column)?.2.clone())));
        let took = found.iter().filter(|(at, ..)| *at == index).map(|(.., took)| *took).sum();
        Row { case, cells: cells.collect(), took }
    };
    cases.iter().enumerate().map(row).collect()
}

#[expect(clippy::disallowed_methods, reason = "a choice of the person who runs the tests")]
fn chosen() -> Vec<String> {
    let text = std::env::var("ATTACKS").unwrap_or_default();
    text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn matches(word: &str, id: &str) -> bool {
    super::covers(word, id) || (word.len() == 1 && id.starts_with(word))
}

fn meant(case: &Case, column: Column) -> bool {
    match column {
        // A shell of the host's is not in an image.
        Column::Nix if case.around == Around::Engine => false,
        Column::Nix => case.columns.iter().any(|column| matches!(column, Column::User | Column::Nix)),
        Column::Open => !matches!(case.action, Action::Later(_)),
        column => case.columns.contains(&column),
    }
}

/// Runs one case in one column; a panic of its steps is what was seen.
fn judge(case: &Case, column: Column) -> Verdict {
    was_too_late();
    match find(case, column) {
        Verdict::Open(what) if column != Column::Open && was_too_late() => Verdict::Late(what),
        other => other,
    }
}

fn find(case: &Case, column: Column) -> Verdict {
    let run = AssertUnwindSafe(|| {
        if column == Column::Open { without_sandbox(case) } else { in_sandbox(case, column) }
    });
    catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        Verdict::open(text.split_whitespace().collect::<Vec<_>>().join(" "))
    })
}

fn in_sandbox(case: &Case, column: Column) -> Verdict {
    if let Action::Later(reason) = case.action {
        return Verdict::CannotRun(reason.to_owned());
    }
    if column == Column::Nix && !case.columns.contains(&Column::Nix) {
        return Verdict::CannotRun(
            "a shell with the tools of the case cannot be built without nixpkgs".into(),
        );
    }
    if column.by_root() && !is_root() {
        return Verdict::CannotRun("the tests do not run as root".into());
    }
    let uid = if column == Column::AsRoot { 0 } else { own_uid() };
    match stage(case, column, uid) {
        Ok(stage) => act(case, &stage),
        Err(reason) => Verdict::CannotRun(reason),
    }
}

/// Makes the world of one run, or says why it cannot be.
fn stage(case: &Case, column: Column, uid: u32) -> Result<Stage, String> {
    if case.around == Around::Internet && !is_root() {
        return Err("only root can make a network".into());
    }
    let engine = match case.around {
        Around::Engine => Some(docker::address()?),
        Around::Own | Around::Internet => None,
    };
    let world = World::new(uid, case.config, case.prepare);
    let internet = (case.around == Around::Internet).then(|| Internet::new(&world));
    let stage = Stage { world, column, open: case.open, internet, engine };
    if case.around != Around::Own && stage.sandboxed() {
        // What could not be approved does not run, which every check sees.
        let _refused = stage.pier(&["trust"]);
    }
    Ok(stage)
}

/// The user that owns the project.
fn own_uid() -> u32 {
    if is_root() { OWNER } else { nix::unistd::geteuid().as_raw() }
}

fn without_sandbox(case: &Case) -> Verdict {
    match case.open {
        Open::Not(reason) => return Verdict::CannotRun(reason.to_owned()),
        Open::Root | Open::RootProbe(_) | Open::RootIfThere if !is_root() => {
            return Verdict::CannotRun("the tests do not run as root".into());
        }
        _ => {}
    }
    let stage = match stage(case, Column::Open, own_uid()) {
        Ok(stage) => stage,
        Err(reason) => return Verdict::CannotRun(reason),
    };
    if let Open::RootProbe(words) = case.open {
        return probed(&stage.probe(words));
    }
    match (case.open, act(case, &stage)) {
        (Open::RootIfThere, Verdict::Held) => {
            Verdict::CannotRun("the kernel of this machine has none".into())
        }
        (_, Verdict::Held) => Verdict::Held,
        (_, other) => other,
    }
}

fn act(case: &Case, stage: &Stage) -> Verdict {
    match case.action {
        Action::Script(script, check) => check(&Scene { stage, ran: stage.bash(script) }),
        Action::Then(script, commands) => {
            let ran = stage.bash(script);
            for words in commands {
                stage.host(words);
            }
            no_marker(&Scene { stage, ran })
        }
        Action::Probe(words) => probed(&stage.probe(words)),
        Action::Steps(steps) => steps(stage),
        Action::Later(reason) => Verdict::CannotRun(reason.to_owned()),
    }
}
