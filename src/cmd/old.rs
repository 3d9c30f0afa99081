//! The names of an older tool, as links to this program: what a call by one of them means here.
//!
//! Arguments, variables, defaults and exit codes are those of that tool; what pier refuses for a reason of its own ends
//! with pier's own code.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use camino::Utf8PathBuf;

use self::options::{Launch, Options, Start};
use super::self_install::non_nix;
use super::{Global, Outcome, old_names, run};
use crate::config::overlay::Overlay;
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::ui;
use crate::util::text::escape;

mod coord;
mod help;
pub mod man;
mod meant;
mod options;
mod serial;
pub mod umbrella;

/// The code of a call that lacks something on this host.
const NOT_THERE: Exit = Exit::NotFound;

/// What a call means, as configuration.
#[derive(Clone, Debug)]
pub struct Meant {
    /// What the older tool did by itself.
    pub beneath: Vec<Overlay>,
    /// What its variables and options say.
    pub above: Vec<Overlay>,
    /// Pi loads the package of roles that is a part of pier.
    pub role_manager: bool,
    /// The project, if a variable names it.
    pub root: Option<Utf8PathBuf>,
}

/// Returns the name of the older tool that pier was called by.
pub fn name_of(words: &[OsString]) -> Option<&'static str> {
    let name = Path::new(words.first()?).file_name()?.to_str()?;
    if coord::is_one(name) {
        return Some(COORD);
    }
    old_names::all().find(|own| *own == name)
}

/// Stands for every name of a coordination command.
const COORD: &str = "agent-coord";

/// Runs the call.
pub fn main(name: &'static str, words: &[OsString]) -> ExitCode {
    super::trace::start(0);
    if name == COORD
        && let Some((first, rest)) = words.split_first()
        && let Some(name) = Path::new(first).file_name().and_then(|name| name.to_str())
        && let Some(words) = coord::words(name, rest)
    {
        return ExitCode::from(coord::run(name, &words).code());
    }
    let outcome = dispatch(name, words);
    let exit = outcome.unwrap_or_else(|failure| {
        if is_missing(&failure, "agent::missing") {
            ui::say(&format!("{name}: pi was not found on PATH before entering the sandbox"));
        }
        ui::fail(&failure);
        // What is not there was one code.
        if ["agent::missing", "bwrap::program"].iter().any(|code| is_missing(&failure, code)) {
            return NOT_THERE;
        }
        failure.exit
    });
    ExitCode::from(exit.code())
}

fn is_missing(failure: &Failure, code: &str) -> bool {
    failure.report.problems.iter().any(|problem| problem.code == code)
}

fn dispatch(name: &'static str, words: &[OsString]) -> Outcome {
    match name {
        "install-non-nix" | "pi-env-install-non-nix" => return non_nix::install_non_nix(words),
        "pi-env-uninstall" => return non_nix::pi_env_uninstall(words),
        _ => {}
    }
    if old_names::SERIAL.contains(&name) {
        return Ok(serial::run(name, words.get(1..).unwrap_or_default()));
    }
    let word = |word: &OsString| {
        word.to_str()
            .map(str::to_owned)
            .ok_or_else(|| options::usage("an argument is not UTF-8, and Pi takes none that is not".into()))
    };
    let args: Vec<String> = words.iter().skip(1).map(word).collect::<Result<_, _>>()?;
    let launch = match name {
        "pienv" => match umbrella::read(&args)? {
            umbrella::Asked::Launch(launch) => launch,
            umbrella::Asked::Install(words) => return non_nix::install_non_nix(&words),
            umbrella::Asked::Uninstall(words) => return non_nix::pi_env_uninstall(&words),
            umbrella::Asked::Coord(rest) => {
                let rest: Vec<OsString> = rest.into_iter().map(OsString::from).collect();
                let Some((word, rest)) = rest.split_first() else {
                    return Err(options::usage("`pienv coord` needs a command".into()));
                };
                let word = word.to_string_lossy();
                if !coord::is_command(&word) {
                    let message = format!("there is no command `pienv coord {}`", escape(&word));
                    return Err(options::usage(message).help("`pienv help coord` lists them"));
                }
                let name = format!("pi-env-coord-{word}");
                let words = coord::words(&name, rest).unwrap_or_default();
                return Ok(coord::run(&name, &words));
            }
            umbrella::Asked::Serial(rest) => {
                let rest: Vec<OsString> = rest.into_iter().map(OsString::from).collect();
                return Ok(serial::run("pienv roles serial", &rest));
            }
            umbrella::Asked::Text(text) => {
                ui::write_out(&text);
                return Ok(Exit::Done);
            }
        },
        name => options::read(name, &args)?,
    };
    match launch {
        Launch::Help(of) => {
            ui::write_out(help::of(of));
            Ok(Exit::Done)
        }
        Launch::Start(options) => start(&options),
    }
}

fn start(options: &Options) -> Outcome {
    let environment = Environment::of_process()?;
    let cwd = super::project::current_directory()?;
    let meant::Call { meant, extra } = meant::of(options, &environment, &cwd)?;
    let global = Global { older: Some(meant), ..Global::default() };
    match &options.start {
        Start::Default | Start::Raw => run::agent(&global, "pi", extra),
        Start::Shell if extra.is_empty() => run::login_shell(&global),
        Start::Shell => {
            let shell = std::iter::once("/bin/bash".to_owned());
            run::exec(&global, run::Exec::plain(shell.chain(extra).collect()))
        }
    }
}
