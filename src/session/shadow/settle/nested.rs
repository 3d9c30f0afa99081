//! Commits that add what the host's index must not have: a nested repository, in which git would run, and names that
//! would make the index hard to read.

use super::Host;
use crate::backend::git::Error;

/// The longest path that a system call takes, in bytes.
const MOST_PATH: usize = 4095;

/// Says why a commit must not follow: it has gitlinks that `old` has not, or names that no index should have.
///
/// The agent may have made a repository at that place, with a configuration that names programs, and
/// `git status` obeys it as soon as the index has the gitlink.
pub fn reason(host: &Host<'_>, old: Option<&str>, new: &str) -> Result<Option<String>, Error> {
    let old = old.unwrap_or(Host::empty_tree(new));
    let words =
        ["diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-ext-diff", "--diff-filter=AT", old, new];
    let listed = host.run(&words)?;
    // `:000000 160000 0000 abcd A` and the path, each ended by a zero byte.
    let mut fields = listed.split(|byte| *byte == 0);
    while let (Some(entry), Some(path)) = (fields.next(), fields.next()) {
        if path.len() > MOST_PATH {
            return Ok(Some(format!("it adds a path of {} bytes, which no disk can hold", path.len())));
        }
        if entry.starts_with(b":") && entry.get(8..14) == Some(b"160000") {
            return Ok(Some(format!("it adds the nested repository `{}`", String::from_utf8_lossy(path))));
        }
    }
    Ok(None)
}
