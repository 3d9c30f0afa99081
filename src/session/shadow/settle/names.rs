//! New names that would change what other names mean: git looks for `main` among tags before branches, and for
//! `origin/main` among branches before those of remotes.

use crate::session::shadow::references::References;
use crate::util::git::is_object;

/// Says why a branch or tag of this name, below `refs`, is not made by itself.
pub fn confusing(here: &References, name: &str) -> Option<String> {
    let (kind, short) = name.split_once('/')?;
    if short.starts_with('-') {
        return Some("its name looks like an option".into());
    }
    let special =
        short.ends_with("HEAD") && short.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    if special || is_object(short) || short.starts_with("refs/") {
        return Some("its name means something else to git".into());
    }
    let others =
        ["refs/", "refs/tags/", "refs/heads/", "refs/remotes/"].map(|prefix| format!("{prefix}{short}"));
    let others = others.into_iter().chain([format!("refs/remotes/{short}/HEAD")]);
    let mut others = others.filter(|other| *other != format!("refs/{kind}/{short}"));
    let taken = |other: &String| here.ids.contains_key(other) || here.symbolic.contains_key(other);
    others.find(taken).map(|other| format!("`{other}` has the same short name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mislead_are_found() {
        let mut here = References::default();
        for name in ["refs/heads/main", "refs/remotes/origin/main", "refs/tags/v1"] {
            here.ids.insert(name.into(), "a".repeat(40));
        }
        here.symbolic.insert("refs/remotes/origin/HEAD".into(), "refs/remotes/origin/main".into());
        let hex = format!("heads/{}", "a".repeat(40));
        for name in [
            "heads/-rf",
            "tags/main",
            "heads/v1",
            "heads/origin/main",
            "heads/origin",
            "heads/HEAD",
            "tags/ORIG_HEAD",
            &hex,
        ] {
            assert!(confusing(&here, name).is_some(), "{name}");
        }
        for name in ["heads/main", "heads/feature/x", "tags/v2", "heads/origin-main", "heads/AHEAD-of"] {
            assert_eq!(confusing(&here, name), None, "{name}");
        }
    }
}
