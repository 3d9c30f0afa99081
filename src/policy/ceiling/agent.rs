//! Agents: what is copied from the host for them, which program they are, and which version is installed.

use camino::Utf8PathBuf;

use super::{Found, Paths};
use crate::config::{Config, HomeImport, Sourced, Sync};
use crate::util::text::escape;

/// Compares the copies for the home and for agents.
pub fn imports(ceiling: &Config, config: &Config, paths: &Paths<'_>, found: &mut Found) {
    let source = |from: &Option<String>| from.as_deref().map(paths.absolute);
    let home = &ceiling.home.imports;
    let of_agents = || ceiling.agents.iter().flat_map(|agent| &agent.imports);
    let Some(first) = home.first().map(|import| &import.origin).or(of_agents().next().map(|one| &one.origin))
    else {
        return;
    };
    for Sourced { value, origin } in config.home.imports.iter().filter(|one| one.value.sync != Sync::Never) {
        let same = |listed: &&Sourced<HomeImport>| {
            listed.value.what == value.what
                && listed.value.sync != Sync::Never
                && source(&listed.value.from) == source(&value.from)
        };
        if !home.iter().any(|listed| same(&listed)) {
            let message = format!("the import of {} is not among those that the policy lists", value.what);
            found.exceeds(origin, Some(first), message);
        }
    }
    for agent in &config.agents {
        let name = &agent.name.value;
        let same_name = ceiling.agents.iter().find(|listed| listed.name.value == *name);
        let listed = same_name.map_or(&[][..], |listed| &listed.imports);
        for Sourced { value, origin } in agent.imports.iter().filter(|one| one.value.sync != Sync::Never) {
            let covered = |kind| {
                listed.iter().any(|one| {
                    one.value.what.contains(kind)
                        && one.value.sync != Sync::Never
                        && source(&one.value.from) == source(&value.from)
                })
            };
            for kind in value.what.iter().filter(|kind| !covered(kind)) {
                let kind = format!("{kind:?}").to_lowercase();
                let message =
                    format!("the import of {kind} of {name} is not among those that the policy lists");
                found.exceeds(origin, Some(first), message);
            }
        }
    }
}

/// Compares versions that are installed, programs that are run, and skills that are copied.
pub fn programs(ceiling: &Config, config: &Config, paths: &Paths<'_>, found: &mut Found) {
    let same = |name: &str| ceiling.agents.iter().find(|listed| listed.name.value == name);
    let first_version = ceiling.agents.iter().find_map(|agent| agent.version.as_ref());
    let first_run = ceiling.agents.iter().find_map(|agent| agent.run.as_ref());
    for agent in &config.agents {
        let name = &agent.name.value;
        let listed = same(name);
        let version = listed.and_then(|listed| listed.version.as_ref());
        if let (Some(asked), Some(first)) = (&agent.version, first_version)
            && version.is_none_or(|version| version.value != asked.value)
        {
            let message = format!("{name} {} is not the version that the policy installs", asked.value);
            found.exceeds(&asked.origin, Some(&version.unwrap_or(first).origin), message);
        }
        let run = listed.and_then(|listed| listed.run.as_ref());
        if let (Some(asked), Some(first)) = (&agent.run, first_run)
            && run.is_none_or(|run| run.value != asked.value)
        {
            let message = format!("the program of {name} is not among those that the policy lists");
            found.exceeds(&asked.origin, Some(&run.unwrap_or(first).origin), message);
        }
    }
    skills(ceiling, config, paths, found);
}

fn skills(ceiling: &Config, config: &Config, paths: &Paths<'_>, found: &mut Found) {
    let listed: Vec<&Sourced<String>> = ceiling.agents.iter().flat_map(|agent| &agent.skills).collect();
    let Some(first) = listed.first() else { return };
    let tops: Vec<Utf8PathBuf> = listed.iter().map(|skills| (paths.absolute)(&skills.value)).collect();
    for skills in config.agents.iter().flat_map(|agent| &agent.skills) {
        let path = (paths.absolute)(&skills.value);
        if !path.starts_with(paths.root) && !tops.iter().any(|top| path.starts_with(top)) {
            let message =
                format!("`{}` is not among the skills that the policy lists", escape(path.as_str()));
            found.exceeds(&skills.origin, Some(&first.origin), message);
        }
    }
}
