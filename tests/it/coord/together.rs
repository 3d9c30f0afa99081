//! Many clones at once.

use std::collections::{BTreeMap, BTreeSet};

use super::{Domain, json};

/// As many as the machine can be asked for.
const CLONES: usize = 20;

fn clones(domain: &Domain) -> Vec<String> {
    (0..CLONES).map(|number| domain.another(&format!("clone{number}"))).collect()
}

/// Runs something for each clone, all at once.
fn at_once<T: Send>(clones: &[String], work: impl Fn(usize, &str) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> =
            clones.iter().enumerate().map(|(number, at)| scope.spawn(move || work(number, at))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn a_thousand_items_of_twenty_clones_have_ids_of_their_own() {
    let domain = Domain::new();
    let clones = clones(&domain);
    let made = at_once(&clones, |number, at| {
        let ids: Vec<String> = (0..50)
            .map(|item| {
                let title = format!("item {item} of {number}");
                let words = ["new", "--no-commit", "--json", "--coord-dir", at, &title];
                json(&domain.pier(&words).expect(0))["id"].as_str().unwrap().to_owned()
            })
            .collect();
        domain.pier(&["push", "--coord-dir", at, "-m", "Add items"]).expect(0);
        ids
    });
    assert_eq!(made.iter().map(Vec::len).sum::<usize>(), 1000);
    domain.pier(&["pull"]).expect(0);
    let rows = domain.rows(&["issues"]);
    let ids: BTreeSet<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    let titles: BTreeSet<&str> = rows.iter().map(|row| row["title"].as_str().unwrap()).collect();
    assert_eq!((rows.len(), ids.len(), titles.len()), (1000, 1000, 1000));
    // Every file is called by its id, which is the same in it.
    assert!(rows.iter().all(|row| {
        row["path"].as_str().unwrap().ends_with(&format!("/{}.yaml", row["id"].as_str().unwrap()))
    }));
    for at in &clones {
        assert_eq!(domain.git(at.as_ref(), &["status", "--porcelain"]), "");
    }
}

#[test]
fn each_item_has_one_winner() {
    let domain = Domain::new();
    let ids: Vec<String> = (0..10).map(|number| domain.issue(&format!("item {number}"))).collect();
    let clones = clones(&domain);
    let won = at_once(&clones, |number, at| {
        let name = format!("agent{number}");
        // Each begins with another one.
        let order = ids.iter().cycle().skip(number % ids.len()).take(ids.len());
        let mut won = Vec::new();
        for id in order {
            let said = domain.pier(&["claim", "--coord-dir", at, "--agent-id", &name, id]);
            match said.code() {
                Some(0) => won.push(id.clone()),
                _ => assert!(said.said().contains("coord::refused"), "{}", said.said()),
            }
        }
        won
    });
    let mut winners: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, won) in won.iter().enumerate() {
        for id in won {
            assert_eq!(winners.insert(id, number), None, "{id} was won twice");
        }
    }
    assert_eq!(winners.len(), ids.len());
    // What each believes is what the remote has.
    domain.pier(&["pull"]).expect(0);
    for row in domain.rows(&["issues"]) {
        let winner = winners[row["id"].as_str().unwrap()];
        assert_eq!(row["owner"], format!("agent{winner}"));
    }
}

#[test]
fn a_claim_that_has_ended_is_taken_over() {
    let domain = Domain::new();
    let id = domain.issue("one");
    let other = domain.another("other");
    domain.pier(&["claim", "--agent-id", "a", "--for", "6s", &id]).expect(0);
    let take = || domain.pier(&["claim", "--coord-dir", &other, "--agent-id", "b", &id]);
    take().refused(1, "coord::refused");
    std::thread::sleep(std::time::Duration::from_secs(7));
    take().expect(0);
    // Whoever had it is told, and nobody's work is overwritten.
    domain.pier(&["renew", "--agent-id", "a", &id]).refused(1, "coord::refused");
    domain.pier(&["done", "--agent-id", "a", &id]).refused(1, "coord::refused");
    domain.pier(&["pull"]).expect(0);
    assert_eq!(domain.rows(&["issues"])[0]["owner"], "b");
}
