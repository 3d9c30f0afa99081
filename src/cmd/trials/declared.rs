//! Agents that pier does not know, as the configuration declares them: what starts them, and where their logs are.

use camino::Utf8Path;

use crate::agent::detect;
use crate::agent::{Agent, Custom};
use crate::cmd::Global;
use crate::cmd::project::{self, Place};
use crate::config;
use crate::config::layers::{self, Inputs};
use crate::diag::{Exit, Failure};
use crate::env::{self, Environment};
use crate::trajectory::Whose;

/// The agents with a `run` line.
#[derive(Default)]
pub struct Declared(Vec<config::Agent>);

impl Declared {
    /// Those of a workspace: a file that lies in it says nothing here, for an agent can write one.
    pub fn of_workspace(global: &Global, environment: &Environment) -> Result<Self, Failure> {
        let inputs = Inputs {
            policy: Some(env::POLICY.into()),
            user: Some(environment.config.join("config.kdl")),
            profile: global.profile.clone(),
            overlays: project::assignments(environment, global)?,
            ..Inputs::default()
        };
        let loaded = layers::load(&inputs, &|path| project::read(path, None));
        let loaded = loaded.map_err(|report| Failure { exit: Exit::Usage, report })?;
        Ok(Declared::of(loaded.config.agents))
    }

    /// Those of a project.
    pub fn of_project(
        global: &Global,
        environment: &Environment,
        cwd: &Utf8Path,
        root: &Utf8Path,
    ) -> Result<Self, Failure> {
        let directory = project::find_file(cwd, root);
        let place = Place { cwd, root: root.to_owned() };
        let (loaded, _) = project::load_layers(environment, global, directory.as_deref(), &place)?;
        Ok(Declared::of(loaded.config.agents))
    }

    fn of(agents: Vec<config::Agent>) -> Self {
        Declared(agents.into_iter().filter(|agent| Custom::new(agent).is_some()).collect())
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|agent| agent.name.value == name)
    }

    /// Returns the patterns of its logs; none of an agent that no file declares.
    pub fn logs(&self, name: &str) -> Vec<String> {
        let custom = self.find(name);
        custom.iter().flat_map(Agent::logs).map(str::to_owned).collect()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|agent| agent.name.value.as_str())
    }

    /// Returns what makes a trajectory of the logs of this agent.
    pub fn whose<'a>(&self, name: &'a str) -> Whose<'a> {
        if self.has(name) { Whose::Declared(name) } else { Whose::Known(name) }
    }

    /// Returns the agent of this name.
    pub fn find(&self, name: &str) -> Option<Custom<'_>> {
        self.0.iter().find(|agent| agent.name.value == name).and_then(Custom::new)
    }

    /// Returns the words that start them.
    pub fn words(&self) -> Vec<detect::Declared<'_>> {
        let agents = self.0.iter();
        agents
            .filter_map(|agent| Some((agent.name.value.as_str(), agent.run.as_ref()?.value.as_slice())))
            .collect()
    }
}
