//! `pier init --from-env`: the environment of an older tool as a `pier.kdl`.

use std::fmt::Write as _;

use kdl::{KdlDocument, KdlEntryFormat, KdlNode};

use crate::agent;
use crate::agent::checked;
use crate::backend::launcher;
use crate::config::knobs::{self, Knob, Knobs, Own};
use crate::config::path::quote;
use crate::env::Environment;
use crate::ui;
use crate::util::text::{escape, is_unsafe_char};

/// Returns the file: what the older tool did by itself, and what the variables say.
pub fn render(environment: &Environment) -> String {
    let Knobs { mut settings, notes } = knobs::read(&|name| environment.get(name), Own::Taken);
    for note in notes.into_iter().chain(knobs::unknown(environment.names())) {
        ui::warn(&escape(&note));
    }
    if let Some(nix) = runtime(environment) {
        settings.retain(|knob| {
            let is_other = knob.text.contains("runtime ");
            if is_other {
                ui::warn(&escape(&format!(
                    "`{}` is left out: the tools are not those of this host",
                    knob.name
                )));
            }
            !is_other
        });
        settings.push(nix);
    }
    let mut document = KdlDocument::new();
    for knob in &settings {
        match knob.text.parse::<KdlDocument>() {
            Ok(piece) => piece.nodes().iter().for_each(|node| merge(&mut document, node)),
            Err(error) => ui::warn(&escape(&format!("`{}` is left out: {error}", knob.name))),
        }
    }
    if environment.bubblewrap().is_some() {
        ui::warn("which `bwrap` is used is said by the variable `PIER_BWRAP`, not by a file");
    }
    let read = agent::find("pi").map_or(&[][..], |pi| pi.reads());
    let set: Vec<&str> = read.iter().copied().filter(|name| environment.get(name).is_some()).collect();
    if !set.is_empty() {
        let mut pass = KdlNode::new("pass");
        pass.entries_mut().extend(set.into_iter().map(Into::into));
        let mut node = KdlNode::new("env");
        node.ensure_children().nodes_mut().push(pass);
        merge(&mut document, &node);
    }
    for node in document.nodes_mut() {
        if node.name().value() == "agent" {
            node.insert("default", true);
        }
    }
    let version = checked("pi").filter(|_| !is_here(environment));
    for agent in document.nodes_mut().iter_mut().filter(|node| node.name().value() == "agent") {
        let mut node = KdlNode::new("version");
        node.entries_mut().extend(version.map(Into::into));
        if version.is_some() {
            agent.ensure_children().nodes_mut().insert(0, node);
        }
    }
    document.autoformat();
    if version.is_none() {
        tell_version(&mut document);
    }
    for node in document.nodes_mut() {
        write_escaped(node);
    }
    let mut out = String::from(
        "// What coding agents may see, touch, reach and spend in this project; `pier schema` lists every setting.\n\
         // Made by `pier init --from-env`",
    );
    let mut set: Vec<&str> =
        settings.iter().filter(|knob| knob.is_set).map(|knob| knob.name.as_str()).collect();
    // A list has a line of the language for each of its values.
    set.dedup();
    out.push_str(if set.is_empty() {
        ", where no variable is set: this is what the older tool did by itself.\n"
    } else {
        " of:\n"
    });
    for name in set {
        // Writing to a String cannot fail.
        let _infallible = writeln!(out, "//   {}", escape(name));
    }
    let _infallible = write!(out, "\n{document}");
    out
}

/// Returns what `PI_ENV_RUNTIME=nix` and the variables beside it say.
fn runtime(environment: &Environment) -> Option<Knob> {
    environment.get("PI_ENV_RUNTIME").filter(|runtime| *runtime == "nix")?;
    let (mut name, mut text) = (String::from("PI_ENV_RUNTIME=nix"), String::from("runtime \"nix\" { "));
    for (variable, node) in [("PI_ENV_FLAKE", "flake"), ("PI_ENV_NIX_DEVSHELL", "shell")] {
        if let Some(value) = environment.get(variable) {
            name.push_str(&format!(" {variable}={value}"));
            text.push_str(&format!("{node} {}; ", quote(value)));
        }
    }
    text.push('}');
    Some(Knob { name, key: "RUNTIME", is_set: true, text })
}

/// Says whether `pi` is on this host's `PATH`.
fn is_here(environment: &Environment) -> bool {
    let path = environment.get("PATH").unwrap_or_default();
    let uid = nix::unistd::geteuid().as_raw();
    let search = launcher::Search { path, home: &environment.home, uid };
    agent::find("pi").is_ok_and(|pi| launcher::find(&pi.launchers(), &search).is_ok())
}

/// Writes the version of an agent that is on this host as a comment.
fn tell_version(document: &mut KdlDocument) {
    let agents = document.nodes_mut().iter_mut().filter(|node| node.name().value() == "agent");
    for first in agents.filter_map(|agent| agent.children_mut().as_mut()?.nodes_mut().first_mut()) {
        if let (Some(version), Some(format)) = (checked("pi"), first.format_mut()) {
            let comment = format!(
                "    // The one on this host is used. To have pier install it:\n    // version \"{version}\"\n"
            );
            format.leading.insert_str(0, &comment);
        }
    }
}

/// Escapes what could steer a terminal: as it formats, the library writes such characters as they are.
fn write_escaped(node: &mut KdlNode) {
    for entry in node.entries_mut() {
        let text = entry.value().as_string().filter(|text| text.contains(is_unsafe_char));
        if let Some(value_repr) = text.map(quote) {
            entry.set_format(KdlEntryFormat {
                value_repr,
                leading: " ".to_owned(),
                ..KdlEntryFormat::default()
            });
        }
    }
    for child in node.children_mut().iter_mut().flat_map(KdlDocument::nodes_mut) {
        write_escaped(child);
    }
}

/// Adds a node to the one of its name.
fn merge(document: &mut KdlDocument, node: &KdlNode) {
    let Some(one) = document.nodes_mut().iter_mut().find(|one| one.name().value() == node.name().value())
    else {
        document.nodes_mut().push(node.clone());
        return;
    };
    if one.entries().is_empty() {
        one.entries_mut().extend(node.entries().iter().cloned());
    }
    if let Some(children) = node.children() {
        one.ensure_children().nodes_mut().extend(children.nodes().iter().cloned());
    }
}
