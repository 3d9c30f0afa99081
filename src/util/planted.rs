//! Paths of the host that somebody inside a sandbox may have pointed elsewhere: a link is followed only where no sandbox
//! can have made it.

use std::collections::VecDeque;
use std::io;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

use super::fs::{canonical, read_without_links};

/// Links that one path may lead through, as for the kernel.
const MOST_LINKS: usize = 40;

/// Directories that a sandbox can write, by their real paths.
#[derive(Debug)]
pub struct Written(Vec<Utf8PathBuf>);

impl Written {
    pub fn new(places: impl IntoIterator<Item = Utf8PathBuf>) -> Self {
        Written(places.into_iter().map(|place| canonical(&place).unwrap_or(place)).collect())
    }

    /// Says whether a sandbox can write what is at a real path.
    pub fn holds(&self, path: &Utf8Path) -> bool {
        self.0.iter().any(|place| path.starts_with(place))
    }

    /// Returns where an absolute path really leads.
    ///
    /// # Errors
    /// A link in one of the places; whatever the system says.
    pub fn resolve(&self, path: &Utf8Path) -> io::Result<Utf8PathBuf> {
        let mut way = Utf8PathBuf::from("/");
        let mut left: VecDeque<Utf8PathBuf> = parts(path).collect();
        let mut links = 0;
        while let Some(part) = left.pop_front() {
            if part == ".." {
                way.pop();
                continue;
            }
            let next = way.join(&part);
            if !next.symlink_metadata()?.is_symlink() {
                way = next;
                continue;
            }
            if self.holds(&way) {
                let why = format!("`{next}` is a symbolic link where a sandbox can make one");
                return Err(io::Error::other(why));
            }
            links += 1;
            if links > MOST_LINKS {
                return Err(io::Error::other("it leads through too many symbolic links"));
            }
            let target = next.read_link_utf8()?;
            if target.is_absolute() {
                way = "/".into();
            }
            for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                left.push_front(part);
            }
        }
        Ok(way)
    }

    /// Reads a plain file of at most `most` bytes; whoever swaps a part of its path meanwhile makes it fail.
    pub fn read(&self, path: &Utf8Path, most: u64) -> io::Result<Vec<u8>> {
        read_without_links(&self.resolve(path)?, most)
    }
}

fn parts(path: &Utf8Path) -> impl Iterator<Item = Utf8PathBuf> {
    path.components().filter_map(|part| match part {
        Utf8Component::Normal(name) => Some(name.into()),
        Utf8Component::ParentDir => Some("..".into()),
        Utf8Component::RootDir | Utf8Component::CurDir | Utf8Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_counts_only_where_no_sandbox_can_make_one() {
        let place = tempfile::tempdir().unwrap();
        let top = canonical(Utf8Path::from_path(place.path()).unwrap()).unwrap();
        for name in ["home", "home/.ssh", "dot/real", "project/sub"] {
            fs_err::create_dir_all(top.join(name)).unwrap();
        }
        fs_err::write(top.join("home/.ssh/key"), "secret").unwrap();
        fs_err::write(top.join("dot/real/config"), "mine").unwrap();
        fs_err::write(top.join("project/sub/config"), "ours").unwrap();
        let link = |to: &str, at: &str| symlink(to, top.join(at)).unwrap();
        link("../dot/real", "home/.agent");
        link("../project/sub", "home/.shared");
        link("../../home/.ssh/key", "project/sub/planted");
        link("../../home/.ssh", "project/sub/directory");
        link("real/../real", "dot/again");
        link("loop", "dot/loop");
        let written = Written::new([top.join("project")]);
        let read =
            |path: &str| written.read(&top.join(path), 100).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(read("home/.agent/config").unwrap(), "mine");
        assert_eq!(read("dot/again/config").unwrap(), "mine");
        assert_eq!(read("home/.shared/config").unwrap(), "ours");
        for path in ["project/sub/planted", "home/.shared/planted", "home/.shared/directory/key"] {
            let error = read(path).unwrap_err().to_string();
            assert!(error.contains("where a sandbox can make one"), "{path}: {error}");
        }
        assert!(read("dot/loop").unwrap_err().to_string().contains("too many"));
        assert!(written.holds(&written.resolve(&top.join("home/.shared/config")).unwrap()));
        assert!(!written.holds(&written.resolve(&top.join("home/.agent/config")).unwrap()));
    }
}
