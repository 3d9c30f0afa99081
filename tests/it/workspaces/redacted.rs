//! What an exported trial does not say: the values that the workspace was started with.

use std::io::Read as _;

use super::World;
use crate::docker::{DEBIAN, can_run};
use crate::sandbox::{Call, Output};

impl World {
    /// What an export says of the agent's words, and what was said meanwhile.
    fn exported(&self, prepare: impl FnOnce(Call) -> Call, more: &[&str]) -> (String, Output) {
        let words = [&["traces", "-o", "../one.tar.gz"], more].concat();
        let said = prepare(self.within("ws", &words)).run().expect(0);
        let file = fs_err::File::open(self.place("one.tar.gz")).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
        let mut found = None;
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            if entry.path().unwrap().ends_with("agent/codex.txt") {
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                found = Some(text);
            }
        }
        (found.unwrap(), said)
    }
}

#[test]
fn an_export_is_without_what_the_workspace_was_started_with() {
    if !can_run() {
        return;
    }
    let world = World::new();
    let given = ["-e", "DB_PASSWORD=hunter2-of-the-start", "-e", "GREETING=plain-words-42"];
    world.start("ws", DEBIAN, &given).run().expect(0);
    let text = "hunter2-of-the-start plain-words-42 ghp_0123456789abcdefghij\n";
    world.0.write("ws/.pier/_harbor/agent/exec/2026-01-01_00-00-00-aaaaaa/codex.txt", text);
    world.within("ws", &["capture", "--agent", "codex"]).run().expect(0);
    // While it runs, its init knows them. What is harmless stays, as with the variables of whoever exports.
    let (found, said) = world.exported(|call| call, &[]);
    assert_eq!(found, "[REDACTED] plain-words-42 [REDACTED]\n");
    assert!(!said.said().contains("kept nowhere"), "{}", said.said());
    world.within("ws", &["stop"]).run().expect(0);
    // Then nobody does, and that is said by name.
    let (found, said) = world.exported(|call| call, &[]);
    assert_eq!(found, "hunter2-of-the-start plain-words-42 [REDACTED]\n");
    let flat = said.flat();
    assert!(
        flat.contains("the values of `DB_PASSWORD`, `GREETING` that this workspace was started with"),
        "{flat}"
    );
    assert!(flat.contains("`DB_PASSWORD=… GREETING=… pier traces -o FILE`"), "{flat}");
    let (found, said) = world.exported(|call| call.env("DB_PASSWORD", "hunter2-of-the-start"), &[]);
    assert_eq!(found, "[REDACTED] plain-words-42 [REDACTED]\n");
    assert!(said.flat().contains("the values of `GREETING` that"), "{}", said.said());
    let (found, said) = world.exported(|call| call, &["--unredacted"]);
    assert_eq!(found, text);
    assert!(!said.said().contains("kept nowhere"), "{}", said.said());
}
