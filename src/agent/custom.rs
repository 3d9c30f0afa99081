//! An agent that pier has no file for: the `run` line of its block, and what the block says about it.

use super::log::Converter;
use super::{Agent, Copy, Install, McpSetup, Places, Request, Role, Verdict};
use crate::config::{self, ImportKind, Mcp};

mod document;
pub mod log;

/// What reads the logs of agents that a file declares.
pub static DECLARED: log::Log = log::Log;

/// A `run` line and its block.
pub struct Custom<'a> {
    config: &'a config::Agent,
    program: &'a str,
    args: &'a [String],
}

impl<'a> Custom<'a> {
    /// Returns `None` where the block has no `run` line, or an empty one.
    pub fn new(config: &'a config::Agent) -> Option<Self> {
        let (program, args) = config.run.as_ref()?.value.split_first()?;
        Some(Custom { config, program, args })
    }
}

impl Agent for Custom<'_> {
    fn name(&self) -> &str {
        &self.config.name.value
    }

    fn launchers(&self) -> Vec<&str> {
        vec![self.program]
    }

    fn install(&self) -> Install {
        Install::Never
    }

    /// Returns the rest of `run`, `args`, and the user's words; a prompt is one more word. Model and tools have no
    /// known spelling: whoever writes the `run` line writes them there.
    fn command(&self, request: &Request<'_>) -> Vec<String> {
        let mut args = [self.args, request.args, request.extra].concat();
        args.extend(request.mode.prompt().map(str::to_owned));
        args
    }

    fn environment(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    fn reads(&self) -> &'static [&'static str] {
        &[]
    }

    fn refuses(&self) -> &'static [&'static str] {
        &[]
    }

    fn imports(&self, _: ImportKind, _: Option<&str>, _: &Places<'_>) -> Vec<Copy> {
        Vec::new()
    }

    fn hosts(&self, _: Option<&str>) -> Vec<&str> {
        self.config.hosts.iter().map(|host| host.value.as_str()).collect()
    }

    fn mcp(&self, _: &[Mcp], _: Option<&Role<'_>>) -> McpSetup {
        McpSetup::Unsupported
    }

    fn skills_dir(&self) -> Option<&'static str> {
        None
    }

    /// Returns the `logs` patterns without their `~/`: the configuration has no others.
    fn logs(&self) -> Vec<&str> {
        self.config.logs.iter().filter_map(|logs| logs.value.strip_prefix("~/")).collect()
    }

    fn converter(&self) -> Option<&'static dyn Converter> {
        Some(&log::Log)
    }

    /// Returns what the exit code says, for it is all there is: a failure is one, success proves nothing.
    fn verdict(&self, exit: u8, _: &str) -> Verdict {
        match exit {
            0 => Verdict::Unknown,
            code => Verdict::Failed { reason: format!("exit code {code}") },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mode;
    use super::*;
    use crate::config::Sourced;

    fn block(name: &str, run: Option<&[&str]>) -> config::Agent {
        config::Agent {
            run: run.map(|words| Sourced::built_in(words.iter().map(|word| (*word).to_owned()).collect())),
            logs: vec![Sourced::built_in("~/.mine/*.jsonl".to_owned())],
            hosts: vec![Sourced::built_in("api.mine.example".to_owned())],
            ..config::Agent::named(Sourced::built_in(name.to_owned()))
        }
    }

    #[test]
    fn a_run_line_is_the_whole_agent() {
        let block = block("mine", Some(&["mine-agent", "--task"]));
        let agent = super::super::of(&block).unwrap();
        let extra = ["more".to_owned()];
        let request =
            Request { mode: Mode::Headless { prompt: Some("do it") }, extra: &extra, ..Request::default() };
        assert_eq!(agent.launchers(), ["mine-agent"]);
        assert_eq!(agent.command(&request), ["--task", "more", "do it"]);
        assert_eq!(agent.logs(), [".mine/*.jsonl"]);
        assert_eq!(agent.hosts(None), ["api.mine.example"]);
    }

    #[test]
    fn a_run_line_goes_before_a_built_in_agent_of_that_name() {
        let own = block("pi", Some(&["my-pi"]));
        assert_eq!(super::super::of(&own).unwrap().launchers(), ["my-pi"]);
        assert_eq!(super::super::of(&block("pi", None)).unwrap().launchers(), ["pi"]);
        assert_eq!(super::super::of(&block("pie", Some(&[]))).err().unwrap().nearest, Some("pi"));
    }
}
