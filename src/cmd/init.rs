//! `pier init`: looks at the project and writes a short starter `pier.kdl`.

mod from_env;
mod keys;

use std::fmt::Write as _;

use camino::Utf8Path;
use clap::{Args, ValueEnum};

use self::keys::{Keys, Secret};
use super::owner::{self, RootOwned};
use super::{Global, Outcome, project};
use crate::agent::service::KEYS;
use crate::backend::{launcher, probe};
use crate::config::Root;
use crate::diag::{Exit, Failure};
use crate::env::Environment;
use crate::util::fs::{read_bounded, read_without_links, write_atomic};
use crate::util::text::escape;
use crate::{agent, ui};

/// The agents of one vendor, for its key; the first is taken where no key says another one.
const FIRST: &[&str] = &["claude-code", "codex", "gemini-cli"];

/// Starts of names that open more than a model service; they are offered in a comment only.
const FAR_REACHING: &[&str] =
    &["AWS_", "AZURE_CLIENT_", "CLOUDFLARE_", "GH_", "GITHUB_", "GOOGLE_APPLICATION_"];

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier init                    look at the project and write pier.kdl\n  \
    pier init --stdout           only show the file\n  pier init --template empty   nothing but the baseline\n  \
    PI_BWRAP_NET=0 pier init --from-env   what the variables of an older tool mean"
)]
pub struct Init {
    /// Write for this kind of project instead of looking.
    #[arg(long, value_name = "NAME")]
    template: Option<Template>,
    /// Write what the variables `PI_BWRAP_…` and `PI_ENV_BWRAP_…` of an older tool say.
    #[arg(long, conflicts_with = "template")]
    from_env: bool,
    /// Replace a `pier.kdl` that is there.
    #[arg(long)]
    force: bool,
    /// Print the file and write nothing.
    #[arg(long)]
    stdout: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Template {
    Rust,
    Node,
    Python,
    /// No agent, no network, no variables.
    Empty,
}

/// What the file is made from.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    languages: Vec<Language>,
    agents: Vec<Agent>,
    keys: Keys,
    /// The toolchain of rustup, below `~`, where `/usr` has no `cargo`.
    toolchain: Option<String>,
    /// The project has a flake with a development shell.
    flake: bool,
    /// Files at the top of the project that usually hold secrets.
    secrets: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Rust,
    Node,
    Python,
    Go,
}

#[derive(Debug, PartialEq, Eq)]
struct Agent {
    name: &'static str,
    /// `None`: the one on this host is used.
    install: Option<Install>,
}

#[derive(Debug, PartialEq, Eq)]
struct Install {
    version: &'static str,
    why: String,
}

pub fn run(global: &Global, args: &Init) -> Outcome {
    let cwd = project::current_directory()?;
    let environment = Environment::of_process()?;
    let root = probe::project_root(&cwd, Root::Git)?;
    let environment = owner::settle(environment, global, &root, RootOwned::Stay)?;
    project::require_project(&environment, &root)?;
    let text = match args.template {
        _ if args.from_env => from_env::render(&environment),
        Some(Template::Empty) => EMPTY.to_owned(),
        template => {
            let seen = look(&environment, &root, template);
            if let Some(warning) = seen.keys.warning() {
                ui::warn(&warning);
            }
            render(&seen)
        }
    };
    if args.stdout {
        ui::write_out(&text);
        return Ok(Exit::Done);
    }
    let path = root.join(project::FILE);
    if !args.force && path.symlink_metadata().is_ok() {
        return Err(Failure::new(
            Exit::Failed,
            "init::exists",
            format!("`{}` is there already", escape(path.as_str())),
        )
        .help("`pier init --stdout` shows what would be written; `--force` replaces the file"));
    }
    write_atomic(&path, text.as_bytes(), 0o644).map_err(|error| {
        let message = format!("cannot write `{}`: {error}", escape(path.as_str()));
        Failure::new(Exit::Failed, "init::write", message)
    })?;
    ui::say(&format!("wrote {}", escape(path.as_str())));
    ui::say("next: read it, then");
    if args.template == Some(Template::Empty) {
        ui::say("  pier shell    a shell in the sandbox");
    } else {
        ui::say("  pier trust    approve what it grants");
        ui::say("  pier up       start the agent");
    }
    Ok(Exit::Done)
}

fn look(environment: &Environment, root: &Utf8Path, template: Option<Template>) -> Seen {
    let there = |name: &str| root.join(name).is_file();
    let languages = match template {
        Some(Template::Rust) => vec![Language::Rust],
        Some(Template::Node) => vec![Language::Node],
        Some(Template::Python) => vec![Language::Python],
        Some(Template::Empty) => Vec::new(),
        None => {
            let python = ["pyproject.toml", "setup.py", "requirements.txt"].iter().any(|name| there(name));
            let found = [
                (Language::Rust, there("Cargo.toml")),
                (Language::Node, there("package.json")),
                (Language::Python, python),
                (Language::Go, there("go.mod")),
            ];
            found.into_iter().filter(|(_, there)| *there).map(|(language, _)| language).collect()
        }
    };
    let path = environment.get("PATH").unwrap_or_default();
    let uid = nix::unistd::geteuid().as_raw();
    let search = launcher::Search { path, home: &environment.home, uid };
    let agents: Vec<Agent> = agent::ALL
        .iter()
        .filter_map(|known| {
            let install = match launcher::find(&known.launchers(), &search) {
                Ok(_) => None,
                Err(launcher::Error::NotFound { .. }) => return None,
                // It is there and its place would open too much: pier's own copy does not.
                Err(error) => {
                    Some(Install { version: agent::checked(known.name())?, why: error.to_string() })
                }
            };
            Some(Agent { name: known.name(), install })
        })
        .collect();
    let agents =
        if agents.is_empty() { vec![first_agent(&|name| environment.get(name).is_some())] } else { agents };
    let declared = agent::ALL.iter().filter(|known| agents.iter().any(|agent| agent.name == known.name()));
    let mut variables: Vec<&str> = declared.flat_map(|known| known.reads().iter().copied()).collect();
    variables.retain(|name| environment.get(name).is_some());
    variables.sort_unstable();
    variables.dedup();
    let keys = keys::sort(variables, &|name| environment.get(name).map(str::to_owned));
    let toolchain = languages.contains(&Language::Rust).then(|| toolchain(&environment.home)).flatten();
    let flake = read_without_links(&root.join("flake.nix"), MOST_SETTINGS)
        .is_ok_and(|text| String::from_utf8_lossy(&text).contains("devShell"));
    Seen { languages, agents, keys, toolchain, flake, secrets: secrets(root) }
}

/// The most files that the starter file hides.
const MOST_SECRETS: usize = 8;

/// Returns the names of files at the top that usually hold secrets; a repository can call its files anything.
fn secrets(root: &Utf8Path) -> Vec<String> {
    let plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    let secret = |name: &str| {
        let example =
            ["example", "sample", "template", "dist", "defaults"].iter().any(|end| name.ends_with(end));
        let variables = name == ".env" || name.starts_with(".env.");
        let key = [".pem", ".key", ".p12", ".pfx"].iter().any(|end| name.ends_with(end));
        (variables && !example)
            || key
            || [".netrc", ".pgpass", "credentials.json", "id_rsa", "id_ed25519"].contains(&name)
    };
    let Ok(entries) = root.read_dir_utf8() else { return Vec::new() };
    let files = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let names = files.map(|entry| entry.file_name().to_owned());
    let mut found: Vec<String> = names.filter(|name| plain(name) && secret(name)).collect();
    found.sort();
    found.truncate(MOST_SECRETS);
    found
}

/// The most that is read of rustup's settings, in bytes.
const MOST_SETTINGS: u64 = 64 * 1024;

/// Returns rustup's default toolchain as a path that starts with `~`, unless `/usr` has a `cargo`.
fn toolchain(home: &Utf8Path) -> Option<String> {
    if ["/usr/bin/cargo", "/usr/local/bin/cargo"].into_iter().any(|path| Utf8Path::new(path).exists()) {
        return None;
    }
    let settings = read_bounded(&home.join(".rustup/settings.toml"), MOST_SETTINGS).ok()?;
    let settings = String::from_utf8(settings).ok()?;
    let named =
        settings.lines().find_map(|line| line.trim().strip_prefix("default_toolchain")?.split('"').nth(1));
    let plain = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let path = format!(".rustup/toolchains/{}", named.filter(plain)?);
    home.join(&path).join("bin/cargo").exists().then(|| format!("~/{path}"))
}

fn first_agent(is_set: &dyn Fn(&str) -> bool) -> Agent {
    let has_key = |name: &&&str| {
        let reads = agent::find(name).map_or(&[][..], |known| known.reads());
        KEYS.iter().any(|key| reads.contains(&key.variable) && is_set(key.variable))
    };
    let name = FIRST.iter().find(has_key).unwrap_or(&FIRST[0]);
    let install = agent::checked(name)
        .map(|version| Install { version, why: "no agent is on this host's `PATH`".into() });
    Agent { name, install }
}

const EMPTY: &str = "\
// What a command may see, touch, reach and spend in this project; `pier schema` lists every setting.
// Without a line here only the project is visible, at /workspace, and the network is off.

network none
";

/// Returns the file; every line of it is meant to be read before `pier trust`.
fn render(seen: &Seen) -> String {
    let mut out = String::from(
        "// What coding agents may see, touch, reach and spend in this project; `pier schema` lists every setting.\n\
         // The project is read-write at /workspace, with a home of its own. Lines marked * need `pier trust`.\n",
    );
    for (index, agent) in seen.agents.iter().enumerate() {
        let default = if index == 0 { " default=#true" } else { "" };
        match &agent.install {
            None => line(&mut out, &format!("\nagent {}{default}    // * the one on this host", agent.name)),
            Some(install) => {
                line(&mut out, &format!("\n// pier installs this agent, because {}.", comment(&install.why)));
                line(&mut out, &format!("agent {}{default} {{", agent.name));
                line(&mut out, &format!("    version \"{}\"    // *", install.version));
                line(&mut out, "}");
            }
        }
    }
    seen.keys.write_network(&mut out);
    let (far, near): (Vec<&str>, Vec<&str>) =
        seen.keys.passed.iter().partition(|name| FAR_REACHING.iter().any(|start| name.starts_with(start)));
    if seen.keys.is_empty(&near) {
        out.push_str(
            "\n// No key that the agent reads is set now. To let one be added on the way, which never enters:\n",
        );
        let variable = first_key(&seen.agents);
        if let Some(key) = KEYS.iter().find(|key| key.variable == variable) {
            line(&mut out, &format!("// env {{ {} }}", Secret::of(key).text()));
        }
    } else {
        seen.keys.write(&mut out, &near);
    }
    if !far.is_empty() {
        out.push_str("\n// Also set, but they open more than a model service:\n");
        line(&mut out, &format!("// env {{ pass {} }}", quoted(&far)));
    }
    if seen.secrets.is_empty() {
        out.push_str(
            "\n// Everything in the project is seen. To show a file as empty, in git's history as well:\n",
        );
        out.push_str("// workspace { hide \".env\" }\n");
    } else {
        let names: Vec<&str> = seen.secrets.iter().map(String::as_str).collect();
        out.push_str("\n// Files that usually hold secrets: shown as empty, in git's history as well.\n");
        line(&mut out, &format!("workspace {{ hide {} }}", quoted(&names)));
    }
    for language in &seen.languages {
        out.push('\n');
        out.push_str(match language {
            Language::Rust => RUST,
            Language::Node => NODE,
            Language::Python => PYTHON,
            Language::Go => GO,
        });
    }
    if let Some(toolchain) = &seen.toolchain {
        out.push_str(
            "\n// * rustup keeps cargo and rustc in the home directory; this shows that toolchain alone.\n",
        );
        line(&mut out, &format!("mounts {{ ro \"{toolchain}\" at=\"/opt/rust\" }}"));
        out.push_str("runtime host { path \"/opt/rust/bin\" }\n");
    }
    if seen.flake {
        out.push('\n');
        out.push_str(NIX);
    }
    out.push_str(
        "\n// Caches and logins of the agent stay in the sandbox home between sessions. To start empty each time:\n\
         // home ephemeral\n",
    );
    out
}

const RUST: &str = "\
// Rust: crates are downloaded into the sandbox home. To see those of the host (*):
// mounts { ro \"~/.cargo/registry\" at=\"/home/pier/.cargo/registry\" }
";

const NODE: &str = "\
// Node: the npm cache is in the sandbox home. To see the one of the host (*):
// mounts { ro \"~/.npm/_cacache\" at=\"/home/pier/.npm/_cacache\" }
";

const PYTHON: &str = "\
// Python: the pip cache is in the sandbox home. To see the one of the host (*):
// mounts { ro \"~/.cache/pip\" at=\"/home/pier/.cache/pip\" }
";

const NIX: &str = "\
// Nix: the tools of the flake's development shell in place of those of the host, the agent among them (*):
// runtime nix { flake \".\"; shell \"default\"; }
";

const GO: &str = "\
// Go: modules are downloaded into the sandbox home. To see those of the host (*):
// mounts { ro \"~/go/pkg/mod\" at=\"/home/pier/go/pkg/mod\" }
";

fn line(out: &mut String, text: &str) {
    // Writing to a String cannot fail.
    let _infallible = writeln!(out, "{text}");
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(" ")
}

/// Makes foreign text fit into one comment.
fn comment(text: &str) -> String {
    escape(text).replace('\n', " ")
}

fn first_key(agents: &[Agent]) -> &'static str {
    let known = agents.first().and_then(|agent| agent::find(agent.name).ok());
    let is_key = |name: &&&str| KEYS.iter().any(|key| key.variable == **name);
    let key = known.and_then(|known| known.reads().iter().find(is_key).copied());
    key.unwrap_or("ANTHROPIC_API_KEY")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layers::{Inputs, load};

    fn valid(text: &str) -> crate::config::Config {
        let read = |_: &Utf8Path| Ok(Some(text.as_bytes().to_vec()));
        let inputs = Inputs { project: Some("/p/pier.kdl".into()), ..Inputs::default() };
        match load(&inputs, &read) {
            Ok(loaded) => loaded.config,
            Err(report) => panic!("{:?}\n{text}", report.problems),
        }
    }

    #[test]
    fn every_starter_file_is_valid() {
        valid(EMPTY);
        let found = |name| Agent { name, install: None };
        let refused = || Install { version: "2.1.197", why: "a line\nand \"another\" */ one".into() };
        for (agents, variables) in [
            (vec![first_agent(&|_| false)], vec![]),
            (
                vec![found("claude-code"), found("codex"), found("pi")],
                vec!["ANTHROPIC_API_KEY", "AWS_PROFILE"],
            ),
            (vec![Agent { name: "claude-code", install: Some(refused()) }], vec!["AWS_PROFILE"]),
        ] {
            let languages = vec![Language::Rust, Language::Node, Language::Python, Language::Go];
            let count = agents.len();
            let toolchain = Some("~/.rustup/toolchains/stable".to_owned());
            let secrets = [".env", "server.pem"][..variables.len()].iter().map(ToString::to_string).collect();
            let hidden = variables.len();
            let mut keys = keys::sort(variables, &|_| Some("x".to_owned()));
            keys.secrets = KEYS
                .iter()
                .map(Secret::of)
                .filter(|key| !keys.passed.contains(&key.variable))
                .take(hidden * 3)
                .collect();
            keys.local = (hidden == 1).then_some("ANTHROPIC_BASE_URL");
            let seen = Seen { languages, agents, keys, toolchain, flake: true, secrets };
            let config = valid(&render(&seen));
            assert_eq!(config.workspace.hide.len(), hidden);
            assert_eq!(config.env.secrets.len(), hidden * 3);
            assert_eq!(config.agents.len(), count);
            assert!(config.agents[0].default.value);
            assert!(config.env.pass.iter().all(|name| !name.value.starts_with("AWS_")));
        }
    }

    #[test]
    fn the_lines_in_comments_are_valid_too() {
        let text: String = [RUST, NODE, PYTHON, GO].concat();
        for line in text.lines().filter_map(|line| line.strip_prefix("// mounts")) {
            assert_eq!(valid(&format!("mounts{line}")).mounts.len(), 1);
        }
        let nix = NIX.lines().find_map(|line| line.strip_prefix("// runtime")).unwrap();
        let runtime = valid(&format!("runtime{nix}")).runtime.value;
        assert!(matches!(runtime, crate::config::Runtime::Nix { .. }));
        valid("home ephemeral");
        valid(&format!("env {{ {} }}", Secret::of(&KEYS[0]).text()));
    }

    #[test]
    fn files_that_usually_hold_secrets_are_hidden() {
        let place = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(place.path()).unwrap();
        for name in
            [".env", ".env.local", ".env.example", "a\"b.pem", "tls.key", "main.rs", ".envrc", "monkey"]
        {
            fs_err::write(root.join(name), "").unwrap();
        }
        fs_err::create_dir(root.join("x.pem")).unwrap();
        assert_eq!(secrets(root), [".env", ".env.local", "tls.key"]);
        valid("workspace { hide \".env\" }");
    }

    #[test]
    fn an_agent_that_is_nowhere_is_installed() {
        for (key, name, version) in [
            ("", "claude-code", "2.1.197"),
            ("ANTHROPIC_API_KEY", "claude-code", "2.1.197"),
            ("OPENAI_API_KEY", "codex", "0.169.0"),
            ("GEMINI_API_KEY", "gemini-cli", "0.61.0"),
        ] {
            let seen = Seen { agents: vec![first_agent(&|set| set == key)], ..Seen::default() };
            let config = valid(&render(&seen));
            assert_eq!(config.agents[0].name.value, name);
            assert_eq!(config.agents[0].version.as_ref().unwrap().value, version);
        }
    }
}
