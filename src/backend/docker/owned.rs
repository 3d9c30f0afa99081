//! `user NAME` of an image: its files with the caller's numbers.
//!
//! A sandbox works as its caller, so that the files of the project stay his. What the image gave to one of its users is
//! given to him in an image of pier's own, made once, by a container that has no network and runs nothing but pier.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use bollard::models::{ContainerConfig, ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{
    CommitContainerOptionsBuilder, CreateContainerOptionsBuilder, StartContainerOptions, WaitContainerOptions,
};
use camino::{Utf8Path, Utf8PathBuf};
use futures_util::StreamExt as _;
use nix::fcntl::{Flock, FlockArg};

use super::engine::{Connected, reason};
use super::launch::remove;
use super::{BUILT, Error, LABEL, bind, profile};
use crate::backend::walk::{hand_over, walk};
use crate::plan::{Access, INIT, Owner, Plan, RootFilesystem, User};
use crate::util::fs::sha256;

/// What the helper inside is called as: `__own UID:GID UID:GID`, those of the image and those of the caller.
pub const WORD: &str = "__own";

const WHAT: &str = "give the files of the image's user to the caller";

/// How the tags of such images begin, which a hash follows.
const REPOSITORY: &str = "pier-build";
const PREFIX: &str = "user-";

/// Bumped when the same image gives another one.
const SCHEMA: u32 = 2;

/// Held while one is made.
const LOCK: &str = "user-images.lock";

/// How long an image with many files may take.
const WITHIN: Duration = Duration::from_mins(30);

/// Returns the engine's name of the image that a plan runs on. One that is not there yet is made.
/// Others of this user wait meanwhile, by a lock in `state`.
pub fn image(engine: &Connected, plan: &Plan, state: &Utf8Path) -> Result<String, Error> {
    let RootFilesystem::Image { digest, owner, .. } = &plan.root else { return Ok(String::new()) };
    let Some(owner) = owner else { return Ok(digest.clone()) };
    let name = name(digest, owner, &plan.user);
    let tag = format!("{REPOSITORY}:{name}");
    if let Some(found) = find(engine, &tag)? {
        return Ok(found);
    }
    let said = |why: &dyn std::fmt::Display| Error::Failed { what: WHAT, said: why.to_string() };
    let lock = File::options().create(true).truncate(false).write(true).open(state.join(LOCK));
    let lock = lock.map_err(|error| said(&error))?;
    let _held = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| said(&errno))?;
    // Another one may have made it meanwhile.
    if let Some(found) = find(engine, &tag)? {
        return Ok(found);
    }
    let program = std::env::current_exe().map_err(|error| said(&error))?;
    let program = Utf8PathBuf::try_from(program).map_err(|error| said(&error))?;
    let made = Made::start(engine, &format!("pier-{name}"), (digest, &program), owner, &plan.user)?;
    made.wait()?;
    made.keep(&name, &tag)?;
    find(engine, &tag)?.ok_or(Error::NoImage { reference: tag })
}

/// Returns the user whose files are still to be given to the caller, which can take a while.
pub fn missing<'a>(engine: &Connected, plan: &'a Plan) -> Result<Option<&'a str>, Error> {
    let RootFilesystem::Image { digest, owner: Some(owner), .. } = &plan.root else { return Ok(None) };
    let tag = format!("{REPOSITORY}:{}", name(digest, owner, &plan.user));
    Ok(find(engine, &tag)?.is_none().then_some(owner.name.as_str()))
}

fn name(digest: &str, owner: &Owner, user: &User) -> String {
    let Owner { uid, gid, .. } = owner;
    let text = format!("{SCHEMA} {digest} {uid}:{gid} {}:{}", user.uid, user.gid);
    format!("{PREFIX}{:.32}", sha256(text.as_bytes()))
}

fn find(engine: &Connected, tag: &str) -> Result<Option<String>, Error> {
    match engine.wait(engine.docker.inspect_image(tag)) {
        Ok(found) => Ok(found.id),
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "an error that is mapped")]
fn failed(error: bollard::errors::Error) -> Error {
    Error::Failed { what: WHAT, said: reason(&error) }
}

/// Says whether what an image has for its user is one, and no more instructions.
fn is_user(text: &str) -> bool {
    text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.:-".contains(c))
}

/// The container in which it happens; it is removed when this is dropped.
struct Made<'a> {
    engine: &'a Connected,
    id: String,
    /// What the image says of its user, for the tests of a task.
    says: String,
}

impl<'a> Made<'a> {
    fn start(
        engine: &'a Connected,
        name: &str,
        (digest, program): (&str, &Utf8Path),
        owner: &Owner,
        user: &User,
    ) -> Result<Self, Error> {
        let found = engine.wait(engine.docker.inspect_image(digest)).map_err(failed)?;
        let says = found.config.and_then(|config| config.user).filter(|user| !user.is_empty());
        let strings = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        let from = format!("{}:{}", owner.uid, owner.gid);
        let to = format!("{}:{}", user.uid, user.gid);
        let host = HostConfig {
            mounts: Some(vec![bind(program, Utf8Path::new(INIT), Access::ReadOnly)]),
            network_mode: Some("none".into()),
            privileged: Some(false),
            cap_drop: strings(&["ALL"]),
            // To change owners, and to look into every directory. The other one that does is also a way to every file of
            // the host that shares a disk with the container.
            cap_add: strings(&["CHOWN", "DAC_OVERRIDE"]),
            security_opt: Some(vec!["no-new-privileges".into(), format!("seccomp={}", profile())]),
            pids_limit: Some(16),
            init: Some(false),
            log_config: Some(HostConfigLogConfig { typ: Some("none".into()), config: None }),
            ..HostConfig::default()
        };
        let body = ContainerCreateBody {
            image: Some(digest.to_owned()),
            user: Some("0:0".into()),
            entrypoint: strings(&[INIT]),
            cmd: strings(&[WORD, &from, &to]),
            working_dir: Some("/".into()),
            network_disabled: Some(true),
            // An image's own would be run here, as root.
            healthcheck: Some(HealthConfig { test: strings(&["NONE"]), ..HealthConfig::default() }),
            labels: Some([(LABEL.to_owned(), String::new())].into()),
            host_config: Some(host),
            ..ContainerCreateBody::default()
        };
        // What a pier that was killed has left: nobody else makes one of this name now.
        remove(engine, name);
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let made = engine.wait(engine.docker.create_container(Some(options), body));
        let made = Made {
            engine,
            id: made.map_err(failed)?.id,
            says: says.filter(|says| is_user(says)).unwrap_or_else(|| "0".to_owned()),
        };
        engine
            .wait(engine.docker.start_container(&made.id, None::<StartContainerOptions>))
            .map_err(failed)?;
        Ok(made)
    }

    fn wait(&self) -> Result<(), Error> {
        let ended = self.engine.wait(async {
            let mut waiting = self.engine.docker.wait_container(&self.id, None::<WaitContainerOptions>);
            tokio::time::timeout(WITHIN, waiting.next()).await
        });
        let said = match ended {
            Ok(Some(Ok(_))) => return Ok(()),
            Ok(Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. }))) => {
                format!("the helper ended with {code}")
            }
            Ok(Some(Err(error))) => return Err(failed(error)),
            Ok(None) => return Err(Error::Ended),
            Err(_) => "it takes too long".to_owned(),
        };
        Err(Error::Failed { what: WHAT, said })
    }

    /// Makes an image of it that says what the one before said.
    fn keep(&self, name: &str, tag: &str) -> Result<(), Error> {
        let changes = format!("USER {}", self.says);
        let options = CommitContainerOptionsBuilder::default()
            .container(&self.id)
            .repo(REPOSITORY)
            .tag(name)
            .pause(false)
            .changes(&changes)
            .build();
        let labels = Some(HashMap::from([(BUILT.to_owned(), tag.to_owned())]));
        let config = ContainerConfig { labels, ..ContainerConfig::default() };
        self.engine.wait(self.engine.docker.commit_container(options, config)).map(|_| ()).map_err(failed)
    }
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        remove(self.engine, &self.id);
    }
}

/// Runs the helper inside; `words` are those after its own.
pub fn main(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let mut pair = || {
        let word = words.next()?;
        let (uid, gid) = word.to_str()?.split_once(':')?;
        Some((uid.parse().ok()?, gid.parse().ok()?))
    };
    let (Some(from), Some(to)) = (pair(), pair()) else { return ExitCode::from(2) };
    if own("/".into(), from, to).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Gives what belongs to one user and his group to another; what is root's stays his.
fn own(top: &Utf8Path, from: (u32, u32), to: (u32, u32)) -> io::Result<()> {
    let change = |is: u32, from: u32, to: u32| if is == from && from != 0 { to } else { is };
    walk(top, &mut |directory, name, meta| {
        let is = (meta.st_uid, meta.st_gid);
        let becomes = (change(is.0, from.0, to.0), change(is.1, from.1, to.1));
        if becomes == is { Ok(()) } else { hand_over(directory, name, becomes) }
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, lchown};

    use super::*;

    #[test]
    fn what_is_roots_stays_his() {
        let directory = tempfile::tempdir().unwrap();
        let top = Utf8Path::from_path(directory.path()).unwrap();
        let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        if uid != 0 {
            println!("skipped: only root gives files away");
            return;
        }
        let given = [("his", 7001, 7002), ("group", 0, 7002), ("roots", uid, gid), ("other", 7003, 0)];
        for (name, uid, gid) in given {
            fs_err::write(top.join(name), "").unwrap();
            lchown(top.join(name), Some(uid), Some(gid)).unwrap();
        }
        own(top, (7001, 7002), (1000, 1001)).unwrap();
        let owners = |name: &str| {
            let meta = fs_err::symlink_metadata(top.join(name)).unwrap();
            (meta.uid(), meta.gid())
        };
        assert_eq!(given.map(|(name, ..)| owners(name)), [(1000, 1001), (0, 1001), (0, 0), (7003, 0)]);
        own(top, (7003, 0), (1000, 1001)).unwrap();
        assert_eq!(given.map(|(name, ..)| owners(name)), [(1000, 1001), (0, 1001), (0, 0), (1000, 0)]);
    }
}
