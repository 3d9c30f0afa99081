//! `.dockerignore`: which files of a context Docker leaves out.
//!
//! The rules are those of Docker's reference: one pattern a line, the last one that matches decides, a pattern matches
//! what is below it as well. Time is bounded by pattern length times path length, whatever the patterns are.

use camino::Utf8Path;

/// The patterns of a file.
#[derive(Debug, Default)]
pub struct Ignore(Vec<Pattern>);

#[derive(Debug)]
struct Pattern {
    tokens: Vec<Token>,
    /// `!`: what it matches is taken along again.
    again: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    One(char),
    /// `?`: any character but a slash.
    Any,
    /// `*`: any number of them.
    Star,
    /// `[a-z]`: ranges, or their opposite.
    Class(Vec<(char, char)>, bool),
    /// `**` before something: nothing, or directories with the slash behind the last.
    Directories,
    /// `**` at the end.
    Everything,
}

impl Ignore {
    pub fn parse(text: &str) -> Self {
        let lines = text.trim_start_matches('\u{feff}').lines().filter(|line| !line.starts_with('#'));
        Ignore(lines.filter_map(|line| Pattern::parse(line.trim())).collect())
    }

    /// Says whether nothing below an excluded directory can be taken along again.
    pub fn is_final(&self) -> bool {
        !self.0.iter().any(|pattern| pattern.again)
    }

    /// Says whether a path, relative to the context, is left out.
    pub fn excludes(&self, path: &Utf8Path) -> bool {
        self.0
            .iter()
            .rev()
            .find(|pattern| pattern.matches(path.as_str()))
            .is_some_and(|pattern| !pattern.again)
    }
}

impl Pattern {
    fn parse(line: &str) -> Option<Self> {
        let (again, line) = match line.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, line),
        };
        let mut parts: Vec<&str> = Vec::new();
        for part in line.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        let tokens = tokens(&parts.join("/"));
        (!tokens.is_empty()).then_some(Pattern { tokens, again })
    }

    /// Says whether a path, or a directory above it, matches: follows every way through the pattern at once.
    fn matches(&self, path: &str) -> bool {
        let mut states = vec![false; self.tokens.len() + 1];
        // Inside of the directories that a token stands for.
        let mut within = vec![false; self.tokens.len()];
        states[0] = true;
        self.skip(&mut states);
        for c in path.chars() {
            if c == '/' && states.last() == Some(&true) {
                return true;
            }
            let mut next = vec![false; states.len()];
            let mut inside = vec![false; within.len()];
            for (index, token) in self.tokens.iter().enumerate() {
                let here = states[index];
                match token {
                    Token::One(one) => next[index + 1] |= here && *one == c,
                    Token::Any => next[index + 1] |= here && c != '/',
                    Token::Star => next[index] |= here && c != '/',
                    Token::Class(ranges, negated) => {
                        let is_in = ranges.iter().any(|(from, to)| (*from..=*to).contains(&c));
                        next[index + 1] |= here && is_in != *negated && c != '/';
                    }
                    Token::Directories => {
                        inside[index] = here || within[index];
                        next[index + 1] |= inside[index] && c == '/';
                    }
                    Token::Everything => next[index] |= here,
                }
            }
            (states, within) = (next, inside);
            self.skip(&mut states);
        }
        states.last() == Some(&true)
    }

    /// Adds what can be reached without a character.
    fn skip(&self, states: &mut [bool]) {
        for (index, token) in self.tokens.iter().enumerate() {
            if states[index] && matches!(token, Token::Star | Token::Directories | Token::Everything) {
                states[index + 1] = true;
            }
        }
    }
}

fn tokens(pattern: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut letters = pattern.chars().peekable();
    while let Some(c) = letters.next() {
        found.push(match c {
            '*' if letters.next_if_eq(&'*').is_some() => {
                // `***` means no more than `**`.
                while letters.next_if_eq(&'*').is_some() {}
                let _slash = letters.next_if_eq(&'/');
                if letters.peek().is_some() { Token::Directories } else { Token::Everything }
            }
            '*' => Token::Star,
            '?' => Token::Any,
            '[' => class(&mut letters),
            '\\' => Token::One(letters.next().unwrap_or('\\')),
            c => Token::One(c),
        });
    }
    found
}

fn class(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Token {
    let negated = letters.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    while let Some(c) = letters.next().filter(|c| *c != ']') {
        let from = if c == '\\' { letters.next().unwrap_or(c) } else { c };
        let mut ahead = letters.clone();
        let to = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(to)) if to != ']' => {
                *letters = ahead;
                to
            }
            _ => from,
        };
        ranges.push((from, to));
    }
    Token::Class(ranges, negated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_dockers_do() {
        for (pattern, path, expected) in [
            ("a", "a", true),
            ("a", "b/a", false),
            ("/a/./b/../c/", "a/c", true),
            ("a", "a/b/c", true),
            ("*/temp*", "x/temporary.txt", true),
            ("*/temp*", "x/y/temp", false),
            ("temp?", "tempa", true),
            ("temp?", "temp", false),
            ("**/*.go", "a.go", true),
            ("**/*.go", "x/y/a.go", true),
            ("**/b", "xb", false),
            ("**", "x/y", true),
            ("a/**", "a/x/y", true),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("{a,b}", "a", false),
            ("a.b", "axb", false),
            ("ä*", "äö", true),
        ] {
            let ignore = Ignore::parse(&format!("# comment\n\n{pattern}\n"));
            assert_eq!(ignore.excludes(path.into()), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn the_last_pattern_that_matches_decides() {
        let ignore = Ignore::parse("*\n!src\nsrc/*.log\n! src/keep.log\n");
        assert!(!ignore.is_final());
        for (path, expected) in
            [("x", true), ("src", false), ("src/a", false), ("src/a.log", true), ("src/keep.log", false)]
        {
            assert_eq!(ignore.excludes(path.into()), expected, "{path}");
        }
        assert!(Ignore::parse("").is_final() && !Ignore::parse("").excludes("x".into()));
    }

    #[test]
    fn no_pattern_takes_long() {
        let ignore = Ignore::parse(&format!("{}b", "**/*a".repeat(100)));
        assert!(!ignore.excludes(Utf8Path::new(&"a/".repeat(1000))));
    }
}
