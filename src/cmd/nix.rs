//! `runtime nix` for the commands: the flake as it is now, its approval, its shell, and agents in it.

use camino::{Utf8Path, Utf8PathBuf};

use super::project::{self, Fetch, Project};
use crate::backend::nix::{self, Held, Inputs, Progress, Request};
use crate::backend::{launcher, probe};
use crate::diag::{Exit, Failure};
use crate::plan::Target;
use crate::plan::facts::{InstallKind, Launcher, Nix, NixShell, PathFact};
use crate::plan::nix::{Reference, asked, problems, reference};
use crate::util::fs::place_name;
use crate::util::text::escape;
use crate::{agent, lock, ui};

/// What Nix gets of the caller's variables: addresses and certificates of networks.
const NETWORK: &[&str] = &[
    "ALL_PROXY",
    "CURL_CA_BUNDLE",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NIX_SSL_CERT_FILE",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// A flake, and what an evaluation would read of it.
struct Looked {
    reference: Reference,
    nix: Nix,
    inputs: Option<Inputs>,
}

/// Reads the flake that the configuration names; `None` for another runtime, and where the plan refuses it anyway.
fn look(project: &Project, home: &Utf8Path) -> Result<Option<Looked>, Failure> {
    let config = &project.loaded.config;
    let Some((flake, shell)) = asked(config) else { return Ok(None) };
    if !problems(config, home, &project.root).is_empty() {
        return Ok(None);
    }
    let Ok(reference) = reference(flake, home, &project.root) else { return Ok(None) };
    let (nix, inputs) = nix::look(&reference, flake, shell)?;
    Ok(Some(Looked { reference, nix, inputs }))
}

/// Adds the flake and its shell to the facts. With [`Fetch::Install`] an unknown shell is evaluated, once that is
/// approved. The answer is to be kept for as long as the shell is used.
pub fn add(
    project: &Project,
    fetch: Fetch,
    trusted: Option<&str>,
    probed: &mut probe::Probed,
) -> Result<Option<Held>, Failure> {
    let home = probed.facts.home.clone();
    let Some(Looked { reference, nix, inputs }) = look(project, &home)? else { return Ok(None) };
    // Programs of the host do not run where its libraries are not.
    probed.facts.launchers.clear();
    probed.facts.nix = Some(nix.clone());
    let environment = &project.environment;
    let shelf = nix::shelf(&probed.facts.state, &place_name(&project.root));
    let variable = |name: &&str| Some(((*name).to_owned(), environment.get(name)?.to_owned()));
    let network: Vec<(String, String)> = NETWORK.iter().filter_map(variable).collect();
    let request = Request {
        reference: &reference,
        nix: &nix,
        inputs: inputs.as_ref(),
        shelf: &shelf,
        home: &home,
        program: environment.get("PIER_NIX").map(Utf8Path::new),
        environment: &network,
    };
    let held = match nix::find(&request) {
        Some(held) => held,
        None if fetch == Fetch::Never => return Ok(None),
        None => {
            project::approve(project, &project::preview(project, probed)?, trusted)?;
            nix::resolve(&request, &mut show)?
        }
    };
    let shell = &held.shell;
    let found = probe::stat(&shell.store);
    probed.facts.paths.insert(shell.store.clone(), PathFact { found });
    for declared in &project.loaded.config.agents {
        let Ok(adapter) = agent::of(declared) else { continue };
        let programs = adapter.launchers().into_iter().filter(|name| !name.contains('/'));
        if let Some(program) = programs.into_iter().find_map(|name| nix::command(shell, name)) {
            let launcher = Launcher {
                program,
                interpreter: None,
                directories: Vec::new(),
                libraries: Vec::new(),
                version: None,
                kind: InstallKind::System,
            };
            probed.facts.launchers.insert(declared.name.value.clone(), launcher);
        }
    }
    if let Some(nix) = &mut probed.facts.nix {
        nix.resolved = Some(shell.clone());
    }
    Ok(Some(held))
}

fn show(progress: Progress) {
    match progress {
        Progress::Waiting => ui::say("waiting for another pier that evaluates this shell"),
        Progress::Working { line: None } => ui::say("evaluating the Nix shell"),
        Progress::Working { line: Some(line) } => {
            ui::say(&format!("evaluating the Nix shell: {}", escape(&line)));
        }
    }
}

/// Makes agents that pier installed run in the shell: Node is the shell's own, and a program that needs the host's
/// libraries is refused when it is what shall run, and left out otherwise.
pub fn fit(held: Option<&Held>, target: &Target, probed: &mut probe::Probed) -> Result<(), Failure> {
    let Some(Held { shell, .. }) = held else { return Ok(()) };
    let names: Vec<String> = probed.facts.launchers.keys().cloned().collect();
    for name in names {
        let Some(launcher) = probed.facts.launchers.get_mut(&name) else { continue };
        if launcher.kind != InstallKind::Cache {
            continue;
        }
        let Err(reason) = fit_one(launcher, shell) else { continue };
        if matches!(target, Target::Agent { name: wanted, .. } if *wanted == name) {
            let message = format!("the agent `{name}` does not run in this Nix shell: {reason}");
            return Err(Failure::new(Exit::NotSetUp, "nix::agent", message)
                .help("put the agent, or `nodejs` for one that runs on Node, into the shell of the flake"));
        }
        probed.facts.launchers.remove(&name);
    }
    Ok(())
}

fn fit_one(launcher: &mut Launcher, shell: &NixShell) -> Result<(), &'static str> {
    if let Some(host) = &launcher.interpreter {
        let node = nix::command(shell, "node").ok_or("it needs Node, and the shell has none")?;
        let of_host: Vec<Utf8PathBuf> = launcher::node_directories(host);
        launcher.directories.retain(|directory| !of_host.contains(directory));
        launcher.interpreter = Some(node);
        return Ok(());
    }
    if nix::needs_loader(&launcher.program) {
        return Err("it is a program for the libraries of the host");
    }
    Ok(())
}

/// Returns what `pier.lock` is to say about the flake; `None` for another runtime.
pub fn wanted(project: &Project) -> Result<Option<lock::Flake>, Failure> {
    let home = &project.environment.home;
    let home = home.canonicalize_utf8().unwrap_or_else(|_| home.clone());
    let looked = look(project, &home)?;
    Ok(looked.map(|Looked { nix: Nix { flake, shell, digest, inputs, .. }, .. }| lock::Flake {
        reference: flake,
        shell,
        digest,
        inputs,
    }))
}
