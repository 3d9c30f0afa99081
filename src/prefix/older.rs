//! What the older tool `pi-env` left below a prefix, whose names pier takes over.
//!
//! Its manifest has absolute paths, one a line, and no digests: a line in it proves nothing about what is there now. So a
//! file is that tool's by what is in it as well.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;

use super::Error;
use super::decide::Found;
use super::manifest::{MOST_BYTES, Place};
use super::tree::Tree;

const MANIFEST: &str = "share/pi-env/install-manifest";

/// More than any wrapper or completion of that tool has, in bytes.
const MOST_SCRIPT_BYTES: u64 = 64 << 10;

/// How its wrappers begin.
const FIRST_LINE: &str = "#!/usr/bin/env bash\n";

/// Where its own files are: every wrapper leads there.
const SHARED: &str = "share/pi-env";

/// What its completion ends with, which is not executable and leads nowhere.
const COMPLETES: &str = "complete -F _pienv pienv";

/// Whose a path is that the older tool lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// What is there is what that tool writes.
    Its,
    /// It is something else.
    Another,
}

/// Returns what the older tool lists of `places`.
pub fn read(
    tree: &Tree,
    prefix: &Utf8Path,
    places: &BTreeSet<Place>,
) -> Result<BTreeMap<Place, Claim>, Error> {
    if places.is_empty() {
        return Ok(BTreeMap::new());
    }
    let broken = |reason| Error::Manifest { path: prefix.join(MANIFEST), reason };
    let bytes = tree
        .read(&super::place(MANIFEST, prefix)?, MOST_BYTES)
        .map_err(|error| broken(error.to_string()))?
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let below = text.lines().filter_map(|line| Place::parse(Utf8Path::new(line).strip_prefix(prefix).ok()?));
    let listed = below.filter(|place| places.contains(place));
    Ok(listed.map(|place| (place.clone(), claim(tree, prefix, &place))).collect())
}

fn claim(tree: &Tree, prefix: &Utf8Path, place: &Place) -> Claim {
    let its = match tree.look(place, 0) {
        Ok(Found::File(_)) => is_script(tree, place),
        Ok(Found::Link(Some(target))) => {
            target.starts_with(prefix.join(SHARED)) || target.starts_with(format!("../{SHARED}"))
        }
        _ => false,
    };
    if its { Claim::Its } else { Claim::Another }
}

fn is_script(tree: &Tree, place: &Place) -> bool {
    // What is larger or cannot be read is another file.
    let bytes = tree.read(place, MOST_SCRIPT_BYTES).ok().flatten().unwrap_or_default();
    let Ok(text) = std::str::from_utf8(&bytes) else { return false };
    let wrapper = text.starts_with(FIRST_LINE) && text.contains(SHARED);
    wrapper || (!place.path().starts_with("bin") && text.trim_end().ends_with(COMPLETES))
}
