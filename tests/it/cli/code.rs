//! `pier explain` of a diagnostic code.

use snapbox::str;

use crate::support::{World, check};

#[test]
fn a_code_is_explained() {
    let world = World::new();
    check(
        &world.pier(&["explain", "mount::refused"]),
        str![[r#"
exit 0
-- stdout
mount::refused: What is to be mounted would open the host to the sandbox.

"#]],
    );
    check(
        &world.pier(&["explain", "mount::refused", "--json"]),
        str![[r#"
exit 0
-- stdout
{
  "what": "mount::refused",
  "kind": "code",
  "meaning": "What is to be mounted would open the host to the sandbox."
}

"#]],
    );
}

#[test]
fn a_code_is_explained_without_a_project() {
    let world = World::with("netwrk none\n");
    check(
        &world.pier(&["explain", "config::unknown-node"]),
        str![[r#"
exit 0
-- stdout
config::unknown-node: There is no such setting at this place.

"#]],
    );
}

#[test]
fn a_word_that_is_no_code_is_a_path() {
    check(
        &World::new().pier(&["explain", "mount::refusd"]),
        str![[r#"
exit 0
-- stdout
yes: `mount::refusd` is visible, at `/workspace/mount::refusd`, read-write
because `/workspace` is mounted, and nothing is there now (built-in)

"#]],
    );
}
