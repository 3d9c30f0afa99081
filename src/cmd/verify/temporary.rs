//! A container for the tests of a workspace that has none.

use camino::{Utf8Path, Utf8PathBuf};

use super::random;
use crate::backend::docker::engine::Connected;
use crate::backend::docker::kept::{self, Named};
use crate::cmd::Global;
use crate::cmd::workspaces::base::Base;
use crate::cmd::workspaces::{self, Asked};
use crate::diag::Failure;
use crate::env::Environment;
use crate::plan::Plan;
use crate::session::prepare;
use crate::task::Phase;
use crate::util::fs::{create_private, hex};
use crate::workspace;

/// The container ends, and goes, with this value.
pub struct Temporary {
    pub engine: Connected,
    pub name: String,
    pub plan: Plan,
    /// Whom the image runs its commands as.
    pub user: String,
    directory: Utf8PathBuf,
}

impl Temporary {
    /// Starts it on what the task says, with the workspace mounted and nothing else of the host.
    pub fn start(
        global: &Global,
        environment: &Environment,
        root: &Utf8Path,
        base: &Base,
    ) -> Result<Self, Failure> {
        let asked = Asked {
            base,
            entries: &[],
            ports: &[],
            mounts: &[],
            agents: &[],
            apart: None,
            skills: &[],
            phase: Phase::Verifier,
        };
        workspaces::make_records(root)?;
        let prepared = workspaces::plan(global, environment, root, &asked)?;
        // Two at once are two.
        let own = format!("verify-{}", &hex(&random()?)[..8]);
        let project =
            workspace::project_name(&workspace::session_id(root)).replacen("pier-", "pier-verify-", 1);
        let name = format!("{project}-{own}");
        let directory = workspace::private(&environment.state, root).join(&own);
        create_private(&directory)
            .map_err(|source| crate::trial::Error::Io { path: directory.clone(), source })?;
        prepare::prepare(&prepared.plan, &directory).map_err(crate::session::Error::from)?;
        let named =
            Named { name: name.clone(), labels: [("com.docker.compose.project".to_owned(), project)].into() };
        let opened = workspaces::open_as(&prepared, environment, &directory, &named);
        let (user, plan) = (prepared.ground.image.user, prepared.plan);
        let engine = prepared.engine.connect();
        let made = match engine {
            Ok(engine) => Temporary { engine, name, plan, user, directory },
            Err(error) => return Err(error.into()),
        };
        match opened {
            Ok(_) => Ok(made),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        kept::discard(&self.engine, &self.name);
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            tracing::debug!(%error, directory = %self.directory, "stays");
        }
    }
}
