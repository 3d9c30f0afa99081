//! What the command line and `.pier/session.json` give to a workspace: variables, mounts, ports.

use std::io::ErrorKind;
use std::net::TcpListener;

use camino::Utf8Path;

use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::plan::Port;
use crate::util::redact::is_harmless;
use crate::util::text::escape;
use crate::workspace::index;

/// A variable of a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub value: String,
}

impl Entry {
    /// Reads `KEY=VALUE`, with nothing around it and nothing in quotes.
    pub fn parse(text: &str, place: &str) -> Result<Self, Failure> {
        let wrong = |why: &str, help: &str| {
            Failure::new(Exit::Usage, "workspace::variable", format!("{place}: {why}")).help(help.to_owned())
        };
        if text.trim_start().starts_with("export ") {
            return Err(wrong("`export` is for a shell", "leave it out: `KEY=VALUE`"));
        }
        let Some((name, value)) = text.split_once('=') else {
            return Err(wrong("this is not `KEY=VALUE`", "write, for example, `DEBUG=1`"));
        };
        Entry::new(name.to_owned(), value.to_owned(), place)
    }

    /// Checks the name and the value.
    pub fn new(name: String, value: String, place: &str) -> Result<Self, Failure> {
        let wrong = |why: &str, help: &str| {
            Failure::new(Exit::Usage, "workspace::variable", format!("{place}: {why}")).help(help.to_owned())
        };
        let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(letters) {
            return Err(wrong(
                &format!("`{}` is no name of a variable", escape(&name)),
                "use letters, digits and `_`",
            ));
        }
        if value.contains('\0') {
            return Err(wrong("a value holds a NUL byte", "no variable can"));
        }
        Ok(Entry { name, value })
    }

    /// Reads what `-e` is given: `KEY=VALUE`, or the name of a variable that the caller has.
    pub fn given(text: &str, environment: &Environment) -> Result<Self, Failure> {
        if text.contains('=') || text.trim_start().starts_with("export ") {
            return Entry::parse(text, "-e");
        }
        // The name first: what is none is not looked for.
        let named = Entry::new(text.to_owned(), String::new(), "-e")?;
        match environment.get(text) {
            Some(value) => Entry::new(named.name, value.to_owned(), "-e"),
            None => Err(Failure::new(
                Exit::Usage,
                "workspace::variable",
                format!("-e: `{text}` has no value, and is not set here"),
            )
            .help(format!("write `-e {text}=VALUE`, or set it"))),
        }
    }

    /// An older tool writes some values with their middle left out: they are nobody's.
    fn is_cut(&self) -> bool {
        self.value.contains("****") && !is_harmless(&self.name, "")
    }

    /// Says whether what is written of it has its value, as an older tool writes some.
    pub fn is_whole(text: &str) -> bool {
        let entry = Entry::parse(text, ".pier/session.json");
        entry.is_ok_and(|entry| !entry.is_cut() && !entry.value.starts_with("${"))
    }

    /// Returns what is written of it: its name, as an older tool writes one whose value is its caller's.
    fn stored(&self) -> String {
        format!("{0}=${{{0}}}", self.name)
    }
}

/// Returns what is written of the variables that were given: each name once, and no value.
pub fn stored(entries: &[Entry]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for text in entries.iter().map(Entry::stored) {
        if !all.contains(&text) {
            all.push(text);
        }
    }
    all
}

/// The variables that a workspace was started with, with their values of now.
#[derive(Debug, Default)]
pub struct Kept {
    pub entries: Vec<Entry>,
    /// What is written of them from now on.
    pub stored: Vec<String>,
    /// Those whose values are the caller's.
    pub of_caller: Vec<String>,
    /// Those that an older tool, or an older pier, has written with their values.
    pub were_written: Vec<String>,
}

/// Returns the variables that a workspace was started with; those whose values are not written are the caller's.
pub fn kept_entries(stored: &[String], environment: &Environment) -> Result<Kept, Failure> {
    let mut kept = Kept::default();
    let mut missing: Vec<String> = Vec::new();
    for text in stored {
        let entry = Entry::parse(text, ".pier/session.json")?;
        let template = entry.value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        let Some(name) = template.or_else(|| entry.is_cut().then_some(entry.name.as_str())) else {
            kept.stored.push(entry.stored());
            kept.were_written.push(entry.name.clone());
            kept.entries.push(entry);
            continue;
        };
        kept.stored.push(text.clone());
        let (name, default) =
            name.split_once(":-").map_or((name, None), |(name, default)| (name, Some(default)));
        match environment.get(name).or(default) {
            Some(value) => {
                kept.of_caller.push(name.to_owned());
                kept.entries.push(Entry { name: entry.name.clone(), value: value.to_owned() });
            }
            None => missing.push(name.to_owned()),
        }
    }
    for names in [&mut missing, &mut kept.stored, &mut kept.were_written] {
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
    }
    if missing.is_empty() {
        return Ok(kept);
    }
    let set: Vec<String> = missing.iter().map(|name| format!("{}=…", escape(name))).collect();
    let message = match missing.as_slice() {
        [one] => format!("the value of `{}` is not kept, and it is not set here", escape(one)),
        _ => format!("the values of {} are not kept, and they are not set here", named(&missing)),
    };
    Err(Failure::new(Exit::Usage, "workspace::variable", message).help(format!(
        "set {}, as in `{} pier start`, or give all variables anew: `-e NAME=VALUE`, `-e NAME`, `--env-file FILE`",
        if missing.len() == 1 { "it" } else { "them" },
        set.join(" ")
    )))
}

/// Names as a message has them.
pub fn named(names: &[String]) -> String {
    names.iter().map(|name| format!("`{}`", escape(name))).collect::<Vec<_>>().join(", ")
}

/// A mount as an older tool writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mounted<'a> {
    pub source: &'a str,
    pub at: &'a str,
    pub read_only: bool,
}

impl<'a> Mounted<'a> {
    /// Reads `host:container`, or the same and `:ro` or `:rw`.
    pub fn parse(text: &'a str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (source, at, read_only) = match parts.as_slice() {
            [source, at] | [source, at, "rw"] => (*source, *at, false),
            [source, at, "ro"] => (*source, *at, true),
            _ => return None,
        };
        (!source.is_empty() && at.starts_with('/')).then_some(Mounted { source, at, read_only })
    }
}

/// A port of the container on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    pub host: u16,
    pub inside: u16,
}

impl Published {
    pub fn parse(text: &str) -> Result<Self, String> {
        let (host, inside) = text.split_once(':').unwrap_or((text, text));
        let number = |text: &str| text.parse().ok().filter(|port| *port != 0);
        match (number(host), number(inside)) {
            (Some(host), Some(inside)) => Ok(Published { host, inside }),
            _ => Err("a port is a number from 1 to 65535, alone or as `HOST:CONTAINER`".to_owned()),
        }
    }
}

/// Refuses ports of this machine that somebody has, before anything is started that would hear so from its engine.
pub fn require_free(ports: &[Port], environment: &Environment, root: &Utf8Path) -> Result<(), Failure> {
    let is_taken = |port: &&Port| {
        TcpListener::bind(port.listen.as_str()).is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
    };
    let Some(Port { listen, to, .. }) = ports.iter().find(is_taken) else { return Ok(()) };
    let number = listen.rsplit(':').next().unwrap_or_default();
    let others =
        index::list(&environment.home, &mut super::tell_damaged).unwrap_or_default().into_iter().flatten();
    let of_others = others.filter(|other| {
        other.root != root && other.session.ports.iter().any(|port| port.to_string() == number)
    });
    let holders: Vec<String> = of_others.map(|other| format!("`{}`", escape(other.root.as_str()))).collect();
    let holders = match holders.as_slice() {
        [] => String::new(),
        names => format!("; {} publishes it, too (`pier stop` there)", names.join(", ")),
    };
    let message =
        format!("`{listen}` is taken, so that port {to} of the workspace cannot be published there");
    Err(Failure::new(Exit::NotSetUp, "workspace::port", message).help(format!(
        "`ss -ltnp 'sport = :{number}'` says who has it{holders}; or name another one, as in `--ports HOST:{to}`"
    )))
}

/// What a configuration is called that the flags of `pier start` become.
pub const FLAGS: &str = "pier start";

/// Says by which flag a line came about that no person has written, instead of showing it.
pub fn by_flags(mut failure: Failure) -> Failure {
    let sources = failure.report.sources.clone();
    for problem in &mut failure.report.problems {
        problem.related.retain(|(span, _)| sources.get(span.source).name != FLAGS);
        let Some((span, _)) = problem.at.take_if(|(span, _)| sources.get(span.source).name == FLAGS) else {
            continue;
        };
        let text = &sources.get(span.source).text;
        let line = text.get(..span.range.start).and_then(|before| before.lines().last()).unwrap_or_default();
        let whence = match line.split_whitespace().next().or_else(|| text.split_whitespace().next()) {
            Some("mounts") => " (`--mounts-json`)",
            Some("port") => " (`--ports`)",
            Some("env") => " (`-e` and `--env-file`)",
            Some("workspace") => " (the working directory of the image or the task)",
            _ if problem.code == "image::user" => " (`[agent] user` of the task)",
            _ => "",
        };
        problem.message.push_str(whence);
        if problem.code == "image::volume" {
            problem.help = Some(
                "choose another image, or name another `workdir` in `[environment]` of `task.toml`".into(),
            );
        }
    }
    failure
}
