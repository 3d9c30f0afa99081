//! The health check of a task: a workspace is ready once it passes.

use std::time::{Duration, Instant};

use crate::backend::protocol::Command;
use crate::diag::{Exit, Failure};
use crate::plan::Plan;
use crate::session::aside;
use crate::task::HealthCheck;
use crate::ui;
use crate::util::text::escape;

/// The most that one wait of a task may be.
const MOST: Duration = Duration::from_hours(1);

fn seconds(count: f64) -> Duration {
    Duration::try_from_secs_f64(count).unwrap_or(MOST).min(MOST)
}

/// Runs the check until it passes. What fails in the start period does not count.
pub fn wait(plan: &Plan, place: aside::Place<'_>, check: &HealthCheck) -> Result<(), Failure> {
    let cwd = plan.project.at.to_string();
    let shell = plan.user.shell.to_string();
    let command =
        Command { argv: vec![shell, "-c".into(), check.command.clone()], environment: Vec::new(), cwd };
    let began = Instant::now();
    let mut failures = 0;
    let mut told = false;
    loop {
        let starts = began.elapsed() < seconds(check.start_period_sec);
        if aside::run(place, &command, seconds(check.timeout_sec))? == Some(0) {
            return Ok(());
        }
        if !starts {
            failures += 1;
        }
        if failures >= check.retries.max(1) || began.elapsed() > MOST {
            let message =
                format!("the task is not healthy: `{}` failed {failures} times", escape(&check.command));
            return Err(Failure::new(Exit::Failed, "workspace::health", message)
                .help("`[environment.healthcheck]` of `task.toml` says what is checked, and how often"));
        }
        if !told {
            told = true;
            ui::say("waiting for the health check of the task");
        }
        std::thread::sleep(seconds(if starts { check.start_interval_sec } else { check.interval_sec }));
    }
}
