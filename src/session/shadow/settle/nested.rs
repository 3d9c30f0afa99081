//! Commits that add a nested repository: in the index of the host it would be one that git runs in.

use super::Host;
use crate::backend::git::Error;

/// Says why a commit must not follow: it has gitlinks that `old` has not.
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
        if entry.starts_with(b":") && entry.get(8..14) == Some(b"160000") {
            return Ok(Some(format!("it adds the nested repository `{}`", String::from_utf8_lossy(path))));
        }
    }
    Ok(None)
}
