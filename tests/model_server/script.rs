//! What the model does: turns of shell commands, then a closing text.

use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

/// The text of the last turn.
pub const FINAL_TEXT: &str = "All done: hello.txt now says 'Hello, world!'.";

/// Agents without a shell tool read files out of the text: a name, then a fenced body.
pub const FILE_LISTING: &str = "hello.txt\n```\nHello, world!\n```\n";

const WRITE_HELLO: &str = r"printf 'Hello, world!\n' > hello.txt";

/// The names under which agents offer a shell, most specific first.
const SHELL_TOOLS: [&str; 15] = [
    "Bash",
    "Shell",
    "bash",
    "exec_command",
    "shell_command",
    "shell",
    "container.exec",
    "run_shell_command",
    "terminal",
    "execute_bash",
    "execute_bash_command",
    "run_terminal_cmd",
    "run_command",
    "run_commands",
    "exec",
];

type Turns = &'static [&'static [&'static str]];

const HELLO: Turns = &[&[WRITE_HELLO]];
/// A plain step, a failing one, two calls at once, then output on both streams and a status.
const MULTI: Turns = &[
    &["ls -la && pwd"],
    &["cat does-not-exist.txt"],
    &[WRITE_HELLO, "echo parallel-second"],
    &["cat hello.txt; echo to-stderr >&2; exit 3"],
];
/// More output than agents keep.
const BIG: Turns = &[&["seq 1 20000"], &[WRITE_HELLO]];
/// Two-byte and four-byte characters, then bytes that are no UTF-8 at all.
const UTF8: Turns = &[&[r"printf 'h\303\251llo \360\237\230\200 \377\376\n'"], &[WRITE_HELLO]];
/// Never ends by itself: for timeouts and kills.
const SLOW: Turns = &[&["sleep 600"]];
/// As above, with three good steps before it.
const LATE: Turns =
    &[&["echo one"], &[WRITE_HELLO], &["echo three"], &["until [ -e /nonexistent ]; do sleep 1; done"]];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Script {
    Hello,
    Multi,
    Big,
    Utf8,
    Slow,
    Late,
    /// One entry per turn; several commands in one turn become parallel calls.
    Commands(Vec<Vec<String>>),
    /// One call per turn, of any tool: its name and its arguments. One that is not offered is left out, as a model would.
    Calls(Vec<(String, Value)>),
    /// Every model call fails; the lists of models and the token counts still work.
    Fail(Failure),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// An error in the protocol's own form.
    Status(u16),
    /// The connection ends in the middle of the answer.
    Cut,
    /// No answer at all.
    Hang,
}

pub struct Tool {
    pub name: String,
    pub schema: Value,
}

pub struct Call {
    pub name: String,
    pub arguments: Value,
}

impl Script {
    /// The tool calls of one turn; none means that the final text is due.
    pub fn calls(&self, tools: &[Tool], turn: usize) -> Vec<Call> {
        if let Self::Calls(turns) = self {
            let offered = |(name, _): &&(String, Value)| tools.iter().any(|tool| tool.name == *name);
            let call = |(name, arguments): &(String, Value)| Call {
                name: name.clone(),
                arguments: arguments.clone(),
            };
            return turns.get(turn).filter(offered).map(call).into_iter().collect();
        }
        let commands = self.commands(turn);
        let Some(tool) = SHELL_TOOLS.iter().find_map(|name| tools.iter().find(|tool| tool.name == *name))
        else {
            return Vec::new();
        };
        let call = |command: &String| Call {
            name: tool.name.clone(),
            arguments: shell_arguments(&tool.schema, command),
        };
        commands.iter().map(call).collect()
    }

    fn commands(&self, turn: usize) -> Vec<String> {
        let turns = match self {
            // A cut answer is the first half of a good one.
            Self::Hello | Self::Fail(_) => HELLO,
            Self::Multi => MULTI,
            Self::Big => BIG,
            Self::Utf8 => UTF8,
            Self::Slow => SLOW,
            Self::Late => LATE,
            Self::Commands(turns) => return turns.get(turn).cloned().unwrap_or_default(),
            Self::Calls(_) => return Vec::new(),
        };
        turns.get(turn).map(|commands| commands.iter().map(ToString::to_string).collect()).unwrap_or_default()
    }
}

impl FromStr for Script {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "hello" => Self::Hello,
            "multi" => Self::Multi,
            "big" => Self::Big,
            "utf8" => Self::Utf8,
            "slow" => Self::Slow,
            "late" => Self::Late,
            _ => return Err("expected hello, multi, big, utf8, slow or late".to_owned()),
        })
    }
}

impl FromStr for Failure {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match (name, name.parse::<u16>()) {
            ("cut", _) => Ok(Self::Cut),
            ("hang", _) => Ok(Self::Hang),
            (_, Ok(status @ 400..=599)) => Ok(Self::Status(status)),
            _ => Err("expected an error status such as 429, or cut, or hang".to_owned()),
        }
    }
}

/// Arguments that the tool's own schema accepts: agents validate them before they run anything.
fn shell_arguments(schema: &Value, command: &str) -> Value {
    let properties = &schema["properties"];
    let keys = ["command", "cmd", "script", "code", "commands"];
    let key = keys.into_iter().find(|key| properties.get(key).is_some()).unwrap_or("command");
    let kind = &properties[key]["type"];
    let is_list = kind == "array" || kind[0] == "array";
    let mut arguments = Map::new();
    let value = match key {
        // Several whole commands.
        "commands" => json!([command]),
        _ if is_list => json!(["bash", "-lc", command]),
        _ => json!(command),
    };
    arguments.insert(key.to_owned(), value);

    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let described = properties.get("description").map(|_| "description");
    for name in required.chain(described) {
        if !arguments.contains_key(name) {
            arguments.insert(name.to_owned(), plausible(&properties[name]));
        }
    }
    Value::Object(arguments)
}

/// Some value of the property's type.
fn plausible(property: &Value) -> Value {
    if let Some(first) = property["enum"].get(0) {
        return first.clone();
    }
    match property["type"].as_str() {
        Some("boolean") => json!(false),
        Some("integer" | "number") => json!(10),
        _ => json!("Run one step of the plan"),
    }
}

/// The text that comes with the tool calls of a turn.
pub fn step_text(turn: usize) -> String {
    format!("Step {}: running a command.", turn + 1)
}

/// Pieces of a few characters, as a model would stream them.
pub fn pieces(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    chars.chunks(12).map(|piece| piece.iter().collect()).collect()
}

/// Unique over processes as well: a conversation may go on against another server.
pub fn new_id(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}{:016x}{count:08x}", now().as_nanos())
}

pub fn now_seconds() -> u64 {
    now().as_secs()
}

fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
