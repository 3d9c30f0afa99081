//! Paths as people write them, made absolute without asking the file system.

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

/// Returns an absolute, lexically clean path: `~` is the home, relative paths start at `base`.
///
/// `..` is resolved by name, so a caller that follows links afterwards must compare with the canonical path.
///
/// # Errors
/// A fragment that fits after "the path … ": it is empty, holds a NUL, or names another user's home.
pub fn expand(text: &str, home: &Utf8Path, base: &Utf8Path) -> Result<Utf8PathBuf, &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    if text.contains('\0') {
        return Err("holds a NUL byte");
    }
    let joined = match text.strip_prefix('~') {
        Some("") => home.to_owned(),
        Some(rest) => match rest.strip_prefix('/') {
            Some(rest) => home.join(rest.trim_start_matches('/')),
            None => return Err("names another user's home"),
        },
        None => base.join(text),
    };
    Ok(clean(&joined))
}

/// Removes `.` and resolves `..` by name; never climbs above `/`.
pub fn clean(path: &Utf8Path) -> Utf8PathBuf {
    let mut out = Utf8PathBuf::from("/");
    for component in path.components() {
        match component {
            Utf8Component::Normal(name) => out.push(name),
            Utf8Component::ParentDir => {
                out.pop();
            }
            Utf8Component::RootDir | Utf8Component::CurDir | Utf8Component::Prefix(_) => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_absolute_by_name() {
        let table = [
            ("~", Ok("/home/me")),
            ("~/x//y/", Ok("/home/me/x/y")),
            ("./cache", Ok("/work/cache")),
            ("../../../..", Ok("/")),
            ("/a/./b/../c", Ok("/a/c")),
            ("", Err("is empty")),
            ("~root/x", Err("names another user's home")),
            ("a\0b", Err("holds a NUL byte")),
        ];
        for (text, expected) in table {
            let found = expand(text, Utf8Path::new("/home/me"), Utf8Path::new("/work"));
            assert_eq!(found.as_ref().map(|path| path.as_str()), expected.as_ref().copied(), "{text:?}");
        }
    }
}
