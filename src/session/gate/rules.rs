//! The table as a tree, so that one look at a name says what it means where it is.

use std::collections::{HashMap, HashSet};
use std::hash::Hasher as _;
use std::sync::LazyLock;

use super::table::{COMMAND_DIRECTORIES, EVERYWHERE, HEAVY, ROWS, Row, SHADOWING, SKIPPED};

/// Names longer than this are in no pattern.
const MOST_NAME: usize = 48;

/// Which rows hold in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Below dependencies or build output.
    pub heavy: bool,
    /// Below a directory that patterns name; 0 is none. Another table has other numbers.
    pub node: usize,
    /// Git's own directory.
    pub git: bool,
    /// Git's own directory, or somewhere below one.
    pub of_git: bool,
}

impl Place {
    /// The top of a project.
    pub const TOP: Place = Place { heavy: false, node: 0, git: false, of_git: false };

    /// The same directory, once it has turned out to have the layout of a repository.
    pub fn as_git(self) -> Place {
        Place { node: RULES.git, git: true, of_git: true, ..self }
    }
}

/// What a name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// Why a file of this name counts.
    pub row: Option<&'static Row>,
    /// Why a link of this name counts: it may stand for a directory that rows look into.
    pub linked: Option<&'static Row>,
    /// What holds below a directory of this name; `None`: it is not looked into.
    pub below: Option<Place>,
}

#[derive(Default)]
struct Node {
    exact: HashMap<&'static [u8], usize>,
    /// Key: the last ending, as in `*.x`.
    endings: HashMap<&'static [u8], usize>,
    /// Key: what is before the last ending, as in `x.*`.
    beginnings: HashMap<&'static [u8], usize>,
    row: Option<&'static Row>,
    /// Holds for everything below.
    rest: Option<&'static Row>,
    /// Of the first pattern that goes through here.
    through: Option<&'static Row>,
    skipped: bool,
    /// Whether patterns look into a directory of this name.
    inner: bool,
}

struct Rules {
    /// 0 is the root of everything, 1 that of heavy directories, 2 a directory of commands.
    nodes: Vec<Node>,
    heavy: HashSet<&'static [u8]>,
    git: usize,
}

const HEAVY_ROOT: usize = 1;

/// All directories of commands are one: their names are half of the table.
const COMMANDS: usize = 2;

static RULES: LazyLock<Rules> = LazyLock::new(Rules::compile);

impl Rules {
    fn compile() -> Rules {
        let heavy = HEAVY.split_ascii_whitespace().map(str::as_bytes).collect();
        let commands = Node { inner: true, through: Some(&SHADOWING), ..Node::default() };
        let mut rules = Rules { nodes: vec![Node::default(), Node::default(), commands], heavy, git: 0 };
        for name in SHADOWING.patterns.split_ascii_whitespace() {
            let at = rules.child(COMMANDS, name, &SHADOWING);
            rules.nodes[at].row = Some(&SHADOWING);
        }
        for root in [0, HEAVY_ROOT] {
            for row in EVERYWHERE {
                rules.add(root, row);
            }
            for directory in COMMAND_DIRECTORIES {
                rules.nodes[root].exact.insert(directory.as_bytes(), COMMANDS);
            }
            for pattern in SKIPPED.split_ascii_whitespace() {
                let at = rules.walk(root, pattern, &EVERYWHERE[0]);
                rules.nodes[at].skipped = true;
            }
        }
        for row in ROWS {
            rules.add(0, row);
        }
        rules.git = rules.nodes[HEAVY_ROOT].exact[&b".git"[..]];
        rules
    }

    fn add(&mut self, root: usize, row: &'static Row) {
        for pattern in row.patterns.split_ascii_whitespace() {
            let at = self.walk(root, pattern.trim_end_matches('/'), row);
            let node = &mut self.nodes[at];
            if pattern.ends_with('/') {
                node.rest = Some(row);
                node.inner = true;
            } else {
                node.row = Some(row);
            }
        }
    }

    fn walk(&mut self, root: usize, pattern: &'static str, row: &'static Row) -> usize {
        let mut at = root;
        for part in pattern.split('/') {
            if at > HEAVY_ROOT {
                self.nodes[at].inner = true;
            }
            at = self.child(at, part, row);
        }
        at
    }

    fn child(&mut self, at: usize, part: &'static str, row: &'static Row) -> usize {
        let next = self.nodes.len();
        let node = &mut self.nodes[at];
        let child = if let Some(ending) = part.strip_prefix("*.") {
            node.endings.entry(ending.as_bytes())
        } else if let Some(beginning) = part.strip_suffix(".*") {
            node.beginnings.entry(beginning.as_bytes())
        } else {
            node.exact.entry(part.as_bytes())
        };
        let child = *child.or_insert(next);
        if child == next {
            self.nodes.push(Node { through: Some(row), ..Node::default() });
        }
        child
    }
}

impl Node {
    fn find(&self, name: &[u8]) -> Option<usize> {
        if let Some(found) = self.exact.get(name) {
            return Some(*found);
        }
        if self.endings.is_empty() && self.beginnings.is_empty() {
            return None;
        }
        let dot = name.iter().rposition(|byte| *byte == b'.')?;
        self.endings.get(&name[dot + 1..]).or_else(|| self.beginnings.get(&name[..dot])).copied()
    }
}

/// A number that is another one for another table.
pub fn version() -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    for row in EVERYWHERE.iter().chain(ROWS).chain([&SHADOWING]) {
        hasher.write(row.patterns.as_bytes());
    }
    hasher.write(HEAVY.as_bytes());
    hasher.write(SKIPPED.as_bytes());
    hasher.finish()
}

/// Says what `name` means in a directory where `place` holds.
pub fn meaning(place: Place, name: &[u8]) -> Meaning {
    let rules = &*RULES;
    let own = (place.node > HEAVY_ROOT).then(|| &rules.nodes[place.node]);
    let rest = own.and_then(|own| own.rest);
    let root = &rules.nodes[usize::from(place.heavy)];
    let mut lower = [0; MOST_NAME];
    let lower = lower.get_mut(..name.len()).map(|lower| {
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        &*lower
    });
    // What holds below a named directory goes before what holds everywhere.
    let found = lower.and_then(|lower| own.and_then(|own| own.find(lower)).or_else(|| root.find(lower)));
    let is_heavy = || lower.is_some_and(|lower| rules.heavy.contains(lower));
    let heavy = place.heavy || (rest.is_none() && is_heavy());
    let git = lower == Some(b".git");
    let of_git = place.of_git || git;
    // Below `a/` everything goes on to count, at any depth.
    let deeper = if rest.is_some() { place.node } else { 0 };
    let Some(found) = found else {
        let below = Some(Place { heavy, node: deeper, git, of_git });
        return Meaning { row: rest, linked: rest, below };
    };
    let node = &rules.nodes[found];
    if node.skipped {
        return Meaning { row: None, linked: None, below: None };
    }
    let row = node.row.or(rest);
    let linked = row.or(node.rest).or(node.through.filter(|_| node.inner));
    let below = Place { heavy, node: if node.inner { found } else { deeper }, git, of_git };
    Meaning { row, linked, below: Some(below) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::gate::table::Class;

    /// What the last name of a path means.
    fn of(path: &str) -> Option<Meaning> {
        let mut place = Place::TOP;
        let (directories, name) = path.rsplit_once('/').unwrap_or(("", path));
        for directory in directories.split('/').filter(|part| !part.is_empty()) {
            place = meaning(place, directory.as_bytes()).below?;
        }
        Some(meaning(place, name.as_bytes()))
    }

    fn row(path: &str) -> Option<(Class, &'static str)> {
        of(path)?.row.map(|row| (row.class, row.tool))
    }

    #[test]
    fn every_pattern_has_a_form_that_can_match() {
        let rows = EVERYWHERE.iter().chain(ROWS).chain([&SHADOWING]);
        for pattern in rows.flat_map(|row| row.patterns.split_ascii_whitespace()) {
            let parts: Vec<&str> = pattern.trim_end_matches('/').split('/').collect();
            for part in parts {
                let plain = part.strip_prefix("*.").or_else(|| part.strip_suffix(".*")).unwrap_or(part);
                assert!(!plain.is_empty() && !plain.contains('*'), "{pattern}");
                assert!(!part.starts_with("*.") || !plain.contains('.'), "{pattern}: one ending");
                assert!(part.len() <= MOST_NAME && *part == part.to_lowercase(), "{pattern}");
            }
        }
    }

    #[test]
    fn no_pattern_looks_into_a_directory_of_commands() {
        let rows = EVERYWHERE.iter().chain(ROWS);
        let mut patterns = rows.flat_map(|row| row.patterns.split_ascii_whitespace());
        let first = |pattern: &str| {
            pattern.split('/').next().is_some_and(|first| COMMAND_DIRECTORIES.contains(&first))
        };
        assert_eq!(patterns.find(|pattern| first(pattern)), None);
        assert_eq!(SKIPPED.split_ascii_whitespace().find(|pattern| first(pattern)), None);
    }

    #[test]
    fn no_pattern_is_in_the_table_twice() {
        let mut seen = HashMap::new();
        for row in EVERYWHERE.iter().chain(ROWS) {
            for pattern in row.patterns.split_ascii_whitespace() {
                assert_eq!(seen.insert(pattern, row.tool), None, "{pattern}");
            }
        }
    }

    #[test]
    fn names_mean_what_the_table_says() {
        let obeyed = |tool| Some((Class::Obeyed, tool));
        let built = |tool| Some((Class::Built, tool));
        for (path, expected) in [
            (".git", obeyed("git")),
            ("a/b/.git", obeyed("git")),
            ("a/.GIT", obeyed("git")),
            (".git/config", obeyed("git")),
            (".git/commondir", obeyed("git")),
            (".git/hooks/post-checkout", obeyed("git")),
            (".git/info/attributes", obeyed("git")),
            (".git/rebase-merge/git-rebase-todo", obeyed("git")),
            ("sub/.gitattributes", obeyed("git")),
            ("sub/.envrc", obeyed("direnv")),
            (".tool-versions", obeyed("mise")),
            (".config/mise/conf.d/x.toml", obeyed("mise")),
            (".vscode/tasks.json", obeyed("VS Code")),
            ("deep/.vscode/a/b", obeyed("VS Code")),
            ("a.b.code-workspace", obeyed("VS Code")),
            (".idea/workspace.xml", obeyed("a JetBrains editor")),
            (".devcontainer/devcontainer.json", obeyed("an editor")),
            (".claude/settings.json", obeyed("Claude Code")),
            (".claude/commands/x.md", obeyed("Claude Code")),
            ("sub/CLAUDE.md", obeyed("Claude Code")),
            ("AGENTS.md", obeyed("an agent")),
            (".mcp.json", obeyed("an agent")),
            (".codex/config.toml", obeyed("an agent")),
            (".cursor/mcp.json", obeyed("an agent")),
            (".gemini/settings.json", obeyed("an agent")),
            (".cargo/config.toml", obeyed("cargo")),
            (".npmrc", obeyed("a JavaScript package manager")),
            (".yarn/plugins/x/y.cjs", obeyed("a JavaScript package manager")),
            ("pip.conf", obeyed("a Python tool")),
            (".husky/pre-commit", obeyed("a hook manager")),
            (".husky/_/husky.sh", obeyed("a hook manager")),
            (".pre-commit-config.yaml", obeyed("a hook manager")),
            (".eslintrc.cjs", obeyed("an editor")),
            ("eslint.config.mjs", obeyed("an editor")),
            (".github/workflows/ci.yml", obeyed("the forge")),
            ("pier.kdl", obeyed("pier")),
            ("bin/git", obeyed("a shell")),
            ("node_modules/.bin/sudo", obeyed("a shell")),
            (".venv/bin/ssh", obeyed("a shell")),
            ("node_modules/a/.git", obeyed("git")),
            ("node_modules/a/.git/config", obeyed("git")),
            (".cursor/node_modules/x/index.js", obeyed("an agent")),
            ("sub/Makefile", built("make")),
            ("package.json", built("a JavaScript tool")),
            ("build.rs", built("cargo")),
            ("tests/conftest.py", built("a Python tool")),
            ("setup.py", built("a Python tool")),
            ("setup.cfg", built("a Python tool")),
            ("justfile", built("a task runner")),
            ("flake.nix", built("Nix")),
            ("shell.nix", built("Nix")),
            ("devenv.nix", built("Nix")),
            ("Dockerfile", built("a container tool")),
            ("Dockerfile.dev", built("a container tool")),
            ("main.tf", built("an infrastructure tool")),
            ("src/main.rs", None),
            ("config", None),
            ("hooks/post-checkout", None),
            ("vscode/tasks.json", None),
            ("claude/settings.json", None),
            (".claude/notes.txt", None),
            (".git/index", None),
            (".git/HEAD", None),
            (".git/hooks/pre-commit.sample", None),
            ("node_modules/a/.envrc", None),
            ("node_modules/a/package.json", None),
            ("target/debug/build.rs", None),
            (".venv/bin/python", None),
            ("bin/tool", None),
            ("x.code-workspace.bak", None),
            (".code-workspace-and-a-very-long-name-that-no-pattern-can-have.x", None),
        ] {
            assert_eq!(row(path), expected, "{path}");
        }
    }

    #[test]
    fn everything_that_is_protected_where_it_exists_counts_where_it_did_not() {
        let config = crate::config::built_in::built_in();
        for (path, _) in crate::plan::protected_paths(&config) {
            assert!(of(path).unwrap().linked.is_some(), "{path}");
        }
    }

    #[test]
    fn large_directories_of_git_are_not_looked_into() {
        assert_eq!(of(".git/objects").unwrap().below, None);
        assert_eq!(of("sub/.git/refs").unwrap().below, None);
        assert!(of("objects").unwrap().below.is_some());
        assert!(of(".git/modules/m").unwrap().below.unwrap().of_git);
    }

    #[test]
    fn a_link_counts_where_it_stands_for_a_named_directory() {
        for path in [".vscode", ".claude", ".claude/commands", ".husky", ".github", ".git/hooks", ".envrc"] {
            assert!(of(path).unwrap().linked.is_some(), "{path}");
        }
        for path in ["src", "bin/tool", "node_modules", "config"] {
            assert_eq!(of(path).unwrap().linked, None, "{path}");
        }
    }
}
