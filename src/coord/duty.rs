//! What the session of a role says of an item, and what it leaves to others, whatever it forces.

use super::select::Stage;
use super::transition::{Action, Refusal};

/// Roles that come with pier; another one has its own rules.
const KNOWN: [&str; 5] = ["architect", "builder", "developer", "reviewer", "tester"];

/// Who closes.
const CLOSES: &str = "somebody without a role closes it, or the loop, when it is done, reviewed and verified";

/// Who forces.
const FORCES: &str = "`--force` is for somebody without a role: a person, who unsets `PI_COORD_ROLE`";

/// Returns the role that counts of those that a session is said to have; the first that is known, or else the first.
pub fn of_session<'a>(named: &[&'a str]) -> Option<&'a str> {
    named.iter().find(|role| KNOWN.contains(role)).or(named.first()).copied()
}

/// Refuses what is not for the role of a session to say.
pub fn require(role: Option<&str>, action: &Action, id: &str) -> Result<(), Refusal> {
    let Some(role) = role else { return Ok(()) };
    let (what, not_for, who, force): (_, &[&str], _, _) = match action {
        Action::Review { force, .. } => {
            ("review", &["builder", "developer", "tester"], "a reviewer does", *force)
        }
        Action::Verify { force, .. } => {
            ("verify", &["builder", "developer", "reviewer"], "a tester does", *force)
        }
        Action::Close { force, .. } => {
            ("close", &["builder", "developer", "reviewer", "tester"], CLOSES, *force)
        }
        _ => return Ok(()),
    };
    let refuse = |who| Refusal::NotForRole { id: id.to_owned(), role: role.to_owned(), what, who };
    if not_for.contains(&role) {
        return Err(refuse(who));
    }
    if force { Err(refuse(FORCES)) } else { Ok(()) }
}

/// Says whether an event is one that a session of a loop may leave at its item.
pub fn may_say(kind: &str, stage: Stage) -> bool {
    match kind {
        "updated" | "linked" => true,
        "claimed" | "done" | "blocked" | "reopened" => stage == Stage::Develop,
        "reviewed" | "review_failed" => stage == Stage::Review,
        "verified" | "verification_failed" => stage == Stage::Test,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_leaves_to_others_what_is_theirs() {
        let review = |force| Action::Review { passed: true, force };
        let verify = |force| Action::Verify { passed: false, force };
        let close = |force| Action::Close { references: Vec::new(), force };
        let may = |role: Option<&str>, action: Action| require(role, &action, "I").is_ok();
        for force in [false, true] {
            assert!(may(None, review(force)) && may(None, verify(force)) && may(None, close(force)));
            for role in ["developer", "builder"] {
                assert!(!may(Some(role), review(force)) && !may(Some(role), verify(force)), "{role}");
            }
            for role in ["developer", "builder", "reviewer", "tester"] {
                assert!(!may(Some(role), close(force)), "{role}");
            }
            assert!(!may(Some("reviewer"), verify(force)) && !may(Some("tester"), review(force)));
            // What nobody is without, only a person is.
            for role in ["architect", "reviewer", "qa"] {
                assert_eq!(may(Some(role), review(force)), !force, "{role}");
            }
        }
        assert!(may(Some("developer"), Action::Claim { until: None, force: true }));
        let why = require(Some("developer"), &close(true), "I").unwrap_err();
        assert_eq!(why.to_string(), "`I`: a session of the role developer does not close");
    }

    #[test]
    fn the_role_that_pier_knows_counts() {
        assert_eq!(of_session(&["team", "developer"]), Some("developer"));
        assert_eq!(of_session(&["reviewer", "developer"]), Some("reviewer"));
        assert_eq!((of_session(&["team", "x"]), of_session(&[])), (Some("team"), None));
    }
}
