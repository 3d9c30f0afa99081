//! The lines that a session leaves in its audit file.

use std::time::Instant;

use camino::Utf8Path;

use super::shadow::{self, import::Imported};
use super::{Error, Outcome, gate};
use crate::audit::{self, Answers, Connection, Event, Finding, How, Log};
use crate::backend::protocol::Walls;
use crate::gateway::Gateway;
use crate::plan::{Backend, NetworkMode, Plan};
use crate::policy;
use crate::util::fs::sha256;

/// The exit code of a session that was not set up.
const NOT_SET_UP: u8 = 125;

/// The most refused connections that one record lists.
const MOST_REFUSALS: usize = 20_000;

/// The audit file of a running session.
pub struct Record {
    log: Log,
    began: Instant,
    refusals: usize,
    /// The command was sent a signal from outside.
    pub signalled: bool,
    /// What models have answered through the gateway.
    pub answers: Answers,
}

impl Record {
    /// Writes the first lines: what is to run, and what was approved for it.
    pub fn start(plan: &Plan, state: &Utf8Path, session: &str) -> Result<Self, audit::Error> {
        // A plan has string keys only, so that it always is JSON.
        let digest = sha256(&serde_json::to_vec(plan).unwrap_or_default());
        let argv = &plan.command.argv;
        let start = Event::Start {
            project: plan.project.root.clone(),
            plan: digest,
            agent: plan.command.agent.as_ref().map(|agent| agent.name.clone()),
            command: argv.first().cloned().unwrap_or_default(),
            arguments: argv.len().saturating_sub(1),
        };
        let mut record = Record {
            log: Log::start(state, session, &start)?,
            began: Instant::now(),
            refusals: 0,
            signalled: false,
            answers: Answers::default(),
        };
        if !plan.grants.is_empty() {
            let grants = plan.grants.iter().map(|grant| grant.text.clone()).collect();
            record.log.append(&Event::Approval { digest: policy::digest(&plan.grants), grants })?;
        }
        Ok(record)
    }

    /// Writes which walls stand, right before the command runs.
    pub fn walls(&mut self, plan: &Plan, walls: Walls) -> Result<(), audit::Error> {
        self.log.append(&Event::Walls { walls: names(plan, walls) })
    }

    /// Adds a line. A file that cannot be written any more does not end a running session; its missing last line
    /// shows.
    pub fn note(&mut self, event: &Event) {
        self.signalled |= matches!(event, Event::Signal { .. });
        if let Err(error) = self.log.append(event) {
            tracing::warn!(%error, "a line of the audit file is missing");
        }
    }

    /// Notes at most so many of the connections that are to be written down.
    pub fn connections(&mut self, gateway: &mut Gateway, most: usize) {
        gateway.awake();
        let missing = gateway.unrecorded();
        for number in 0.. {
            if number == most {
                gateway.again();
                break;
            }
            let Some(connection) = gateway.record() else { break };
            self.connection(connection);
        }
        self.missing(missing);
    }

    /// Ends the gateway, and notes the rest.
    pub fn last_connections(&mut self, gateway: &mut Gateway) {
        if !gateway.stop(|connection| self.connection(connection)) {
            self.note(&Event::Limit { what: "the gateway: it broke down, and the network with it".into() });
        }
        self.missing(gateway.unrecorded());
    }

    fn missing(&mut self, missing: u64) {
        if missing > 0 && self.refusals < MOST_REFUSALS {
            self.refusals += 1;
            let what = format!("connections at once: {missing} more were refused and are not listed");
            self.note(&Event::Limit { what });
        }
    }

    /// One that stood is always written: the gateway makes no more than may be.
    fn connection(&mut self, connection: Connection) {
        if let Some(answers) = connection.models.filter(|_| !connection.open) {
            self.answers += answers;
        }
        if !connection.allowed {
            self.refusals = self.refusals.saturating_add(1);
            if self.refusals == MOST_REFUSALS {
                self.note(&Event::Limit { what: "refused connections in this record".into() });
            }
            if self.refusals >= MOST_REFUSALS {
                return;
            }
        }
        self.note(&Event::Connection(connection));
    }

    /// Notes what came out of the private git directory.
    pub fn imported(&mut self, commits: &Result<Option<Imported>, shadow::Error>) {
        let (references, result) = match commits {
            Ok(None) => return,
            Ok(Some(imported)) => (imported.references.keys().cloned().collect(), "imported".to_owned()),
            Err(error) => (Vec::new(), error.to_string()),
        };
        self.note(&Event::GitImport { references, omitted: 0, result });
    }

    /// Notes what the exit gate found.
    pub fn gate(&mut self, report: &gate::Report) {
        if report.findings.is_empty() {
            return;
        }
        let word = |change| if change == gate::Change::New { "new" } else { "changed" };
        let finding = |one: &gate::Finding| Finding {
            path: one.path.clone(),
            kind: word(one.change).to_owned(),
            what: format!("{}{}", one.reason, one.fate),
        };
        let findings: Vec<Finding> = report.findings.iter().map(finding).collect();
        let omitted = report.obeyed + report.built - findings.len();
        self.note(&Event::Gate { findings, omitted });
    }

    /// Writes the last line.
    pub fn end(self, outcome: &Result<Outcome, Error>, code: u8) {
        let how = match outcome {
            Ok(Outcome::Ended(_)) => How::Ended,
            Ok(Outcome::TimeLimit) => How::TimeLimit,
            Ok(Outcome::Stopped) => How::Stopped,
            Err(_) if code < 128 => How::Refused,
            Ok(Outcome::Lost) | Err(_) => How::Lost,
        };
        self.last(how, code);
    }

    /// Writes the last line of a session whose command was never started.
    pub fn refused(self) {
        self.last(How::Refused, NOT_SET_UP);
    }

    fn last(mut self, how: How, code: u8) {
        // Microseconds, so that the number is short.
        let seconds = (self.began.elapsed().as_secs_f64() * 1e6).round() / 1e6;
        self.note(&Event::End { how, code, seconds });
    }
}

/// Names the walls that stand, the tier first; the init has proven them.
fn names(plan: &Plan, walls: Walls) -> Vec<String> {
    if plan.backend == Backend::None {
        return vec!["none".to_owned()];
    }
    // An engine that runs as root leaves processes in the host's own user namespace.
    let users = (plan.backend == Backend::Bubblewrap).then_some("user-namespace");
    let always = ["mount-namespace", "pid-namespace", "ipc-namespace", "uts-namespace"];
    let always = users.into_iter().chain(always);
    let network = (plan.network.mode != NetworkMode::Host).then_some("network-namespace");
    let filters = walls.seccomp.then_some("seccomp");
    let all = always.chain(network).chain(["no-capabilities", "no-new-privileges"]).chain(filters);
    let landlock = walls.landlock.map(|version| format!("landlock-{version}"));
    [format!("tier-{}", walls.tier())].into_iter().chain(all.map(str::to_owned)).chain(landlock).collect()
}
