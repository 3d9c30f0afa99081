//! What every sandbox on the host's own system shows: `/usr`, a made `/etc`, `/proc`, `/dev`, empty places.

use camino::Utf8Path;

use super::facts::{Facts, System};
use super::{Access, CertificateForm, Mount, MountKind, NetworkMode, User};

/// The origin of everything here.
pub const BUILT_IN: &str = "built-in";

/// Returns the mounts below all others.
pub fn mounts(facts: &Facts, user: &User, network: NetworkMode, nix: bool) -> Vec<Mount> {
    let mut mounts = Vec::new();
    let mut add = |at: &str, kind| mounts.push(Mount { at: at.into(), kind, origin: BUILT_IN.into() });
    // Said first: bubblewrap makes missing parents with mode 0700 otherwise.
    for name in ["/etc", "/etc/ssl", "/var", "/home", "/.pier"] {
        add(name, MountKind::Directory { mode: 0o755 });
    }
    let System { links, directories, files, closed, shows_addresses, resolv_conf, hosts, localtime, .. } =
        &facts.system;
    // A Nix shell brings its own programs and libraries; of the host it has the certificates.
    let shown = |path: &Utf8Path| !nix || (path.starts_with("/etc") && path != "/etc/alternatives");
    let files = files.iter().filter(|_| !nix);
    // Where the gateway ends TLS, its own authority has to be believed, too.
    let own = network == NetworkMode::Allowlist;
    let replaced = |path: &Utf8Path| own && CERTIFICATES.contains(&path.as_str());
    let directories = directories.iter().filter(|(path, _)| shown(path) && !replaced(path));
    for (path, identity) in directories.chain(files) {
        let kind =
            MountKind::Bind { source: path.clone(), access: Access::ReadOnly, expect: Some(*identity) };
        add(path.as_str(), kind);
    }
    for (path, to) in links.iter().filter(|_| !nix) {
        add(path.as_str(), MountKind::Symlink { to: to.clone() });
    }
    let online = network == NetworkMode::Host;
    add("/etc/passwd", MountKind::File { content: passwd(user) });
    add("/etc/group", MountKind::File { content: group(user) });
    add("/etc/nsswitch.conf", MountKind::File { content: NSSWITCH.into() });
    add("/etc/hosts", MountKind::File { content: if online { hosts.clone() } else { HOSTS.into() } });
    match network {
        NetworkMode::Host => add("/etc/resolv.conf", MountKind::File { content: resolv_conf.clone() }),
        NetworkMode::Allowlist => add("/etc/resolv.conf", MountKind::File { content: RESOLVER.into() }),
        NetworkMode::None | NetworkMode::Bridge => {}
    }
    if let Some(zone) = localtime.as_ref().filter(|_| !nix) {
        add("/etc/localtime", MountKind::Symlink { to: zone.clone() });
    }
    if own {
        certificates(facts, &mut add);
    }
    add("/proc", MountKind::Proc);
    // Writable for a kernel uid 0 otherwise, whatever its capabilities: `core_pattern` runs code on the host.
    add("/proc/sys", MountKind::Bind { source: "/proc/sys".into(), access: Access::ReadOnly, expect: None });
    for name in closed.iter().filter(|name| user.uid == 0 || (*shows_addresses && *name == "kallsyms")) {
        let source = "/dev/null".into();
        add(&format!("/proc/{name}"), MountKind::Bind { source, access: Access::ReadOnly, expect: None });
    }
    add("/dev", MountKind::Dev);
    add("/dev/shm", MountKind::Tmpfs { size: Some(1 << 30), mode: 0o1777 });
    // No more files than the devices: it would be memory without a bound.
    add("/dev", MountKind::Seal);
    add("/tmp", MountKind::Tmpfs { size: Some(4 << 30), mode: 0o1777 });
    add("/run", MountKind::Tmpfs { size: Some(64 << 20), mode: 0o755 });
    add("/var/tmp", MountKind::Symlink { to: "../tmp".into() });
    mounts
}

/// Where systems keep what is believed.
const CERTIFICATES: &[&str] =
    &["/etc/ssl/certs", "/etc/ca-certificates", "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted"];

/// The one bundle, at every place where programs look for it.
pub const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

fn certificates(facts: &Facts, add: &mut impl FnMut(&str, MountKind)) {
    let directory = || MountKind::Directory { mode: 0o755 };
    add("/etc/ssl/certs", directory());
    add(BUNDLE, MountKind::Certificates { form: CertificateForm::Pem });
    add("/etc/ssl/cert.pem", MountKind::Symlink { to: BUNDLE.into() });
    if facts.system.java {
        add("/etc/ssl/certs/java", directory());
        add("/etc/ssl/certs/java/cacerts", MountKind::Certificates { form: CertificateForm::Java });
    }
    if facts.system.directories.iter().any(|(path, _)| path.starts_with("/etc/pki")) {
        for name in ["/etc/pki", "/etc/pki/tls", "/etc/pki/tls/certs", "/etc/pki/ca-trust"] {
            add(name, directory());
        }
        for name in ["/etc/pki/ca-trust/extracted", "/etc/pki/ca-trust/extracted/pem"] {
            add(name, directory());
        }
        for name in ["/etc/pki/tls/certs/ca-bundle.crt", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"]
        {
            add(name, MountKind::Symlink { to: BUNDLE.into() });
        }
    }
}

const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n";
/// The gateway answers there, and at every other address.
pub const RESOLVER: &str = "nameserver 127.0.0.1\noptions timeout:1 attempts:3\n";
pub const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 pier\n";

/// Who is root where somebody else works.
pub const ROOT: &str = "root:x:0:0:root:/root:/bin/sh";

pub fn passwd(user: &User) -> String {
    let User { uid, gid, name, home, shell } = user;
    let mut text = String::new();
    if *uid != 0 {
        text.push_str(ROOT);
        text.push('\n');
    }
    text.push_str(&format!("{name}:x:{uid}:{gid}::{home}:{shell}\n"));
    if *uid != 65534 {
        text.push_str("nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n");
    }
    text
}

pub fn group(user: &User) -> String {
    let mut text = String::new();
    if user.gid != 0 {
        text.push_str("root:x:0:\n");
    }
    text.push_str(&format!("{}:x:{}:\n", user.name, user.gid));
    if user.gid != 65534 {
        text.push_str("nogroup:x:65534:\n");
    }
    text
}
