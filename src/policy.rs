//! What is allowed: grants in canonical form, their digest, what is new in them.

use serde::{Deserialize, Serialize};

pub mod address;
pub mod ceiling;
pub mod host;

/// One permission beyond the baseline, as it is hashed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Grant {
    /// A sentence in fixed words: "read `/opt/tools` at `/opt/tools`".
    pub text: String,
    pub origin: String,
}

/// Returns the SHA-256 over the canonical grants, 64 hex digits.
pub fn digest(grants: &[Grant]) -> String {
    let mut lines: Vec<&str> = grants.iter().map(|grant| grant.text.as_str()).collect();
    lines.sort_unstable();
    lines.dedup();
    crate::util::fs::sha256(format!("pier grants 1\n{}\n", lines.join("\n")).as_bytes())
}

/// Returns the grants that an approval does not cover.
pub fn widened<'a>(grants: &'a [Grant], approved: &[String]) -> Vec<&'a Grant> {
    grants.iter().filter(|grant| !approved.contains(&grant.text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(texts: &[&str]) -> Vec<Grant> {
        texts.iter().map(|text| Grant { text: (*text).into(), origin: "pier.kdl:1".into() }).collect()
    }

    #[test]
    fn the_digest_does_not_depend_on_order_or_place() {
        let mut moved = grants(&["b", "a", "a"]);
        moved[0].origin = "pier.kdl:7".into();
        assert_eq!(digest(&grants(&["a", "b"])), digest(&moved));
        assert_ne!(digest(&grants(&["a"])), digest(&grants(&["a", "b"])));
    }

    #[test]
    fn a_narrower_file_needs_no_approval() {
        let approved: Vec<String> = ["a", "b"].map(str::to_owned).to_vec();
        assert!(widened(&grants(&["b"]), &approved).is_empty());
        assert_eq!(widened(&grants(&["b", "c"]), &approved)[0].text, "c");
    }
}
