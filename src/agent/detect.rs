//! Which agent a command line starts, through what people put in front of one.

/// What agents are called on the command line, and their names.
const PROGRAMS: &[(&str, &str)] = &[
    ("acli", "rovodev-cli"),
    ("agy", "antigravity-cli"),
    ("aider", "aider"),
    ("claude", "claude-code"),
    ("cline", "cline"),
    ("codex", "codex"),
    ("copilot", "copilot-cli"),
    ("cursor-agent", "cursor-cli"),
    ("devin", "devin"),
    ("gemini", "gemini-cli"),
    ("goose", "goose"),
    ("hermes", "hermes"),
    ("kimi", "kimi-cli"),
    ("mini", "mini-swe-agent"),
    ("mini-swe-agent", "mini-swe-agent"),
    ("nat", "nemo-agent"),
    ("opencode", "opencode"),
    ("pi", "pi"),
    ("qwen", "qwen-coder"),
    ("trae-cli", "trae-agent"),
];

/// Packages that runners of npm and Python start.
const PACKAGES: &[(&str, &str)] = &[
    ("@anthropic-ai/claude-code", "claude-code"),
    ("@github/copilot", "copilot-cli"),
    ("@google/gemini-cli", "gemini-cli"),
    ("@mariozechner/pi-coding-agent", "pi"),
    ("@openai/codex", "codex"),
    ("@qwen-code/qwen-code", "qwen-coder"),
    ("aider-chat", "aider"),
    ("mini-swe-agent", "mini-swe-agent"),
    ("opencode-ai", "opencode"),
];

/// Shells, which take a command as one word after `-c`.
const SHELLS: &[&str] = &["ash", "bash", "dash", "sh", "zsh"];

/// What runs the rest of its words as a command, and how many words of its own it takes first.
const WRAPPERS: &[(&str, usize)] = &[
    ("chrt", 1),
    ("command", 0),
    ("doas", 0),
    ("env", 0),
    ("exec", 0),
    ("ionice", 0),
    ("nice", 0),
    ("nohup", 0),
    ("script", 0),
    ("setsid", 0),
    ("stdbuf", 0),
    ("sudo", 0),
    ("taskset", 1),
    ("time", 0),
    ("timeout", 1),
    ("unbuffer", 0),
    ("xvfb-run", 0),
];

/// What starts a package by its name.
const RUNNERS: &[&str] = &["bunx", "npx", "pipx", "pnpx", "uvx"];

/// Options of wrappers whose value is the next word.
const WITH_VALUE: &[&str] = &["-u", "-C", "-n", "-k", "-s", "-p", "-g", "--package", "-S"];

/// How deep shells in shells are looked into.
const MOST_DEPTH: usize = 4;

/// An agent that a file declares: its name, and the words that start it.
pub type Declared<'a> = (&'a str, &'a [String]);

/// Returns the name of the agent that a command starts; those that are declared go before those that pier knows.
pub fn detect<'a>(argv: &[String], declared: &[Declared<'a>]) -> Option<&'a str> {
    let words: Vec<&str> = argv.iter().map(String::as_str).collect();
    of_words(&words, declared, 0)
}

/// Says whether a command begins with these words; the program may be named by another path.
fn begins(words: &[&str], run: &[String]) -> bool {
    let Some((program, args)) = run.split_first() else { return false };
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    words.split_first().is_some_and(|(first, behind)| {
        name(first) == name(program)
            && args.iter().zip(behind).filter(|(one, other)| one == *other).count() == args.len()
    })
}

fn of_words<'a>(words: &[&str], declared: &[Declared<'a>], depth: usize) -> Option<&'a str> {
    let mut rest = words;
    loop {
        while rest.first().is_some_and(|word| is_assignment(word)) {
            rest = &rest[1..];
        }
        let (first, behind) = rest.split_first()?;
        if let Some((agent, _)) = declared.iter().find(|(_, run)| begins(rest, run)) {
            return Some(agent);
        }
        let name = first.rsplit('/').next().unwrap_or(first);
        if let Some((_, agent)) = PROGRAMS.iter().find(|(program, _)| *program == name) {
            return Some(agent);
        }
        if SHELLS.contains(&name) {
            let script =
                behind.iter().position(|word| is_command_flag(word)).and_then(|at| behind.get(at + 1))?;
            return of_script(script, declared, depth + 1);
        }
        if RUNNERS.contains(&name) {
            return of_runner(behind);
        }
        if name == "command" && behind.first().is_some_and(|word| matches!(*word, "-v" | "-V")) {
            // It only says where one is.
            return None;
        }
        let (_, own) = WRAPPERS.iter().find(|(wrapper, _)| *wrapper == name)?;
        rest = skip_options(behind);
        rest = rest.get(*own..)?;
    }
}

/// Says whether a word is `-c`, alone or with other letters.
fn is_command_flag(word: &str) -> bool {
    word.starts_with('-') && !word.starts_with("--") && word.ends_with('c')
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

fn skip_options<'a, 'b>(mut words: &'a [&'b str]) -> &'a [&'b str] {
    while let Some((first, behind)) = words.split_first() {
        if *first == "--" {
            return behind;
        }
        if !first.starts_with('-') && !is_assignment(first) {
            break;
        }
        let more = usize::from(WITH_VALUE.contains(first) && !behind.is_empty());
        words = &behind[more..];
    }
    words
}

fn of_runner(words: &[&str]) -> Option<&'static str> {
    let named = |word: &str| {
        // Without a version: `@scope/name@1.2.3`.
        let end = word.char_indices().skip(1).find(|(_, c)| *c == '@').map_or(word.len(), |(at, _)| at);
        let name = &word[..end];
        let known = PACKAGES.iter().chain(PROGRAMS).find(|(package, _)| *package == name);
        known.map(|(_, agent)| *agent)
    };
    words.iter().filter(|word| !word.starts_with('-') && **word != "run").take(2).find_map(|word| named(word))
}

/// Looks at the simple commands of a script, each for itself; what is in quotes is one word.
fn of_script<'a>(script: &str, declared: &[Declared<'a>], depth: usize) -> Option<&'a str> {
    if depth > MOST_DEPTH {
        return None;
    }
    let commands = commands(script);
    commands.iter().find_map(|words| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        of_words(&words, declared, depth)
    })
}

/// Splits a script at `;`, `&`, `|`, parentheses and line ends into words, roughly as a shell does.
fn commands(script: &str) -> Vec<Vec<String>> {
    let (mut all, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let mut quote = None;
    let mut letters = script.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (Some('"') | None, '\\') => word.get_or_insert_default().extend(letters.next()),
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, ';' | '&' | '|' | '(' | ')' | '{' | '}' | '\n') => {
                words.extend(word.take());
                all.push(std::mem::take(&mut words));
            }
            (Some(_) | None, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    all.push(words);
    all.retain(|words| !words.is_empty());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_found_behind_what_is_put_in_front() {
        for (line, expected) in [
            (&["claude", "-p", "x"][..], Some("claude-code")),
            (&["/opt/bin/codex", "exec"], Some("codex")),
            (&["env", "-u", "X", "A=1", "gemini"], Some("gemini-cli")),
            (&["env", "--", "A=1", "pi"], Some("pi")),
            (&["timeout", "--signal=KILL", "-k", "5", "60", "opencode", "run"], Some("opencode")),
            (&["nohup", "nice", "-n", "5", "qwen"], Some("qwen-coder")),
            (&["sh", "-c", "cd /x && exec claude -p \"sh -c codex\""], Some("claude-code")),
            (&["bash", "-lc", "A=1 codex exec 'x; claude'"], Some("codex")),
            (&["bash", "-c", "bash -c 'goose run'"], Some("goose")),
            (&["npx", "-y", "@anthropic-ai/claude-code@2.1.197", "-p", "x"], Some("claude-code")),
            (&["npx", "--package", "@openai/codex", "codex"], Some("codex")),
            (&["uvx", "--from", "aider-chat", "aider"], Some("aider")),
            (&["bash"], None),
            (&["sh", "script.sh", "claude"], None),
            (&["cat", "claude"], None),
            (&["sh", "-c", "echo claude; ls 'codex'"], None),
            (&["env"], None),
            (&["sh", "-c", "command -v claude"], None),
            (&["timeout"], None),
            (&[], None),
        ] {
            let words: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(detect(&words, &[]), expected, "{line:?}");
        }
        let deep = (0..9).fold("claude".to_owned(), |inner, _| format!("sh -c {inner:?}"));
        assert_eq!(of_script(&deep, &[], 0), None);
    }

    #[test]
    fn declared_agents_are_found_by_the_words_that_start_them() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<String>>();
        let (mine, own) = (words("python3 agent.py"), words("/opt/pi"));
        let declared = [("mine", &mine[..]), ("own", &own[..])];
        for (line, expected) in [
            ("python3 agent.py --fast", Some("mine")),
            ("env A=1 /usr/bin/python3 agent.py", Some("mine")),
            ("python3 other.py", None),
            ("python3", None),
            ("pi -p x", Some("own")),
            ("claude -p x", Some("claude-code")),
        ] {
            assert_eq!(detect(&words(line), &declared), expected, "{line}");
        }
        let script = ["sh", "-c", "cd x; python3 agent.py"].map(str::to_owned);
        assert_eq!(detect(&script, &declared), Some("mine"));
    }

    #[test]
    fn the_tables_are_sorted_and_known() {
        assert!(PROGRAMS.is_sorted() && PACKAGES.is_sorted() && WRAPPERS.is_sorted());
        for (_, agent) in PROGRAMS.iter().chain(PACKAGES) {
            assert!(super::super::is_known(agent), "{agent}");
        }
    }
}
