//! What may enter the dependency tree, by `deny.toml`: `cargo deny check` says the same, and takes minutes to be built.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use toml::Table;

fn read(name: &str) -> Table {
    fs_err::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap().parse().unwrap()
}

fn texts<'a>(table: &'a Table, path: [&str; 2]) -> Vec<&'a toml::Value> {
    table[path[0]][path[1]].as_array().unwrap().iter().collect()
}

/// Says whether a license expression leaves a choice among these.
fn allows(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().collect::<Vec<_>>().into_iter().peekable();
    let allows = any_of(&mut words, allowed);
    assert!(words.next().is_none(), "`{expression}` is read to its end");
    allows
}

type Words<'a> = std::iter::Peekable<std::vec::IntoIter<&'a str>>;

fn any_of(words: &mut Words<'_>, allowed: &BTreeSet<&str>) -> bool {
    let mut any = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        any |= all_of(words, allowed);
    }
    any
}

fn all_of(words: &mut Words<'_>, allowed: &BTreeSet<&str>) -> bool {
    let mut all = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        all &= one(words, allowed);
    }
    all
}

fn one(words: &mut Words<'_>, allowed: &BTreeSet<&str>) -> bool {
    if words.next_if_eq(&"(").is_some() {
        let inner = any_of(words, allowed);
        assert_eq!(words.next(), Some(")"));
        return inner;
    }
    let name = words.next().unwrap();
    // An exception is another license.
    let exception = words.next_if_eq(&"WITH").and_then(|_| words.next());
    allowed.contains(name) && exception.is_none()
}

#[test]
fn licenses_are_read_as_they_are_meant() {
    let allowed = BTreeSet::from(["MIT", "Apache-2.0", "Unicode-3.0"]);
    for (expression, expected) in [
        ("MIT", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("(MIT OR GPL-3.0) AND Unicode-3.0", true),
        ("Apache-2.0 WITH LLVM-exception OR MIT", true),
        ("Apache-2.0 WITH LLVM-exception", false),
    ] {
        assert_eq!(allows(expression, &allowed), expected, "{expression}");
    }
}

#[test]
fn every_crate_has_a_license_that_is_allowed() {
    let deny = read("deny.toml");
    let allowed: BTreeSet<&str> =
        texts(&deny, ["licenses", "allow"]).into_iter().map(|name| name.as_str().unwrap()).collect();
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version=1", "--filter-platform", &target])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "{}", packages.len());
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(|license| allows(license, &allowed)))
        .map(|package| format!("{}: {}", package["name"], package["license"]))
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
fn no_crate_is_banned_and_all_are_of_the_registry() {
    let deny = read("deny.toml");
    let banned: BTreeSet<&str> =
        texts(&deny, ["bans", "deny"]).into_iter().map(|ban| ban["crate"].as_str().unwrap()).collect();
    assert_eq!(deny["sources"]["unknown-registry"].as_str(), Some("deny"));
    let lock = read("Cargo.lock");
    let mut sources = BTreeSet::new();
    for package in lock["package"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        assert!(!banned.contains(name), "`{name}` is banned");
        let source = package.get("source").and_then(toml::Value::as_str);
        assert!(
            source.is_some_and(|source| source.starts_with("registry+")) || name == "pier",
            "`{name}`: {source:?}"
        );
        sources.extend(source);
        assert!(name == "pier" || package.get("checksum").is_some(), "{name}");
    }
    assert_eq!(sources.len(), 1, "{sources:?}");
    let manifest = read("Cargo.toml");
    for of in ["dependencies", "dev-dependencies"] {
        for (name, wanted) in manifest[of].as_table().unwrap() {
            let version = wanted.as_str().or_else(|| wanted.get("version")?.as_str());
            assert!(version.is_some_and(|version| !version.contains('*')), "`{name}` has any version");
        }
    }
}
