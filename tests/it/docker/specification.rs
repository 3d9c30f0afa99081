//! What the engine was asked for: every wall that it can put up around a container.

use serde_json::{Value, json};

/// A wall, and whether a container that was inspected has it.
type Wall = (&'static str, fn(&Value) -> bool);

/// Calls that the engine's own filter refuses.
const REFUSED: &[&str] =
    &["keyctl", "add_key", "request_key", "io_uring_setup", "bpf", "mount", "setns", "ptrace"];

pub const WALLS: &[Wall] = &[
    ("not privileged", |container| container["HostConfig"]["Privileged"] == false),
    ("no capability", |container| {
        let host = &container["HostConfig"];
        host["CapDrop"] == json!(["ALL"]) && host["CapAdd"] == Value::Null
    }),
    ("no new privileges", |container| {
        options(container).iter().any(|option| option.contains("no-new-privileges"))
    }),
    ("a filter of its own", |container| {
        let all = options(container);
        let filter = all.iter().find(|option| option.starts_with("seccomp={")).copied().unwrap_or_default();
        REFUSED.iter().all(|call| filter.contains(&format!("\"{call}\"")))
    }),
    ("a root that is only read", |container| container["HostConfig"]["ReadonlyRootfs"] == true),
    ("a limit of processes", |container| is_positive(&container["HostConfig"]["PidsLimit"])),
    ("a limit of memory", |container| {
        let host = &container["HostConfig"];
        is_positive(&host["Memory"]) && host["MemorySwap"] == host["Memory"]
    }),
    (USER, |container| {
        let user = container["Config"]["User"].as_str().unwrap_or_default();
        user.split_once(':').is_some_and(|(user, group)| is_no_root(user) && is_no_root(group))
    }),
    ("no network", |container| container["HostConfig"]["NetworkMode"] == "none"),
    ("processes of its own", |container| container["HostConfig"]["PidMode"] == ""),
    ("messages of its own", |container| container["HostConfig"]["IpcMode"] == "private"),
    ("a host name of its own", |container| container["HostConfig"]["UTSMode"] == ""),
    ("users as the engine maps them", |container| container["HostConfig"]["UsernsMode"] == ""),
    ("no socket of the engine", |container| !container["Mounts"].to_string().contains("docker.sock")),
    ("no device", |container| container["HostConfig"]["Devices"].as_array().is_none_or(Vec::is_empty)),
    ("no check of its health", |container| container["Config"]["Healthcheck"]["Test"] == json!(["NONE"])),
    ("pier's init", |container| container["Config"]["Entrypoint"] == json!(["/.pier/init"])),
    ("an image by its digest", |container| {
        container["Config"]["Image"].as_str().is_some_and(|image| image.starts_with("sha256:"))
    }),
];

/// The wall that a sandbox of root's does not have.
pub const USER: &str = "a user other than root";

/// Options that take down what can be taken down on every machine: one that is a guest itself may not have all that
/// `--privileged` gives.
pub const OPEN: &[&str] = &[
    "--security-opt=seccomp=unconfined",
    "--network=host",
    "--pid=host",
    "--ipc=host",
    "--uts=host",
    "--userns=host",
    "--device=/dev/null:/dev/open",
];

/// The walls that a container does not have.
pub fn missing(container: &Value) -> Vec<&'static str> {
    WALLS.iter().filter(|(_, stands)| !stands(container)).map(|(name, _)| *name).collect()
}

fn options(container: &Value) -> Vec<&str> {
    let all = container["HostConfig"]["SecurityOpt"].as_array().into_iter().flatten();
    all.filter_map(Value::as_str).collect()
}

fn is_positive(number: &Value) -> bool {
    number.as_u64().is_some_and(|number| number > 0)
}

fn is_no_root(id: &str) -> bool {
    id.parse::<u32>().is_ok_and(|id| id != 0)
}
