//! What is done about one path of a prefix, from what is wanted there, what the manifest lists, and what is found. Pure.

use camino::Utf8PathBuf;

use super::manifest::{Entry, Sha256};
use super::older::Claim;

/// What is at a path; no link was followed to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Nothing,
    /// A file, with its digest where it is small enough to be one that is wanted or listed.
    File(Option<Sha256>),
    /// A link, with its target where that is UTF-8.
    Link(Option<Utf8PathBuf>),
    /// A directory, a socket, a device.
    Other,
    /// A directory above is a symbolic link: the path below the prefix.
    BehindLink(Utf8PathBuf),
    /// What should be a directory above is none.
    BehindFile(Utf8PathBuf),
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Nothing is there.
    Write,
    /// pier's own, from before.
    Replace,
    /// It is what it should be.
    Keep,
    /// The same content is there, and pier did not write it: it stays when pier goes.
    Leave,
    Remove,
    /// It was pier's and is gone already.
    Gone,
}

/// Why nothing may be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// pier wrote it, and it is another content now.
    Edited,
    /// pier did not write it.
    Foreign,
    /// The path below the prefix of a link that leads there.
    Link(Utf8PathBuf),
    /// The path below the prefix of what is no directory.
    NotDirectory(Utf8PathBuf),
    /// The older tool lists it, and it is not what that tool writes.
    NotOlder,
}

/// Whether files that were edited are replaced and removed too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edited {
    Refuse,
    Override,
}

/// What the manifest of this or of an older tool says about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed<'a> {
    No,
    Own(&'a Entry),
    /// By the tool whose names pier has taken over.
    Older(Claim),
}

/// Returns what is done about one path; `wanted` is `None` where nothing shall be there any more.
pub fn decide(
    wanted: Option<&Entry>,
    listed: Listed<'_>,
    found: &Found,
    edited: Edited,
) -> Result<Step, Refusal> {
    let change = if wanted.is_some() { Step::Replace } else { Step::Remove };
    let wanted_found = wanted.is_some_and(|wanted| matches(wanted, found));
    match (found, listed) {
        (Found::BehindLink(link), _) => Err(Refusal::Link(link.clone())),
        (Found::BehindFile(file), _) => Err(Refusal::NotDirectory(file.clone())),
        (Found::Nothing, _) if wanted.is_some() => Ok(Step::Write),
        (Found::Nothing, _) => Ok(Step::Gone),
        (_, Listed::Own(_)) if wanted_found => Ok(Step::Keep),
        (_, Listed::No | Listed::Older(_)) if wanted_found => Ok(Step::Leave),
        (_, Listed::Own(entry)) if matches(entry, found) => Ok(change),
        (Found::File(_) | Found::Link(_), Listed::Own(_)) if edited == Edited::Override => Ok(change),
        (Found::File(_) | Found::Link(_), Listed::Own(_)) => Err(Refusal::Edited),
        (Found::File(_) | Found::Link(_), Listed::Older(Claim::Its)) => Ok(change),
        (Found::File(_) | Found::Link(_), Listed::Older(Claim::Another)) if edited == Edited::Override => {
            Ok(change)
        }
        (Found::File(_) | Found::Link(_), Listed::Older(Claim::Another)) => Err(Refusal::NotOlder),
        _ => Err(Refusal::Foreign),
    }
}

/// Says whether what is found is what an entry stands for.
fn matches(entry: &Entry, found: &Found) -> bool {
    match (entry, found) {
        (Entry::File { sha256, before, .. }, Found::File(Some(digest))) => {
            sha256 == digest || before.contains(digest)
        }
        (Entry::Link { target }, Found::Link(to)) => to.as_ref() == Some(target),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn file(text: &str) -> Entry {
        Entry::File { sha256: Sha256::of(text.as_bytes()), before: BTreeSet::new(), size: 9 }
    }

    fn found(text: &str) -> Found {
        Found::File(Some(Sha256::of(text.as_bytes())))
    }

    #[test]
    fn nothing_but_what_pier_wrote_is_replaced_or_removed() {
        use Listed::{No, Older, Own};
        let (old, new) = (file("old"), file("new"));
        let link = Entry::Link { target: "pier".into() };
        let linked = |to: &str| Found::Link(Some(to.into()));
        let before = [b"old", b"mid"].map(|text| Sha256::of(text)).into();
        let pending = Entry::File { sha256: Sha256::of(b"new"), before, size: 3 };
        let behind = || Found::BehindLink("bin".into());
        let linked_above = || Err(Refusal::Link("bin".into()));
        let cases = [
            (Some(&new), No, Found::Nothing, Ok(Step::Write)),
            (Some(&new), Own(&old), Found::Nothing, Ok(Step::Write)),
            (Some(&new), Own(&old), found("old"), Ok(Step::Replace)),
            (Some(&new), Own(&pending), found("old"), Ok(Step::Replace)),
            (Some(&new), Own(&pending), found("mid"), Ok(Step::Replace)),
            (Some(&new), Own(&old), found("new"), Ok(Step::Keep)),
            (Some(&new), Own(&old), found("edited"), Err(Refusal::Edited)),
            (Some(&new), Own(&old), Found::File(None), Err(Refusal::Edited)),
            (Some(&new), No, Found::File(None), Err(Refusal::Foreign)),
            (Some(&link), Older(Claim::Its), Found::File(None), Ok(Step::Replace)),
            (None, Own(&old), Found::File(None), Err(Refusal::Edited)),
            (Some(&new), Own(&old), linked("pier"), Err(Refusal::Edited)),
            (Some(&new), Own(&old), Found::Other, Err(Refusal::Foreign)),
            (Some(&new), No, found("new"), Ok(Step::Leave)),
            (Some(&new), No, found("foreign"), Err(Refusal::Foreign)),
            (Some(&new), No, behind(), linked_above()),
            (Some(&link), Own(&link), linked("pier"), Ok(Step::Keep)),
            (Some(&link), Own(&link), linked("elsewhere"), Err(Refusal::Edited)),
            (Some(&link), Own(&link), Found::Link(None), Err(Refusal::Edited)),
            (Some(&link), No, found("wrapper"), Err(Refusal::Foreign)),
            (Some(&link), Older(Claim::Its), found("wrapper"), Ok(Step::Replace)),
            (Some(&link), Older(Claim::Its), linked("elsewhere"), Ok(Step::Replace)),
            (Some(&link), Older(Claim::Another), found("mine"), Err(Refusal::NotOlder)),
            (Some(&link), Older(Claim::Another), linked("elsewhere"), Err(Refusal::NotOlder)),
            (Some(&link), Older(Claim::Another), Found::Other, Err(Refusal::Foreign)),
            (None, Own(&old), found("old"), Ok(Step::Remove)),
            (None, Own(&pending), found("new"), Ok(Step::Remove)),
            (None, Own(&old), Found::Nothing, Ok(Step::Gone)),
            (None, Own(&old), found("edited"), Err(Refusal::Edited)),
            (None, Own(&link), linked("elsewhere"), Err(Refusal::Edited)),
            (None, Own(&old), behind(), linked_above()),
        ];
        for (wanted, listed, found, expected) in cases {
            let decided = decide(wanted, listed, &found, Edited::Refuse);
            assert_eq!(decided, expected, "{wanted:?} {listed:?} {found:?}");
            // Force is for edited files alone, the older tool's included.
            let forced = decide(wanted, listed, &found, Edited::Override);
            let change = if wanted.is_some() { Step::Replace } else { Step::Remove };
            let forcible = matches!(expected, Err(Refusal::Edited | Refusal::NotOlder));
            let expected = if forcible { Ok(change) } else { expected };
            assert_eq!(forced, expected, "forced: {wanted:?} {listed:?} {found:?}");
        }
    }
}
