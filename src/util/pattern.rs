//! Patterns for paths below a root, as `hide` has them: what they match, what they may match, and how git says it.

/// Returns a pattern as it is compared: without `./` before and `/` behind it.
pub fn plain(pattern: &str) -> &str {
    pattern.trim_start_matches("./").trim_end_matches('/')
}

/// Says whether a part of a path is a pattern and no name.
pub fn is_wild(part: &str) -> bool {
    part.contains(['*', '?', '[', '{', '\\', '!'])
}

/// Says whether a path, or a directory on the way to it, matches one of the patterns.
pub fn covers<P: AsRef<str>>(patterns: &[P], path: &[u8]) -> bool {
    patterns.iter().any(|pattern| {
        let pattern = plain(pattern.as_ref());
        // `secrets/**` is the directory with all that is in it.
        let directory = pattern.strip_suffix("/**").filter(|directory| !directory.is_empty());
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let matches = |part: &[u8]| {
            fast_glob::glob_match(pattern, part)
                || directory.is_some_and(|directory| fast_glob::glob_match(directory, part))
        };
        ends.chain([path.len()]).any(|end| matches(&path[..end]))
    })
}

/// Says whether a pattern may match something in a directory, of which nothing else is known.
pub fn reaches(pattern: &str, directory: &str) -> bool {
    let mut parts = plain(pattern).split('/');
    for name in directory.split('/') {
        match parts.next() {
            // All of the directory is matched already.
            None => return true,
            // Braces may hold a slash.
            Some(part) if part.contains("**") || part.contains('{') || part.starts_with('!') => return true,
            Some(part) if fast_glob::glob_match(part, name) => {}
            Some(_) => return false,
        }
    }
    true
}

/// The most patterns that braces of one pattern may stand for.
const MOST: usize = 1000;

/// Renders what git calls sparse patterns: everything but what the patterns match.
///
/// Git is asked to leave out at least as much; what it has left in is compared with [`covers`] once more.
pub fn render_sparse<P: AsRef<str>>(patterns: &[P]) -> String {
    patterns.iter().fold(String::new(), |mut out, pattern| {
        let mut simple = vec![plain(pattern.as_ref()).to_owned()];
        while let Some(at) = simple.iter().position(|text| braces(text).is_some()) {
            let text = simple.swap_remove(at);
            let Some((start, end, choices)) = braces(&text) else { break };
            simple.extend(choices.iter().map(|choice| format!("{}{choice}{}", &text[..start], &text[end..])));
            if simple.len() > MOST {
                break;
            }
        }
        simple.sort_unstable();
        simple.dedup();
        for text in simple {
            let directory = text.strip_suffix("/**").unwrap_or(&text);
            let root = if directory.starts_with("**/") { "" } else { "/" };
            out.push_str(&format!("!{root}{directory}\n"));
        }
        out
    })
}

/// Finds the first innermost braces: where they start, where they end, and what stands between their commas.
fn braces(text: &str) -> Option<(usize, usize, Vec<&str>)> {
    let end = text.find('}')?;
    let start = text[..end].rfind('{')?;
    Some((start, end + 1, text[start + 1..end].split(',').collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_what_is_below_it() {
        let table = [
            (".env", ".env", true),
            ("./.env", ".env", true),
            (".env", "a/.env", false),
            ("**/.env", "a/b/.env", true),
            ("**/.env", ".env", true),
            ("*.env", "x.env", true),
            ("*.env", "a/x.env", false),
            ("secrets/**", "secrets/a/b", true),
            ("secrets/**", "secrets", true),
            ("secrets/", "secrets/a", true),
            ("secret?/*", "secrets/a/b", true),
            ("**/keys/**", "a/keys/b", true),
            ("{a,b/c}.pem", "b/c.pem", true),
            (".env", ".envrc", false),
        ];
        for (pattern, path, expected) in table {
            assert_eq!(covers(&[pattern], path.as_bytes()), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_pattern_reaches_into_directories_on_its_way() {
        let table = [
            (".env", "lib", false),
            ("**/.env", "lib/deep", true),
            ("lib/.env", "lib", true),
            ("lib", "lib/deep", true),
            ("lib/.env", "lib/deep", false),
            ("l*/x", "lib", true),
            ("other/**", "lib", false),
            ("{lib,x}/.env", "lib", true),
        ];
        for (pattern, directory, expected) in table {
            assert_eq!(reaches(pattern, directory), expected, "{pattern} {directory}");
        }
    }

    #[test]
    fn git_gets_patterns_of_its_own_kind() {
        let rendered = render_sparse(&[".env", "**/*.pem", "secrets/**", "a/{b,c{d,e}}.key"]);
        let mut lines: Vec<&str> = rendered.lines().collect();
        lines.sort_unstable();
        let expected = ["!**/*.pem", "!/.env", "!/a/b.key", "!/a/cd.key", "!/a/ce.key", "!/secrets"];
        assert_eq!(lines, expected);
    }
}
