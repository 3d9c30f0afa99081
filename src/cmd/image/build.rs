//! `runtime container { build … }`: the context as it is now, the images that it builds on, the approval, the build.

use std::time::Duration;

use super::super::project::{self, Fetch, Project};
use super::fetch::{self, For};
use crate::backend::docker::build::{self, Client, Context, Request};
use crate::backend::docker::engine::Connected;
use crate::backend::docker::images::{self, Wanted};
use crate::backend::docker::{Engine, Error};
use crate::backend::probe;
use crate::diag::{Exit, Failure};
use crate::lock::Lock;
use crate::plan::facts::Image;
use crate::plan::image::{Place, is_reference};
use crate::ui;
use crate::util::fs::sha256;
use crate::util::text::escape;

/// How the tags of images begin that pier built.
const REPOSITORY: &str = "pier-build";

/// Bumped when the same files give another image.
const SCHEMA: u32 = 1;

/// Reads what a build depends on, and adds it to the facts.
pub fn look(project: &Project, place: &Place, probed: &mut probe::Probed) -> Result<Context, Failure> {
    let context = Context::read(&project.root, place).map_err(|said| unusable(&said))?;
    probed.facts.build = Some(context.facts());
    Ok(context)
}

/// Returns the images that a Dockerfile builds on.
pub fn references(project: &Project, place: &Place) -> Result<Vec<String>, Failure> {
    let text = build::read_dockerfile(&project.root, place).map_err(|said| unusable(&said))?;
    let mut found: Vec<String> = bases(&text)?.into_iter().map(|base| base.reference).collect();
    found.sort();
    found.dedup();
    Ok(found)
}

fn bases(text: &str) -> Result<Vec<build::dockerfile::Base>, Failure> {
    let found = build::dockerfile::bases(text).map_err(|said| unusable(&said))?;
    match found.iter().find(|base| !is_reference(&base.reference)) {
        Some(base) => Err(unusable(&format!("`{}` is no image reference", base.reference))),
        None => Ok(found),
    }
}

fn unusable(said: &str) -> Failure {
    let message = format!("the image cannot be built: {}", escape(said));
    Failure::new(Exit::Usage, "image::build", message)
        .help("`build \"Dockerfile\" context=\".\"` names a file and a directory of the project")
}

/// Adds the built image to the facts. With [`Fetch::Install`] one that is not there is built, once that is approved.
pub fn add(
    project: &Project,
    (address, engine): (&Engine, &Connected),
    context: &Context,
    fetch: Fetch,
    trusted: Option<&str>,
    probed: &mut probe::Probed,
) -> Result<(), Failure> {
    let pins = fetch::pins(project)?;
    let time = build::MOST_TIME;
    let job = Job { whom: project.into(), address, engine, pins: &pins, context, time };
    let mut may = || match fetch {
        Fetch::Never => Ok(false),
        Fetch::Install => {
            project::approve(project, &project::preview(project, probed)?, trusted).map(|()| true)
        }
    };
    let Some((tag, image)) = job.run(&mut may)? else { return Ok(()) };
    if let Some(build) = &mut probed.facts.build {
        build.tag = Some(tag);
    }
    probed.facts.image = image;
    Ok(())
}

/// One image that is to be built.
pub struct Job<'a> {
    pub whom: For<'a>,
    pub address: &'a Engine,
    pub engine: &'a Connected,
    pub pins: &'a Lock,
    pub context: &'a Context,
    /// The longest that the build may take.
    pub time: Duration,
}

impl Job<'_> {
    /// Returns its tag, and the image. Before something is fetched or built, `may` says whether it is: without that there is
    /// no tag where not all is known that it is made of, and no image where it was not built before.
    pub fn run(
        &self,
        may: &mut dyn FnMut() -> Result<bool, Failure>,
    ) -> Result<Option<(String, Option<Image>)>, Failure> {
        let Job { whom, address, engine, pins, context, time } = *self;
        let bases = bases(&context.dockerfile)?;
        let mut text = format!("{SCHEMA} {}\n", context.facts().digest);
        for base in &bases {
            let wanted = fetch::wanted(pins, &base.reference);
            let found = match images::id(engine, wanted)? {
                None if !may()? => return Ok(None),
                None => fetch::fetch(whom, engine, wanted)?.digest,
                Some(found) => found,
            };
            text.push_str(&format!("{} {found}\n", base.reference));
        }
        let tag = format!("{REPOSITORY}:{:.32}", sha256(text.as_bytes()));
        let find = || images::find(engine, Wanted { reference: &tag, pin: None }, &whom.environment.cache);
        let mut found = find()?;
        if found.is_none() && may()? {
            let dockerfile = pinned(engine, pins, context, &bases)?;
            let search = fetch::search(whom);
            let client = Client::find(address, search.home, &search.settings, &search.path);
            ui::say("building the image");
            let request = Request { context, dockerfile: &dockerfile, tag: &tag, time };
            build::build(engine, client.as_ref(), &request, &mut |line| ui::say(&format!("build: {line}")))?;
            found = Some(find()?.ok_or_else(|| Error::NoImage { reference: tag.clone() })?);
        }
        Ok(Some((tag, found)))
    }
}

/// Returns the Dockerfile with what the lock pins by digest: a tag that has moved is not built on.
fn pinned(
    engine: &Connected,
    pins: &Lock,
    context: &Context,
    bases: &[build::dockerfile::Base],
) -> Result<String, Failure> {
    let mut by_digest = std::collections::BTreeMap::new();
    for base in bases {
        let address = fetch::wanted(pins, &base.reference).address();
        // What came from no registry is only known by its tag, which was found not to have moved.
        if address != base.reference && images::origin(engine, &address)?.is_some() {
            by_digest.insert(base.reference.clone(), address);
        }
    }
    let by = |reference: &str| by_digest.get(reference).cloned();
    Ok(build::dockerfile::replaced(&context.dockerfile, bases, &by))
}
