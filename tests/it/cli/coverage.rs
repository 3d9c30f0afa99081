//! Every diagnostic code has a snapshot.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The policy is read from `/etc` alone, so the tests beside the code make this one.
const ELSEWHERE: &[&str] = &["policy::ceiling"];

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
    // No command reads tasks yet: their codes are in the tests beside the code.
    for path in ["src/task/tests.rs", "src/task/tests/directories.rs"] {
        texts.push_str(&fs::read_to_string(root.join(path)).unwrap());
    }
    // A snapshot has the code alone on its line; other tests look for it by name.
    let shown = |code: &str| {
        let quoted = ["(", ", ", "== ", "= "].map(|before| format!("{before}\"{code}\""));
        let forms = [vec![format!("\n{code}\n")], quoted.to_vec()].concat();
        forms.iter().any(|form| texts.contains(form))
    };
    let mut used = String::new();
    gather(&root.join("src"), &mut used);
    let used = used.replace(&source, "");
    let words = used.split('"').filter(|word| is_code(word)).collect::<BTreeSet<&str>>();
    let unknown: Vec<&&str> = words.difference(&codes).collect();
    assert!(unknown.is_empty(), "the table of codes has no {unknown:?}");
    let unused: Vec<&&str> = codes.difference(&words).collect();
    assert!(unused.is_empty(), "nothing reports {unused:?}");
    let missing: Vec<&&str> = codes.iter().filter(|code| !shown(code) && !ELSEWHERE.contains(code)).collect();
    assert!(missing.is_empty(), "no snapshot shows {missing:?}");
}

fn is_code(word: &str) -> bool {
    let part =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    word.split_once("::").is_some_and(|(area, name)| part(area) && part(name))
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
