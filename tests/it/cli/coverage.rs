//! Every diagnostic code has a snapshot.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Codes that nothing can cause in a test of the command line alone.
const ELSEWHERE: &[&str] = &[];

#[test]
fn every_diagnostic_code_has_a_snapshot() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = fs::read_to_string(root.join("src/diag/codes.rs")).unwrap();
    let table = source.split("pub const ALL").nth(1).unwrap().split("];").next().unwrap();
    let codes: BTreeSet<&str> =
        table.split('"').filter(|word| word.contains("::") && !word.contains(' ')).collect();
    assert!(codes.contains("config::syntax"), "the table is not where it was: {codes:?}");
    let mut texts = String::new();
    gather(&root.join("tests/it"), &mut texts);
    let missing: Vec<&&str> = codes
        .iter()
        .filter(|code| !ELSEWHERE.contains(code) && !texts.contains(&format!("{code}\n")))
        .collect();
    assert!(missing.is_empty(), "no snapshot shows {missing:?}");
}

fn gather(directory: &Path, texts: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}
