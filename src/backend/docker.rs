//! A plan as a container: the request (pure), then the launch.
//!
//! The walls are those of every sandbox: pier's own init is the first process, proves what the engine made, and puts up
//! its filters before anything runs. Streams, environment and manifest reach it over a socket: they are nowhere in
//! what the engine knows of the container.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount as Bound, MountBindOptions,
    MountBindOptionsPropagationEnum, MountType, PortBinding,
};
use camino::{Utf8Path, Utf8PathBuf};
use thiserror::Error;

use super::init::filter;
use crate::plan::{Access, INIT, Mount, MountKind, NetworkMode, Plan, image};

pub mod beside;
pub mod build;
pub mod built;
pub mod copy;
pub mod engine;
pub mod images;
pub mod inside;
pub mod judge;
pub mod kept;
pub mod launch;
pub mod layers;
pub mod login;
pub mod owned;
pub mod pull;
pub mod still;

pub use engine::{About, Engine, find};

/// Why an engine does not do what it should.
#[derive(Debug, Error)]
pub enum Error {
    #[error("no container engine answers at `{address}`: {said}")]
    Unreachable { address: String, said: String },
    #[error("`{address}` is no engine of this machine: only a Unix socket is")]
    NotLocal { address: String },
    #[error("the Docker context `{name}` cannot be used: {said}")]
    Context { name: String, said: String },
    #[error("the container engine cannot {what}: {said}")]
    Failed { what: &'static str, said: String },
    #[error("there is no image `{reference}` on this host")]
    NoImage { reference: String },
    #[error("the image `{reference}` cannot be used: {said}")]
    Image { reference: String, said: String },
    #[error(
        "`pier.lock` pins `{reference}` at {pin}; the tag has moved, and that image is not to be had: {said}"
    )]
    Moved { reference: String, pin: String, said: String },
    #[error("the login for the registry `{registry}` cannot be used: {said}")]
    Login { registry: String, said: String },
    #[error("the image cannot be built:\n  {said}")]
    Build { said: String },
    #[error(
        "the engine maps the users of its containers, as one without root's rights does, so that the files of the project would \
         be somebody else's"
    )]
    OtherUsers,
    #[error("the container ended without a reason")]
    Ended,
}

/// Labels that say which session, and which directory on the host, a container belongs to.
const LABEL: &str = "pier.session";
const PROJECT: &str = "pier.project";

/// The label of an image that pier built: its tag.
pub const BUILT: &str = "pier.build";

/// Returns the labels of a container.
fn labels(session: &Utf8Path, project: &Utf8Path) -> HashMap<String, String> {
    let name = session.file_name().unwrap_or_default().to_owned();
    HashMap::from([(LABEL.to_owned(), name), (PROJECT.to_owned(), project.to_string())])
}

/// What the kernel tells about the machine, beside `/sys`.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
];

/// What root has in a container that keeps one. The init takes all of it from itself, and from what it starts, before it
/// connects to anything; an engine gives a root that it starts later what the first process was given.
const OF_ROOT: &[&str] =
    &["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETPCAP", "SETUID"];

/// What changes the machine for a process that is the host's user 0, whatever its capabilities.
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Returns where on the host the source of a mount is; `None` for what the engine makes itself. Generated files are
/// in the session's directory, by the number of their mount.
pub fn source_of(index: usize, mount: &Mount, session: &Utf8Path) -> Option<Utf8PathBuf> {
    match &mount.kind {
        MountKind::Bind { source, .. } => Some(source.clone()),
        MountKind::Session { name, .. } => Some(session.join(name)),
        MountKind::File { .. } | MountKind::Certificates { .. } | MountKind::Hidden { directory: false } => {
            Some(session.join(GENERATED).join(index.to_string()))
        }
        _ => None,
    }
}

/// The directory of generated files below the session's own.
pub const GENERATED: &str = "generated";

/// Returns the request that makes the container of a plan on an image, which is the plan's or made of that.
pub fn create_body(plan: &Plan, image: String, session: &Utf8Path) -> ContainerCreateBody {
    let strings = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
    let mut tmpfs = HashMap::new();
    let (mut bound, mut masked) = (Vec::new(), Vec::from(MASKED));
    let mut sealed = false;
    let mut shared_memory = None;
    for (index, mount) in plan.mounts.iter().enumerate() {
        match &mount.kind {
            // A volume of the image where the plan has something of its own. Engines differ in which one is on top.
            MountKind::Tmpfs { .. } if plan.mounts[index + 1..].iter().any(|later| later.at == mount.at) => {}
            MountKind::Tmpfs { size, .. } if mount.at == image::SHARED_MEMORY => shared_memory = *size,
            MountKind::Tmpfs { size, mode } => {
                tmpfs.insert(mount.at.to_string(), options(*size, *mode, plan));
            }
            MountKind::Hidden { directory: true } if mount.at == image::SYSTEM => masked.push(image::SYSTEM),
            MountKind::Hidden { directory: true } => {
                tmpfs.insert(mount.at.to_string(), "ro,size=4k,mode=0555".to_owned());
            }
            MountKind::Seal if mount.at == "/" => sealed = true,
            MountKind::Seal
            | MountKind::Proc
            | MountKind::Dev
            | MountKind::Directory { .. }
            | MountKind::Symlink { .. } => {}
            MountKind::Bind { .. }
            | MountKind::Session { .. }
            | MountKind::File { .. }
            | MountKind::Certificates { .. }
            | MountKind::Hidden { directory: false } => {
                bound.extend(
                    source_of(index, mount, session)
                        .map(|source| bind(&source, &mount.at, access(&mount.kind))),
                );
            }
        }
    }
    let limits = &plan.limits;
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let memory = limits.memory.map(|cap| number(cap.at_most));
    let published = published(plan);
    // The engine publishes what is exposed, too, and nothing else.
    let exposed = published.as_ref().map(|ports| ports.keys().cloned().collect());
    let host = HostConfig {
        mounts: Some(bound),
        tmpfs: Some(tmpfs),
        shm_size: shared_memory.map(number),
        readonly_rootfs: Some(sealed),
        network_mode: Some(network(plan.network.mode).into()),
        port_bindings: published,
        ipc_mode: Some("private".into()),
        privileged: Some(false),
        cap_drop: strings(&["ALL"]),
        cap_add: plan.judged.then(|| strings(OF_ROOT)).flatten(),
        security_opt: Some(vec!["no-new-privileges".into(), format!("seccomp={}", profile())]),
        masked_paths: strings(&masked),
        readonly_paths: strings(READ_ONLY),
        memory,
        // No more than the memory itself: what is swapped out would not count.
        memory_swap: memory,
        #[expect(clippy::cast_possible_truncation, reason = "processors of a machine")]
        nano_cpus: limits.cpus.map(|cap| (cap.at_most * 1e9) as i64),
        pids_limit: limits.pids.map(|cap| number(cap.at_most)),
        init: Some(false),
        auto_remove: Some(true),
        log_config: Some(HostConfigLogConfig { typ: Some("none".into()), config: None }),
        ..HostConfig::default()
    };
    let own = format!("{}:{}", plan.user.uid, plan.user.gid);
    #[cfg_attr(not(debug_assertions), expect(unused_mut, reason = "a debug build adds to it"))]
    let mut words = if plan.judged {
        vec!["__init", "--become", &own, "--connect", image::SOCKET]
    } else {
        vec!["__init", "--connect", image::SOCKET]
    };
    #[cfg(debug_assertions)]
    if let Some(step) = crate::sys::failpoint::armed() {
        words.extend(["--failpoint", step]);
    }
    ContainerCreateBody {
        image: Some(image),
        hostname: Some("pier".into()),
        user: Some(if plan.judged { "0:0".to_owned() } else { own.clone() }),
        entrypoint: strings(&[INIT]),
        cmd: strings(&words),
        working_dir: Some("/".into()),
        healthcheck: Some(HealthConfig { test: strings(&["NONE"]), ..HealthConfig::default() }),
        labels: Some(labels(session, &plan.project.root)),
        stop_signal: Some("SIGKILL".into()),
        exposed_ports: exposed,
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}

/// Returns which network of the engine a sandbox is in; a gateway makes its own in none.
fn network(mode: NetworkMode) -> &'static str {
    match mode {
        NetworkMode::None | NetworkMode::Allowlist => "none",
        NetworkMode::Bridge => "bridge",
        NetworkMode::Host => "host",
    }
}

/// Returns the ports that the engine publishes, which it does in a network of its own only.
fn published(plan: &Plan) -> Option<HashMap<String, Option<Vec<PortBinding>>>> {
    if plan.network.mode != NetworkMode::Bridge || plan.ports.is_empty() {
        return None;
    }
    let mut all: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for port in &plan.ports {
        let (ip, host) = port.listen.rsplit_once(':').unwrap_or(("127.0.0.1", &port.listen));
        let binding = PortBinding { host_ip: Some(ip.to_owned()), host_port: Some(host.to_owned()) };
        all.entry(format!("{}/tcp", port.to)).or_default().get_or_insert_default().push(binding);
    }
    Some(all)
}

fn access(kind: &MountKind) -> Access {
    match kind {
        MountKind::Bind { access, .. } | MountKind::Session { access, .. } => *access,
        _ => Access::ReadOnly,
    }
}

fn bind(source: &Utf8Path, at: &Utf8Path, access: Access) -> Bound {
    Bound {
        target: Some(at.to_string()),
        source: Some(source.to_string()),
        typ: Some(MountType::BIND),
        read_only: Some(access == Access::ReadOnly),
        bind_options: Some(MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
            ..MountBindOptions::default()
        }),
        ..Bound::default()
    }
}

/// Returns the options of a memory file system, which belongs to the user of the sandbox.
fn options(size: Option<u64>, mode: u32, plan: &Plan) -> String {
    let size = size.map_or(String::new(), |size| format!(",size={size}"));
    format!("rw,exec,nosuid,nodev,mode={mode:04o},uid={},gid={}{size}", plan.user.uid, plan.user.gid)
}

/// Returns the engine's own filter: a second one, for the init has a stricter one that looks at arguments.
fn profile() -> String {
    let names: Vec<&str> = filter::denied().collect();
    serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": names, "action": "SCMP_ACT_ERRNO" }],
    })
    .to_string()
}
