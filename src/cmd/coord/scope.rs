//! Which repositories of the domain a call is about.

use camino::Utf8PathBuf;
use clap::Args;

use super::context::{Common, Context, FILE, knob, of_file};
use crate::coord::registry;
use crate::coord::store::Entry;
use crate::diag::{Exit, Failure};

#[derive(Clone, Debug, Default, Args)]
pub struct Scoped {
    /// One repository of the domain; that of the project otherwise.
    #[arg(long, value_name = "ID")]
    pub repo_id: Option<String>,
    /// All repositories of the domain.
    #[arg(long, conflicts_with = "repo_id")]
    pub all_repos: bool,
}

/// Flags of what looks at the tests of items.
#[derive(Clone, Debug, Default, Args)]
pub struct Tested {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    scope: Scoped,
    /// Where the tests of items are; the project otherwise.
    #[arg(long, value_name = "DIR")]
    project_root: Option<Utf8PathBuf>,
}

impl Tested {
    /// Returns the repository whose tests are meant; `None` for all.
    pub fn repo(&self, context: &Context) -> Result<Option<String>, Failure> {
        if self.scope.all_repos { Ok(None) } else { repo(context, self.scope.repo_id.as_deref()) }
    }

    /// Returns where the tests are.
    pub fn project(&self, context: &Context) -> Utf8PathBuf {
        self.project_root.as_ref().map_or_else(|| context.project.clone(), |root| context.cwd.join(root))
    }
}

pub enum Scope {
    /// The domain has no repositories of its own.
    Domain,
    All {
        shown: bool,
    },
    Repo {
        id: String,
        shown: bool,
    },
}

impl Scope {
    pub fn of(context: &Context, asked: &Scoped, show: bool) -> Result<Self, Failure> {
        if asked.all_repos {
            return Ok(Scope::All { shown: true });
        }
        match repo(context, asked.repo_id.as_deref())? {
            Some(id) => Ok(Scope::Repo { id, shown: show }),
            None if context.store.repos()?.is_empty() => Ok(Scope::Domain),
            None => Ok(Scope::All { shown: true }),
        }
    }

    pub fn has(&self, entry: &Entry) -> bool {
        match (self, entry.repo()) {
            (Scope::Repo { id, .. }, Some(repo)) => id == repo,
            // What has no place of a repository is everybody's.
            _ => true,
        }
    }

    pub fn name(&self) -> String {
        match self {
            Scope::Domain => "domain".to_owned(),
            Scope::All { .. } => "all repos".to_owned(),
            Scope::Repo { id, .. } => format!("repo {id}"),
        }
    }

    pub fn shows_repo(&self) -> bool {
        matches!(self, Scope::All { shown: true } | Scope::Repo { shown: true, .. })
    }
}

/// Returns the repository of the domain that a call is about; `None` where the domain has none, or nobody says which.
pub fn repo(context: &Context, given: Option<&str>) -> Result<Option<String>, Failure> {
    let known = registry::read(&context.store);
    let named = given
        .map(str::to_owned)
        .or_else(|| knob(&context.environment, "REPO_ID").map(str::to_owned))
        .or_else(|| of_file(&context.project, "repo_id"));
    if let Some(named) = named {
        if known.is_empty() && given.is_none() {
            return Ok(None);
        }
        let found = registry::resolve(&known, &named).map_err(|why| {
            Failure::new(Exit::Failed, "coord::repo", why)
                .help(format!("`pier coord repo list` has them; `{FILE}` of the project names one"))
        })?;
        if found != named {
            crate::ui::say(&format!("`{}` is `{found}` now", crate::util::text::escape(&named)));
        }
        return Ok(Some(found));
    }
    let url = super::context::origin(&context.project);
    Ok(url.and_then(|url| registry::by_remote(&known, &url)))
}

/// The same for what is written: an issue of no repository is everybody's in a domain that has several.
pub fn place(context: &Context, given: Option<&str>) -> Result<Option<String>, Failure> {
    let found = repo(context, given)?;
    if found.is_some() || context.store.repos()?.is_empty() {
        return Ok(found);
    }
    let url = super::context::origin(&context.project);
    let called = url.map_or_else(String::new, |url| format!(", of `{}`,", crate::util::text::escape(&url)));
    let message = format!("the domain has repositories of its own, and this project{called} is none of them");
    Err(Failure::new(Exit::Failed, "coord::repo", message).help(format!(
        "`pier coord repo add ID --remote URL` adds it, `--repo-id ID` or `{FILE}` names the one that is meant, `pier coord repo list` has them"
    )))
}
