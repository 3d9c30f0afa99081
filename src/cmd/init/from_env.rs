//! `pier init --from-env`: the environment of an older tool as a `pier.kdl`.

use std::fmt::Write as _;

use kdl::{KdlDocument, KdlNode};

use crate::agent;
use crate::config::knobs::{self, Knobs, Own};
use crate::env::Environment;
use crate::ui;
use crate::util::text::escape;

/// Returns the file: what the older tool did by itself, and what the variables say.
pub fn render(environment: &Environment) -> String {
    let Knobs { settings, notes } = knobs::read(&|name| environment.get(name), Own::Taken);
    for note in notes {
        ui::warn(&escape(&note));
    }
    let mut document = KdlDocument::new();
    for knob in &settings {
        // Each is a piece of the language; a test reads all of them.
        for node in knob.text.parse::<KdlDocument>().unwrap_or_default().nodes() {
            merge(&mut document, node);
        }
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
    document.autoformat();
    let mut out = String::from(
        "// What coding agents may see, touch, reach and spend in this project; `pier schema` lists every setting.\n\
         // Made by `pier init --from-env` of:\n",
    );
    for knob in settings.iter().filter(|knob| knob.name.contains('=')) {
        // Writing to a String cannot fail.
        let _infallible = writeln!(out, "//   {}", escape(&knob.name));
    }
    let _infallible = write!(out, "\n{document}");
    out
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
