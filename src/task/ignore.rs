//! `.harborignore` and `.gitignore`: lines of patterns, of which the last that matches decides.
//!
//! Harbor reads the two by different rules of the library pathspec 1.1. Digests depend on every file, so both
//! are followed here; single names are compared by `fast-glob`.

/// The lines of one file that are patterns.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<Rule>);

#[derive(Clone, Debug)]
struct Rule {
    excludes: bool,
    /// It ends in `/`.
    is_directory: bool,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// `**`: any number of names.
    Any,
    Name(String),
}

/// What a pattern matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    /// A directory, or a directory on the way.
    Directory,
    File,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File,
}

impl Rules {
    pub fn parse(text: &str) -> Self {
        Rules(text.lines().filter_map(Rule::parse).collect())
    }

    /// Says whether a path is excluded, or included again, by the rules of `.harborignore`; `None` if no line is
    /// about it. A line about a file comes before all about directories.
    pub fn decide(&self, path: &str, kind: Kind) -> Option<bool> {
        let found = self.0.iter().rev().filter_map(|rule| Some((rule.find(path, kind)?, rule.excludes)));
        let found: Vec<(Match, bool)> = found.collect();
        let of_file = found.iter().find(|(found, _)| *found == Match::File);
        of_file.or(found.first()).map(|(_, excludes)| *excludes)
    }

    /// Says whether a file is left out by the rules of `.gitignore`, where lines may take files back out of
    /// directories that are ignored.
    pub fn ignores(&self, file: &str) -> bool {
        let last = self.0.iter().rev().find(|rule| rule.is_about(file));
        last.is_some_and(|rule| rule.excludes)
    }
}

impl Rule {
    fn parse(line: &str) -> Option<Self> {
        let line = if line.ends_with("\\ ") { line } else { line.trim_end() };
        if line.is_empty() || line.starts_with('#') || line == "/" {
            return None;
        }
        let (excludes, pattern) = match line.strip_prefix('!') {
            Some(pattern) => (false, pattern),
            None => (true, line),
        };
        let mut names: Vec<&str> = pattern.split('/').collect();
        let is_directory = names.last() == Some(&"");
        if names.first() == Some(&"") {
            names.remove(0);
        } else if names.len() == 1 || (names.len() == 2 && is_directory) {
            // One name is looked for in every directory.
            names.insert(0, "**");
        }
        if names.last() == Some(&"") {
            names.pop();
            names.push("**");
        }
        names.dedup_by(|next, before| *next == "**" && *before == "**");
        let part = |name: &str| if name == "**" { Part::Any } else { Part::Name(glob(name)) };
        let parts: Vec<Part> = names.into_iter().map(part).collect();
        (!parts.is_empty()).then_some(Rule { excludes, is_directory, parts })
    }

    /// Matches a path or the longest beginning of it.
    fn find(&self, path: &str, kind: Kind) -> Option<Match> {
        let names: Vec<&str> = path.split('/').collect();
        let (parts, below) = match self.parts.as_slice() {
            [Part::Any] if self.is_directory => {
                return (names.len() > 1 || kind == Kind::Directory).then_some(Match::Directory);
            }
            [Part::Any] => return Some(Match::File),
            [Part::Any, Part::Name(name)] if name == "*" => return Some(Match::File),
            [parts @ .., Part::Any] => (parts, true),
            parts => (parts, false),
        };
        let end = (1..=names.len()).rev().find(|end| {
            let is_directory = *end < names.len() || kind == Kind::Directory;
            (is_directory || !below) && matches(parts, &names[..*end])
        })?;
        let directory = end < names.len() || kind == Kind::Directory;
        let marked = if below { self.is_directory } else { directory };
        Some(if marked { Match::Directory } else { Match::File })
    }

    fn is_about(&self, file: &str) -> bool {
        let names: Vec<&str> = file.split('/').collect();
        let (parts, below) = match self.parts.as_slice() {
            [Part::Any] => return !self.is_directory || names.len() > 1,
            [Part::Any, Part::Name(name)] if name == "*" => return true,
            [Part::Any, Part::Name(name), Part::Any] if name == "*" => return names.len() > 1,
            [parts @ .., Part::Any] => (parts, true),
            parts => (parts, false),
        };
        // `directory/*` is about what is in the directory, and not about what is in that.
        let whole = !below && matches!(parts.last(), Some(Part::Name(name)) if name == "*");
        (1..=names.len()).any(|end| {
            let fits = if below { end < names.len() } else { !whole || end == names.len() };
            fits && matches(parts, &names[..end])
        })
    }
}

/// Compares names with parts; backs up to the last `**` only, because an earlier one could take nothing else.
fn matches(parts: &[Part], names: &[&str]) -> bool {
    let (mut part, mut name) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while name < names.len() {
        match parts.get(part) {
            Some(Part::Any) => {
                back = Some((part, name));
                part += 1;
            }
            Some(Part::Name(glob)) if fast_glob::glob_match(glob, names[name]) => {
                part += 1;
                name += 1;
            }
            _ => {
                let Some((any, from)) = back else { return false };
                back = Some((any, from + 1));
                part = any + 1;
                name = from + 1;
            }
        }
    }
    parts[part..].iter().all(|part| *part == Part::Any)
}

/// Writes a name so that `fast-glob` sees in it what these files know, and no more.
fn glob(name: &str) -> String {
    let mut glob = String::new();
    let mut letters = name.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => {
                glob.push('\\');
                glob.extend(letters.next());
            }
            '{' | '}' => glob.extend(['\\', letter]),
            '!' if glob.is_empty() => glob.push_str("\\!"),
            '*' => {
                while letters.next_if_eq(&'*').is_some() {}
                glob.push('*');
            }
            _ => glob.push(letter),
        }
    }
    glob
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_that_matches_decides() {
        let rules = Rules::parse("# a comment\n*.log\n!keep.log\n\n/build/\ndocs/**/draft\n\\!odd\na{1}\n");
        let cases = [
            ("x.log", Kind::File, Some(true)),
            ("a/x.log", Kind::File, Some(true)),
            ("a/keep.log", Kind::File, Some(false)),
            ("build", Kind::File, None),
            ("build", Kind::Directory, Some(true)),
            ("a/build", Kind::Directory, None),
            ("build/x", Kind::File, Some(true)),
            ("docs/draft", Kind::File, Some(true)),
            ("docs/a/b/draft", Kind::File, Some(true)),
            ("!odd", Kind::File, Some(true)),
            ("a{1}", Kind::File, Some(true)),
            ("a1", Kind::File, None),
        ];
        for (path, kind, expected) in cases {
            assert_eq!(rules.decide(path, kind), expected, "{path}");
        }
    }

    #[test]
    fn a_line_about_a_file_comes_before_all_about_directories() {
        let rules = Rules::parse("!a/x\na/\n");
        assert_eq!(rules.decide("a/x", Kind::File), Some(false));
        assert_eq!(rules.decide("a/y", Kind::File), Some(true));
    }

    #[test]
    fn a_gitignore_takes_files_back_out_of_ignored_directories() {
        let rules = Rules::parse("build/\n!build/keep\nout/*\n");
        assert!(rules.ignores("build/x"));
        assert!(!rules.ignores("build/keep"));
        assert!(rules.ignores("out/x"));
        assert!(!rules.ignores("out/a/x"));
        assert!(!rules.ignores("build"));
    }

    #[test]
    fn many_stars_take_no_time() {
        let rules = Rules::parse(&"**/a/".repeat(200));
        assert_eq!(rules.decide(&"a/".repeat(150), Kind::File), None);
        let path = format!("{}b", "a/".repeat(199));
        assert_eq!(rules.decide(&path, Kind::File), None);
    }
}
