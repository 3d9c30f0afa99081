//! The options of the older names.

use super::help::Of;
use crate::diag::{Exit, Failure};
use crate::ui;
use crate::util::text::escape;

/// What a call asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Launch {
    Help(Of),
    Start(Options),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Pi with the older tool's own arguments before those of the call.
    Default,
    /// Pi with the arguments of the call alone.
    Raw,
    /// A shell.
    Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    Host,
    Nix,
    /// What the environment says.
    Auto,
}

/// One call.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    pub start: Start,
    pub runtime: Option<Runtime>,
    pub flake: Option<String>,
    pub devshell: Option<String>,
    /// For Pi, or for the shell.
    pub args: Vec<String>,
}

impl Options {
    fn new(start: Start, args: &[String]) -> Self {
        Options { start, runtime: None, flake: None, devshell: None, args: args.to_vec() }
    }

    /// Of a layer that chooses no runtime.
    fn alone(start: Start, args: &[String]) -> Self {
        Options { runtime: Some(Runtime::Auto), ..Options::new(start, args) }
    }
}

/// Reads the arguments of a name.
pub fn read(name: &str, args: &[String]) -> Result<Launch, Failure> {
    match name {
        "pi-start" => Ok(start(args)),
        "pi-bwrap" | "pi-env-bwrap" => sandbox(args),
        "pi-env-shell" => layered(args, Start::Shell, Of::Shell),
        _ => layered(args, Start::Default, Of::Env),
    }
}

/// Of the layer that knows no option but `--help`.
fn start(args: &[String]) -> Launch {
    match args.first().map(String::as_str) {
        Some("-h" | "--help") => Launch::Help(Of::Start),
        Some("--") => Launch::Start(Options::alone(Start::Default, &args[1..])),
        _ => Launch::Start(Options::alone(Start::Default, args)),
    }
}

/// Of the sandbox itself.
fn sandbox(args: &[String]) -> Result<Launch, Failure> {
    let after = |args: &[String]| match args {
        [first, rest @ ..] if first == "--" => rest.to_vec(),
        args => args.to_vec(),
    };
    match args.first().map(String::as_str) {
        Some("-h" | "--help") => Ok(Launch::Help(Of::Sandbox)),
        Some("--shell") => {
            let options = shell(&after(&args[1..]))?;
            Ok(Launch::Start(Options { runtime: Some(Runtime::Auto), ..options }))
        }
        None => Ok(Launch::Start(Options::alone(Start::Default, &[]))),
        _ => Ok(Launch::Start(Options::alone(Start::Raw, &after(args)))),
    }
}

/// A shell, which needs a terminal where it is for a person.
fn shell(args: &[String]) -> Result<Options, Failure> {
    let asks = |word: &&String| word.starts_with('-') && !word.starts_with("--") && word.contains('i');
    let interactive = args.is_empty() || args.iter().take_while(|word| *word != "--").any(|word| asks(&word));
    if interactive && !ui::has_terminal() {
        let message = "an interactive shell needs a terminal on standard input and standard output";
        return Err(Failure::new(Exit::Usage, "cli::no-terminal", message)
            .help("name a command, as in `-c \"make\"`"));
    }
    Ok(Options::new(Start::Shell, args))
}

/// Of the layer that chooses the runtime.
fn layered(args: &[String], start: Start, of: Of) -> Result<Launch, Failure> {
    let mut options = Options::new(start, &[]);
    let mut rest = args;
    let mut raw = false;
    while let [word, after @ ..] = rest {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
            _ => (word.as_str(), None),
        };
        match (name, &value) {
            ("-h" | "--help", None) => return Ok(Launch::Help(of)),
            ("--", None) => {
                rest = after;
                break;
            }
            ("--raw", None) => {
                raw = true;
                rest = after.strip_prefix(&["--".to_owned()]).unwrap_or(after);
                break;
            }
            ("--runtime" | "--flake" | "--devshell", _) => {
                let (value, left) = match (value, after) {
                    (Some(value), _) => (value, after),
                    (None, [value, left @ ..]) => (value.clone(), left),
                    (None, []) => return Err(usage(format!("`{name}` needs a value"))),
                };
                options.set(name, value)?;
                rest = left;
            }
            _ => break,
        }
    }
    let given = match (start, raw) {
        (Start::Shell, _) => shell(rest)?,
        (_, true) if rest.is_empty() => Options::new(Start::Default, &[]),
        (_, true) => Options::new(Start::Raw, rest),
        (_, false) => Options::new(Start::Default, rest),
    };
    Ok(Launch::Start(Options { start: given.start, args: given.args, ..options }))
}

/// Reads the name of a runtime.
pub fn runtime(value: &str) -> Result<Runtime, Failure> {
    match value {
        "host" => Ok(Runtime::Host),
        "nix" => Ok(Runtime::Nix),
        "auto" => Ok(Runtime::Auto),
        other => Err(usage(format!("`{}` is no runtime: `host`, `nix` or `auto`", escape(other)))),
    }
}

pub fn usage(message: String) -> Failure {
    Failure::new(Exit::Usage, "cli::usage", message)
}

impl Options {
    fn set(&mut self, name: &str, value: String) -> Result<(), Failure> {
        match name {
            "--runtime" => self.runtime = Some(runtime(&value)?),
            _ if value.is_empty() => return Err(usage(format!("`{name}` needs a value"))),
            "--flake" => self.flake = Some(value),
            _ => self.devshell = Some(value),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn started(name: &str, text: &str) -> Options {
        match read(name, &words(text)) {
            Ok(Launch::Start(options)) => options,
            other => panic!("{name} {text}: {other:?}"),
        }
    }

    #[test]
    fn options_end_at_the_first_word_of_pi() {
        for (name, text, start, args) in [
            ("pi-env", "", Start::Default, ""),
            ("pi-env", "do it", Start::Default, "do it"),
            ("pi-env", "--model x --runtime nix", Start::Default, "--model x --runtime nix"),
            ("pi-env", "-- --help", Start::Default, "--help"),
            ("pi-env", "--raw -- --model x", Start::Raw, "--model x"),
            ("pi-env", "--raw -- -- x", Start::Raw, "-- x"),
            ("pi-env", "--raw", Start::Default, ""),
            ("pi-start", "--continue", Start::Default, "--continue"),
            ("pi-bwrap", "", Start::Default, ""),
            ("pi-bwrap", "-- --help", Start::Raw, "--help"),
            ("pi-bwrap", "config", Start::Raw, "config"),
            ("pi-env-bwrap", "--shell -c ls", Start::Shell, "-c ls"),
            ("pi-env-shell", "-c ls", Start::Shell, "-c ls"),
        ] {
            let options = started(name, text);
            assert_eq!((options.start, options.args), (start, words(args)), "{name} {text}");
        }
        let options = started("pi-env", "--runtime=nix --flake . --devshell=ci --raw -- x");
        assert_eq!((options.runtime, options.flake.as_deref()), (Some(Runtime::Nix), Some(".")));
        assert_eq!((options.devshell.as_deref(), options.start), (Some("ci"), Start::Raw));
    }

    #[test]
    fn bad_calls_have_the_code_of_usage() {
        for (name, text) in [
            ("pi-env", "--runtime"),
            ("pi-env", "--runtime other"),
            ("pi-env", "--runtime="),
            ("pi-env", "--devshell="),
            ("pi-env", "--flake"),
        ] {
            assert_eq!(read(name, &words(text)).unwrap_err().exit, Exit::Usage, "{name} {text}");
        }
        for name in ["pi-env", "pi-start", "pi-bwrap", "pi-env-shell", "pi-env-bwrap"] {
            for word in ["-h", "--help"] {
                assert!(matches!(read(name, &words(word)), Ok(Launch::Help(_))), "{name}");
            }
        }
    }
}
