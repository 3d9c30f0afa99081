//! `runtime container`: which image, and the root made of it.

use std::net::IpAddr;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

use super::build::problem;
use super::facts::{Facts, Image, System};
use super::owner;
use super::system::{self, BUILT_IN};
use super::{Access, CertificateForm, Mount, MountKind, NetworkMode, RootFilesystem, User, Variable};
use crate::agent;
use crate::config::{Build, Config, Container, Runtime, Sourced};
use crate::diag::Problem;
use crate::env::RESERVED;

/// Where the kernel tells about the machine; nothing of it is shown.
pub const SYSTEM: &str = "/sys";

/// Shared memory, whose size an engine is told by another name.
pub const SHARED_MEMORY: &str = "/dev/shm";

/// Where the init of a container finds its supervisor; the name is that of the session's socket, too.
pub const SOCKET: &str = "/.pier/supervisor";
pub const SOCKET_NAME: &str = "supervisor";

/// Where agents are found by name, and the directory of the session that is mounted there.
pub const LINKS: &str = "/.pier/bin";
pub const LINKS_NAME: &str = "links";

/// The block that the configuration asks for; `None` for another runtime.
pub fn asked(config: &Config) -> Option<&Container> {
    match &config.runtime.value {
        Runtime::Container(container) => Some(container),
        _ => None,
    }
}

/// Where in the project a build reads: both are relative to its root, and below it by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: Utf8PathBuf,
    pub context: Utf8PathBuf,
}

/// Returns where the configuration asks to build from; `None` where it does not, or outside of the project.
pub fn place(config: &Config) -> Option<Place> {
    let Build { file, context } = asked(config)?.build.as_ref()?;
    let file = below(file).filter(|file| !file.as_str().is_empty())?;
    Some(Place { file, context: below(context.as_deref().unwrap_or("."))? })
}

/// Returns a path relative to the project; `None` for one that is not below it.
fn below(text: &str) -> Option<Utf8PathBuf> {
    let mut out = Utf8PathBuf::new();
    if text.is_empty() || text.starts_with('~') || text.contains('\0') {
        return None;
    }
    for component in Utf8Path::new(text).components() {
        match component {
            Utf8Component::Normal(name) => out.push(name),
            Utf8Component::CurDir => {}
            Utf8Component::ParentDir => {
                out.pop().then_some(())?;
            }
            Utf8Component::RootDir | Utf8Component::Prefix(_) => return None,
        }
    }
    Some(out)
}

/// Returns what is wrong with the `runtime container` block, whatever the host has.
pub fn problems(config: &Config) -> Vec<Problem> {
    let Some(Container { image, build, engine, .. }) = asked(config) else { return Vec::new() };
    let origin = &config.runtime.origin;
    let mut found = Vec::new();
    let mut add = |code, message: String, help: &str| {
        found.push(problem(code, origin, "this runtime", message).help(help.to_owned()));
    };
    match image {
        Some(reference) if !is_reference(reference) => add(
            "image::reference",
            format!("`{reference}` is no image reference"),
            "write one such as `debian:12` or `registry.example.com/team/tools@sha256:…`",
        ),
        Some(_) => {}
        None if build.is_some() => {}
        None => add("image::none", "`runtime container` names no image".into(), "add `image \"debian:12\"`"),
    }
    if image.is_some() && build.is_some() {
        let message = "`runtime container` has both `image` and `build`".into();
        add("image::both", message, "keep one of them: what is built has a name of its own");
    }
    if build.is_some() && place(config).is_none() {
        let message = "what `build` names is not in the project".into();
        add(
            "image::build",
            message,
            "write paths relative to the project, as in `build \"Dockerfile\" context=\".\"`",
        );
    }
    if let Some((message, help)) = owner::refusal(config) {
        add(owner::CODE, message, help);
    }
    if let Some(engine) = engine.as_deref().filter(|engine| *engine != "docker") {
        let message = format!("not available yet: `engine \"{engine}\"`");
        add("plan::not-available", message, "leave it out, and let DOCKER_HOST name that engine's socket");
    }
    found
}

/// Says whether the text can only be a reference: an engine takes it for nothing else.
pub fn is_reference(text: &str) -> bool {
    let is_start = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 512
        && text.starts_with(is_start)
        && text.chars().all(|c| is_start(c) || "._-/:@".contains(c))
        && !text.contains("..")
        && !text.contains("//")
}

/// Returns the image of the plan; one that is not known yet has no digest.
pub fn root(config: &Config, facts: &Facts) -> Option<RootFilesystem> {
    let tag = || facts.build.as_ref().and_then(|build| build.tag.clone());
    let reference = asked(config)?.image.clone().or_else(tag).unwrap_or_default();
    let digest = facts.image.as_ref().map(|image| image.digest.clone()).unwrap_or_default();
    Some(RootFilesystem::Image { reference, digest, owner: owner::owner(config, facts) })
}

/// Returns what people should know about pier's own program, which every sandbox begins with.
pub fn of_init(facts: &Facts) -> Option<String> {
    let loader = facts.own_loader.as_ref()?;
    Some(format!(
        "this pier needs `{loader}` to run, which another system than this host's may not have: the released program, which is static, runs everywhere"
    ))
}

/// Returns what people should know about the image.
pub fn warnings(config: &Config, facts: &Facts) -> Option<String> {
    let container = asked(config).filter(|_| facts.image.is_none())?;
    if let Some(build) = &container.build {
        return Some(format!(
            "the image of `{}` is not built on this host yet, so that what it sets is not in this plan; `pier up` builds it",
            build.file
        ));
    }
    let reference = container.image.as_ref()?;
    Some(format!(
        "the image `{reference}` is not known on this host yet, so that what it sets is not in this plan; `pier up` fetches it"
    ))
}

/// Returns what every sandbox on an image shows besides it.
pub fn mounts(facts: &Facts, user: &User, network: NetworkMode) -> Vec<Mount> {
    let mut mounts = Vec::new();
    let mut add = |at: &str, kind| mounts.push(Mount { at: at.into(), kind, origin: BUILT_IN.into() });
    let none = Image::default();
    let image = facts.image.as_ref().unwrap_or(&none);
    let online = network == NetworkMode::Host;
    let file = |content: String| MountKind::File { content };
    add("/etc/passwd", file(beside(&system::passwd(user), &image.passwd)));
    add("/etc/group", file(beside(&system::group(user), &image.group)));
    add("/etc/hostname", file("pier\n".into()));
    add("/etc/hosts", file(if online { facts.system.hosts.clone() } else { system::HOSTS.into() }));
    add(
        "/etc/resolv.conf",
        file(match network {
            NetworkMode::Host => facts.system.resolv_conf.clone(),
            NetworkMode::Bridge => reached(&facts.system),
            NetworkMode::Allowlist => system::RESOLVER.into(),
            NetworkMode::None => String::new(),
        }),
    );
    if network == NetworkMode::Allowlist {
        add(system::BUNDLE, MountKind::Certificates { form: CertificateForm::Pem });
    }
    add("/proc", MountKind::Proc);
    add(SYSTEM, MountKind::Hidden { directory: true });
    add("/dev", MountKind::Dev);
    add(SHARED_MEMORY, MountKind::Tmpfs { size: Some(1 << 30), mode: 0o1777 });
    add("/tmp", MountKind::Tmpfs { size: Some(4 << 30), mode: 0o1777 });
    add("/var/tmp", MountKind::Tmpfs { size: Some(4 << 30), mode: 0o1777 });
    add("/run", MountKind::Tmpfs { size: Some(64 << 20), mode: 0o755 });
    let access = Access::ReadOnly;
    add(SOCKET, MountKind::Session { name: SOCKET_NAME.into(), access });
    mounts
}

/// Returns the resolvers of the host as far as they are reached from another network: where the only one is a service on the
/// loopback interface, those that it asks.
pub fn reached(system: &System) -> String {
    let own = without_own(&system.resolv_conf);
    if names_servers(&own) || system.upstream.is_empty() { own } else { without_own(&system.upstream) }
}

/// Says whether a resolver is named.
pub fn names_servers(resolv_conf: &str) -> bool {
    resolv_conf.lines().any(|line| line.split_whitespace().next() == Some("nameserver"))
}

/// Leaves out what only the host itself reaches: resolvers on its loopback interface.
pub fn without_own(resolv_conf: &str) -> String {
    let is_own = |line: &&str| {
        let mut words = line.split_whitespace();
        words.next() == Some("nameserver")
            && words
                .next()
                .and_then(|address| address.parse::<IpAddr>().ok())
                .is_some_and(|ip| ip.is_loopback())
    };
    resolv_conf.lines().filter(|line| !is_own(line)).flat_map(|line| [line, "\n"]).collect()
}

/// Puts empty places where the image asks for volumes, which an engine would keep. Last of all: what is mounted at such a
/// place takes it, and one inside of something else cannot be had without a trace on the host.
pub fn volumes(config: &Config, facts: &Facts, mounts: &mut Vec<Mount>, problems: &mut Vec<Problem>) {
    for volume in facts.image.iter().flat_map(|image| &image.volumes) {
        let clean = super::paths::clean(volume);
        let around = mounts.iter().find(|mount| clean.starts_with(&mount.at) && mount.at != "/");
        match around {
            Some(mount) if mount.at == clean => {}
            Some(mount) => {
                let (at, origin) = (&mount.at, &config.runtime.origin);
                let message =
                    format!("the image keeps a volume at `{clean}`, inside of what is mounted at `{at}`");
                let help =
                    "choose another image, or another place for the project, as in `workspace at=\"/src\"`";
                problems.push(problem("image::volume", origin, "this image", message).help(help));
            }
            None if clean == "/" || !clean.is_absolute() => {}
            None => mounts.push(Mount {
                at: clean,
                kind: MountKind::Tmpfs { size: Some(1 << 30), mode: 0o755 },
                origin: "the image".into(),
            }),
        }
    }
}

/// Returns pier's own lines, and those of the image for other names: the first line of a name or a number counts. Where nobody works as
/// root, its home and its shell are what the image says: tests may run as root.
fn beside(own: &str, of_image: &str) -> String {
    let is_root = |line: &&str| line.split(':').take(4).eq(["root", "x", "0", "0"]);
    let root = of_image.lines().find(is_root).unwrap_or(system::ROOT);
    let own = own.lines().map(|line| if line == system::ROOT { root } else { line });
    let mut text: String = own.flat_map(|line| [line, "\n"]).collect();
    let names: Vec<String> =
        text.lines().filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect();
    for line in of_image.lines() {
        if line.split_once(':').is_some_and(|(name, _)| !names.iter().any(|own| own == name)) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// Says that an agent is neither on the host nor in the image.
pub fn no_agent(name: &Sourced<String>, facts: &Facts) -> Problem {
    let (place, own) = match facts.image {
        Some(_) => ("in the image", "choose an image that has it"),
        None => ("on this host", "install it yourself"),
    };
    let never = agent::find(&name.value).is_ok_and(|known| known.install() == agent::Install::Never);
    let help = if never {
        format!("{own}: pier does not install it")
    } else {
        format!("add `version \"X.Y.Z\"` to its block and pier installs it, or {own}")
    };
    let message = format!("the agent `{}` is not {place}", name.value);
    problem("agent::missing", &name.origin, "declared here", message).help(help)
}

/// Returns the directory of the links by which agents are found: an image is not pier's to write into.
pub fn links(facts: &Facts) -> Option<Mount> {
    facts.image.as_ref().map(|_| link_directory())
}

/// Adds that directory, where it is not there for an agent.
pub fn add_links(mounts: &mut Vec<Mount>) {
    if !mounts.iter().any(|mount| mount.at == LINKS) {
        mounts.push(link_directory());
    }
}

/// The mount of that directory.
pub fn link_directory() -> Mount {
    let kind = MountKind::Session { name: LINKS_NAME.into(), access: Access::ReadOnly };
    Mount { at: LINKS.into(), kind, origin: BUILT_IN.into() }
}

/// Returns the shell of the image.
pub fn shell(facts: &Facts) -> Utf8PathBuf {
    facts.image.as_ref().and_then(|image| image.shell.clone()).unwrap_or_else(|| "/bin/sh".into())
}

/// Returns the directories that the image searches for commands.
pub fn path(image: Option<&Image>) -> Vec<String> {
    let said = image.and_then(|image| image.environment.iter().find(|(name, _)| name == "PATH"));
    let usable = |entry: &&str| entry.starts_with('/');
    let said: Vec<String> =
        said.iter().flat_map(|(_, path)| path.split(':').filter(usable).map(str::to_owned)).collect();
    if !said.is_empty() {
        return said;
    }
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(str::to_owned).into()
}

/// Returns the variables that the image sets, without those that are the sandbox's own.
pub fn variables(facts: &Facts) -> Vec<Variable> {
    let set = facts.image.iter().flat_map(|image| &image.environment);
    let kept = set.filter(|(name, _)| {
        !RESERVED.contains(&name.as_str()) && !name.starts_with("LD_") && !name.starts_with("PIER_")
    });
    let variable = |(name, value): &(String, String)| Variable {
        name: name.clone(),
        value: Some(value.clone()),
        origin: "the image".into(),
    };
    kept.map(variable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_who_the_image_says_and_others_are_piers() {
        let me = "me:x:1000:1000::/home/me:/bin/sh\n";
        let own = format!("{}\n{me}", system::ROOT);
        assert_eq!(beside(&own, ""), own);
        let image = "root:x:0:0::/:/bin/ash\nme:x:7:7::/:/bin/ash\nbin:x:1:1::/bin:/sbin/nologin\n";
        let both = format!("root:x:0:0::/:/bin/ash\n{me}bin:x:1:1::/bin:/sbin/nologin\n");
        assert_eq!(beside(&own, image), both);
        // Nobody else is called so, and who works as root is who pier says.
        for image in ["root:x:1000:1000::/:/bin/ash\n", "root:x:0:1000::/:/x\nroot:x:00:0::/:/x\n"] {
            assert_eq!(beside(&own, image), own);
        }
        let root = "root:x:0:0::/home/pier:/bin/sh\n";
        assert_eq!(beside(root, "root:x:0:0:root:/root:/bin/bash\n"), root);
    }

    #[test]
    fn references_are_told_from_everything_else() {
        for reference in ["debian", "debian:12", "localhost:5000/a/b@sha256:00ff", "sha256:00ff"] {
            assert!(is_reference(reference), "{reference}");
        }
        for other in ["", "--privileged", "a b", "../x", "a//b", "a\n", "a?x=1", "é"] {
            assert!(!is_reference(other), "{other}");
        }
    }

    #[test]
    fn a_build_reads_below_the_project_alone() {
        for (text, expected) in [("./Dockerfile", "Dockerfile"), ("a/../b//c", "b/c"), (".", "")] {
            assert_eq!(below(text).unwrap(), expected);
        }
        for other in ["", "/etc", "..", "a/../../b", "~/x", "a\0"] {
            assert_eq!(below(other), None, "{other}");
        }
    }

    #[test]
    fn resolvers_are_those_that_are_reached() {
        let system = |resolv_conf: &str, upstream: &str| System {
            resolv_conf: resolv_conf.into(),
            upstream: upstream.into(),
            ..System::default()
        };
        let service = "# stub\nnameserver 127.0.0.53\noptions edns0\n";
        let upstream = "nameserver 192.0.2.1\nnameserver ::1\nsearch example.com\n";
        assert_eq!(reached(&system(service, upstream)), "nameserver 192.0.2.1\nsearch example.com\n");
        assert_eq!(reached(&system(service, "")), "# stub\noptions edns0\n");
        let both = "nameserver 127.0.0.53\nnameserver 192.0.2.7\n";
        assert_eq!(reached(&system(both, upstream)), "nameserver 192.0.2.7\n");
    }

    #[test]
    fn an_image_cannot_take_the_users_name() {
        let text = beside(
            "pier:x:1000:1000::/home/pier:/bin/sh\n",
            "root:x:0:0::/:/bin/sh\npier:x:0:0::/:/x\nbad\n",
        );
        assert_eq!(text, "pier:x:1000:1000::/home/pier:/bin/sh\nroot:x:0:0::/:/bin/sh\n");
    }
}
