//! Where programs come from: the kind of runtime, and what a shell or an image is made of.

use super::{Found, explicit};
use crate::config::{Config, Runtime};

/// Compares the runtimes; the directories of `runtime host` are compared with the mounts.
pub fn check(ceiling: &Config, config: &Config, found: &mut Found) {
    let (most, asked) = (&ceiling.runtime, &config.runtime);
    if !explicit(most) || most.value == Runtime::Auto {
        return;
    }
    let mut differs = |what: &str| {
        let message = format!("{what} is another one than the policy's");
        found.exceeds(&asked.origin, Some(&most.origin), message);
    };
    // What the policy leaves out is free, except for what lets more in.
    let other = |most: &Option<String>, asked: &Option<String>| most.is_some() && most != asked;
    match (&most.value, &asked.value) {
        (Runtime::Host { .. }, Runtime::Host { .. }) => {}
        (
            Runtime::Nix { flake: most_flake, shell: most_shell, pass: most_pass },
            Runtime::Nix { flake, shell, pass },
        ) => {
            if other(most_flake, flake) || other(most_shell, shell) {
                differs("the Nix shell");
            }
            if !most_pass.is_empty() && !pass.iter().all(|name| most_pass.contains(name)) {
                differs("the list of variables for Nix");
            }
        }
        (Runtime::Container(most), Runtime::Container(asked)) => {
            if other(&most.image, &asked.image) || (most.build.is_some() && most.build != asked.build) {
                differs("the image");
            }
            if other(&most.user, &asked.user) {
                differs("the user of the container");
            }
            if other(&most.engine, &asked.engine) {
                differs("the container engine");
            }
        }
        _ => differs("the runtime"),
    }
}
