//! The values of secrets, fetched on the host right before a session.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use camino::Utf8Path;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use zeroize::Zeroizing;

use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::gateway::secrets::{MOST, Secret, Use};
use crate::gateway::upstream::Login;
use crate::plan::{self, Plan};
use crate::sys::process;
use crate::util::planted::Written;
use crate::util::text::escape;

/// How long a command may take to answer: a person may be asked for a password.
const PATIENCE: Duration = Duration::from_mins(1);

/// The program that speaks with the keyring of a desktop.
const KEYRING: &str = "secret-tool";

/// Says that a value cannot be had.
fn absent(what: &str, from: &str, origin: &str, why: &str, help: &str) -> Failure {
    let (from, _) = from.split_once(':').unwrap_or((from, ""));
    let message = format!("cannot take {what} from {from} ({origin}): {why}");
    Failure::new(Exit::NotSetUp, "secret::from", message).help(help)
}

/// Fetches the login of the proxy that takes connections out.
pub fn login(environment: &Environment, plan: &Plan) -> Result<Option<Login>, Failure> {
    let upstream = plan.network.gateway.as_ref().and_then(|gateway| gateway.upstream.as_ref());
    let Some((from, origin)) = upstream.and_then(|it| Some((it.login.as_ref()?, &it.origin))) else {
        return Ok(None);
    };
    let failed = |why: &str, help: &str| absent("the login of the proxy", from, origin, why, help);
    let value = value(environment, plan, from).map_err(|(why, help)| failed(&why, &help))?;
    Login::new(&value).map(Some).ok_or_else(|| failed("it is none", "`USER:PASSWORD` is meant"))
}

/// Fetches the value of each secret of a plan, and adds what stands for it inside to the variables of the session.
pub fn fetch(
    environment: &Environment,
    plan: &Plan,
    values: &mut BTreeMap<String, String>,
) -> Result<Vec<Secret>, Failure> {
    let mut fetched = Vec::new();
    for secret in &plan.secrets {
        let failed = |why: String, help: &str| {
            let what = format!("the secret `{}`", escape(&secret.name));
            absent(&what, &secret.from, &secret.origin, &why, help)
        };
        let value = value(environment, plan, &secret.from).map_err(|(why, help)| failed(why, &help))?;
        let header = secret.header.as_deref().map(str::parse).transpose();
        let header =
            header.map_err(|_| failed("its header is none".into(), "write the name of an HTTP header"))?;
        let plan::Secret { name, host, port, format, methods, .. } = secret.clone();
        let made = Secret::new(Use { name: name.clone(), host, port, header, format, methods }, &value);
        let made = made
            .map_err(|error| failed(error.to_string(), "one line of letters, digits and signs is meant"))?;
        values.insert(name, made.placeholder.clone());
        fetched.push(made);
    }
    Ok(fetched)
}

/// Returns a value without the end of its line, or why there is none and what helps.
fn value(environment: &Environment, plan: &Plan, from: &str) -> Result<Zeroizing<String>, (String, String)> {
    let most = MOST as u64 + 2;
    let text = |bytes: Vec<u8>, whose: &str| {
        let text = Zeroizing::new(String::from_utf8(bytes).map_err(|error| {
            drop(Zeroizing::new(error.into_bytes()));
            ("it is no text".to_owned(), format!("look at {whose}"))
        })?);
        Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
    };
    match from.split_once(':') {
        Some(("env", name)) => match environment.get(name) {
            Some(value) => Ok(Zeroizing::new(value.to_owned())),
            None => Err((format!("`{name}` is not set"), format!("`export {name}=…` before pier starts"))),
        },
        Some(("file", path)) => {
            let bytes = written(environment, plan).read(Utf8Path::new(path), most).map_err(|error| {
                (format!("`{}`: {error}", escape(path)), "make it readable for you".to_owned())
            })?;
            text(bytes, &escape(path))
        }
        Some(("cmd", command)) => {
            // Not in the project: many a program runs what it finds where it is started.
            let mut shell = Command::new("/bin/sh");
            shell
                .args(["-c", command])
                .current_dir("/")
                .env_remove("ENV")
                .env("PATH", path(environment, plan));
            text(answer(shell, most)?, "what the command prints")
        }
        Some(("keyring", name)) => {
            let mut tool = Command::new(KEYRING);
            tool.args(["lookup", "service", "pier", "name", name]);
            let store = || format!("`{KEYRING} store --label=pier service pier name {name}` keeps one");
            // Where there is none, it fails and says nothing; anything else that is wrong it says itself.
            let none = |why: String| (format!("the keyring has none of that name: {why}"), store());
            let found = text(answer(tool, most).map_err(|(why, _)| none(why))?, "the keyring")?;
            if found.is_empty() {
                return Err(none("it is empty".into()));
            }
            Ok(found)
        }
        _ => {
            Err(("there is no such place".into(), "`env:`, `file:`, `cmd:` and `keyring:` are known".into()))
        }
    }
}

/// Returns where somebody inside can have put something.
fn written(environment: &Environment, plan: &Plan) -> Written {
    Written::new(plan.written().into_iter().chain([environment.state.clone()]))
}

/// Returns the directories of commands that no sandbox can write.
fn path(environment: &Environment, plan: &Plan) -> String {
    let written = written(environment, plan);
    let own = |directory: &&str| {
        let directory = Utf8Path::new(directory);
        directory.is_absolute() && written.resolve(directory).is_ok_and(|real| !written.holds(&real))
    };
    let all = environment.get("PATH").unwrap_or("/usr/bin:/bin");
    all.split(':').filter(own).collect::<Vec<_>>().join(":")
}

/// Returns what a program of the host prints.
fn answer(mut command: Command, most: u64) -> Result<Vec<u8>, (String, String)> {
    let program = command.get_program().to_string_lossy().into_owned();
    let help = || "run it by hand to see what it says".to_owned();
    let failed = |error: std::io::Error| (format!("`{program}` cannot run: {error}"), help());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    process::end_together(&mut command);
    let mut child = command.spawn().map_err(failed)?;
    let stdout = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What cannot be read is not there.
        let _closed = stdout.map(|pipe| pipe.take(most).read_to_end(&mut bytes));
        bytes
    });
    let in_time = process::ends_within(child.id(), PATIENCE).map_err(failed);
    // Not waited for yet, so the number is still its own; what it has left behind ends, too.
    let _gone = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
    let status = child.wait().map_err(failed)?;
    let bytes = reader.join().unwrap_or_default();
    if !in_time? {
        return Err((format!("`{program}` did not answer within {} seconds", PATIENCE.as_secs()), help()));
    }
    if !status.success() {
        return Err((format!("`{program}` failed: {status}"), help()));
    }
    Ok(bytes)
}
