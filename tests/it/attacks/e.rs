//! Section E: the kernel's surface and privileges.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::case::{Action, CASE, Case, Column, EVERYWHERE, OWNER, Open, PLAIN, Verdict};
use super::program;
use super::scene::{Scene, no_claim, probed};
use super::stage::Stage;
use crate::sandbox::is_root;

/// A call of the probe, whose exit code is the verdict: id, words, how it is shown to be possible without a sandbox.
macro_rules! probe {
    ($id:literal, $tries:literal, [$($word:literal),+], $open:expr) => {
        Case { id: $id, tries: $tries, action: Action::Probe(&[$($word),+]), open: $open, ..CASE }
    };
}

const ABSENT: Open = Open::RootIfThere;

pub const PROBES: &[Case] = &[
    Case { columns: EVERYWHERE, ..probe!("E1.nnp", "new privileges by programs", ["nnp"], Open::User) },
    Case {
        columns: EVERYWHERE,
        ..probe!("E1.seccomp", "calls without a filter", ["seccomp-mode"], Open::User)
    },
    Case { columns: EVERYWHERE, ..probe!("E1.caps", "capabilities", ["caps"], Open::User) },
    probe!("E4", "io_uring", ["io-uring"], Open::User),
    probe!("E5.unshare-user", "a user namespace", ["unshare", "user"], Open::User),
    probe!(
        "E5.unshare-all",
        "every namespace",
        ["unshare", "user", "mount", "pid", "net", "ipc", "uts", "cgroup"],
        Open::User
    ),
    probe!("E5.unshare-mount", "a mount namespace", ["unshare", "mount"], Open::Root),
    probe!("E5.unshare-time", "a time namespace", ["unshare", "time"], Open::Root),
    probe!("E5.clone", "a user namespace by clone", ["clone", "user"], Open::User),
    probe!("E5.clone3", "a user namespace by clone3", ["clone3", "user"], Open::User),
    probe!("E9.keyctl", "the keyring of the caller's session", ["keyctl"], Open::User),
    probe!("E9.add-key", "a key of one's own", ["add-key"], Open::User),
    probe!("E9.request-key", "a key of somebody's", ["request-key"], Open::User),
    probe!("E10.bpf", "programs in the kernel", ["bpf"], Open::Root),
    probe!("E10.perf", "performance counters", ["perf"], Open::User),
    probe!("E10.uffd", "page faults handled by a program", ["uffd"], Open::User),
    probe!("E10.init-module", "a kernel module", ["init-module"], ABSENT),
    probe!("E10.finit-module", "a kernel module from a file", ["finit-module"], ABSENT),
    probe!("E10.delete-module", "a module less", ["delete-module"], ABSENT),
    probe!("E10.kexec", "another kernel", ["kexec"], ABSENT),
    probe!("E10.kexec-file", "another kernel from a file", ["kexec-file"], ABSENT),
    probe!("E10.reboot", "a restart", ["reboot"], Open::Root),
    probe!("E10.syslog", "messages of the kernel", ["syslog"], Open::Root),
    probe!("E10.handle", "a file by its number: the number", ["handle"], Open::User),
    probe!("E10.open-by-handle", "a file by its number: the file", ["open-by-handle"], Open::Root),
    probe!("E10.kcmp", "addresses of kernel objects", ["kcmp"], Open::User),
    probe!("E10.quotactl", "quotas", ["quotactl"], Open::User),
    probe!("E10.quotactl-fd", "quotas by a descriptor", ["quotactl-fd"], Open::User),
    probe!("E10.swapon", "swap", ["swapon"], Open::Root),
    probe!("E10.swapoff", "no swap", ["swapoff"], Open::Root),
    probe!("E10.acct", "accounting of processes", ["acct"], Open::Root),
    probe!("E10.nfsservctl", "the old NFS server", ["nfsservctl"], ABSENT),
    probe!("E10.lookup-dcookie", "paths by cookies", ["lookup-dcookie"], ABSENT),
    probe!("E10.vhangup", "a hang-up", ["vhangup"], Open::Root),
    probe!("E10.adjtimex", "the clock's frequency", ["adjtimex"], Open::Root),
    probe!("E10.clock-adjtime", "the clock's frequency by the newer call", ["clock-adjtime"], Open::Root),
    probe!("E10.clock-settime", "the time", ["clock-settime"], Open::User),
    probe!("E10.sethostname", "the host's name", ["sethostname"], Open::Root),
    probe!("E10.iopl", "ports of devices", ["iopl"], ABSENT),
    probe!("E10.ioperm", "some ports of devices", ["ioperm"], ABSENT),
    probe!("E10.modify-ldt", "descriptors of segments", ["modify-ldt"], Open::User),
    probe!("E10.int80", "calls of 32-bit programs", ["int80"], Open::User),
    probe!("E10.x32", "calls by x32 numbers", ["x32"], ABSENT),
    probe!("E10.personality", "memory that is executable whatever it is for", ["personality"], Open::User),
    probe!("E11.block", "a block device", ["mknod-block", "made"], Open::Root),
    probe!("E11.char", "a character device", ["mknod-char", "made"], Open::Root),
    Case {
        columns: EVERYWHERE,
        ..probe!(
            "E12.open",
            "devices of the host",
            [
                "open-write",
                "/dev/kvm",
                "/dev/fuse",
                "/dev/net/tun",
                "/dev/vda",
                "/dev/sda",
                "/dev/mem",
                "/dev/kmsg",
                "/dev/loop0",
                "/dev/loop-control",
                "/dev/dri/card0",
                "/dev/vsock",
                "/dev/userfaultfd",
                "/dev/tty0",
                "/dev/console"
            ],
            Open::RootProbe(&["open-write", "/dev/kvm", "/dev/fuse", "/dev/loop-control", "/dev/kmsg"])
        )
    },
    probe!("E15.setuid", "the bit that runs a program as its owner", ["setuid", "suid"], Open::User),
    probe!(
        "E15.memfd",
        "a program that is in no file",
        ["memfd-exec", "/usr/bin/true"],
        Open::Not("allowed: it is no more than a program in the project")
    ),
    probe!("D18", "the hypervisor's sockets", ["families", "vsock"], Open::User),
    probe!(
        "D17",
        "families of sockets that no session needs",
        ["families"],
        Open::RootProbe(&["families", "vsock", "packet"])
    ),
    probe!(
        "D17.useful",
        "nothing: sockets that programs do need",
        ["useful-families"],
        Open::Not("works without a sandbox: this case says that the filter is no wider than it has to be")
    ),
];

pub const CASES: &[Case] = &[
    Case { id: "E2", tries: "programs with the setuid bit", action: Action::Steps(setuid), columns: OWNER, ..CASE },
    Case {
        id: "E6",
        tries: "settings of the kernel, by a caller that is root",
        action: Action::Script(
            "$PROBE write-same /proc/sys/kernel/core_pattern /proc/sys/kernel/hostname /proc/sys/kernel/printk |
                grep -v 'none' | sed 's/^/OPEN: written /'
            $PROBE open-write /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe /proc/sys/kernel/hotplug \
                /proc/sys/vm/drop_caches /proc/sys/fs/binfmt_misc/register /proc/sysrq-trigger /proc/sys/net/ipv4/ip_forward \
                /proc/sys/kernel/ns_last_pid /proc/sys/user/max_user_namespaces /proc/irq/default_smp_affinity \
                /proc/sys/kernel/unprivileged_bpf_disabled /proc/acpi/wakeup /proc/bus/pci/00/00.0 /proc/timer_list |
                grep -v none | sed 's/^/OPEN: opened /'
            [ -n \"$OPEN\" ] || mount | grep ' /proc/sys ' | grep -q '[(,]ro[,)]' || echo 'OPEN: /proc/sys is not read-only'",
            no_claim,
        ),
        open: Open::Root,
        columns: EVERYWHERE,
        ..CASE
    },
    Case {
        id: "E7",
        tries: "`/sys` and control groups",
        action: Action::Script(
            "$PROBE open-write /sys/kernel/uevent_helper /sys/power/state /sys/fs/cgroup/cgroup.procs \
                $(find /sys/fs/cgroup -maxdepth 2 \\( -name release_agent -o -name cgroup.procs -o -name notify_on_release \\) \
                2>/dev/null | head -20) $(ls -d /sys/kernel/security/* /sys/kernel/debug/* 2>/dev/null | head -20) |
                grep -v none | sed 's/^/OPEN: opened /'",
            no_claim,
        ),
        open: Open::Root,
        ..CASE
    },
    Case {
        id: "E12",
        tries: "devices beyond the usual ones",
        action: Action::Script(
            "ls -A /dev | grep -vxE 'null|zero|full|random|urandom|tty|ptmx|pts|shm|fd|stdin|stdout|stderr|console|core' |
                sed 's/^/OPEN: /' | head -5",
            no_claim,
        ),
        columns: EVERYWHERE,
        ..CASE
    },
    Case {
        id: "E13",
        tries: "namespaces of the host",
        action: Action::Script(
            "for n in net pid ipc uts cgroup user mnt; do echo \"$n $(readlink /proc/self/ns/$n)\"; done",
            namespaces,
        ),
        columns: EVERYWHERE,
        ..CASE
    },
    Case {
        id: "E14",
        tries: "namespaces by the usual tools",
        action: Action::Script(
            "unshare -Ur true 2>/dev/null && echo 'OPEN: unshare'
            nsenter -t 1 -a true 2>/dev/null && echo 'OPEN: nsenter'
            for n in user mnt pid net; do for p in 1 $PPID $HOST_PID; do
                $PROBE setns /proc/$p/ns/$n >/dev/null || echo \"OPEN: setns $n of $p\"; done; done",
            no_claim,
        ),
        ..CASE
    },
    Case { id: "E8", tries: "memory and descriptors of PID 1", action: Action::Steps(first_process), columns: PLAIN, ..CASE },
    Case {
        id: "E15",
        tries: "capabilities by files and by inheritance",
        action: Action::Script(
            "cp /usr/bin/env c; setcap cap_net_raw+ep c 2>/dev/null && echo 'OPEN: setcap'
            setfattr -n security.capability -v 0sAQAAAgAgAAAAAAAAAAAAAAAAAAA= c 2>/dev/null && echo 'OPEN: an attribute'
            setpriv --ambient-caps +net_raw --inh-caps +net_raw true 2>/dev/null && echo 'OPEN: ambient'
            setpriv --securebits +noroot true 2>/dev/null && echo 'OPEN: securebits'
            setpriv --reuid 1 true 2>/dev/null && echo 'OPEN: another user'; rm -f c",
            no_claim,
        ),
        open: Open::Root,
        ..CASE
    },
    Case { id: "E16", tries: "calls by number, up to 600", action: Action::Steps(numbers), columns: OWNER, open: Open::Not("it is the measure: both sides are compared in one run"), ..CASE },
    Case {
        id: "E17",
        tries: "writes where a mistake has made every mount writable",
        action: Action::Steps(writable_mounts),
        columns: OWNER,
        ..CASE
    },
];

/// The system's own programs, and one of root's in the project.
fn setuid(stage: &Stage) -> Verdict {
    if is_root() {
        let path = stage.world.project().join("tools/as-root");
        program::copy("/usr/bin/id", &path);
        fs_err::set_permissions(&path, PermissionsExt::from_mode(0o4755)).unwrap();
    }
    let ran = stage.bash(
        "for c in 'sudo -n id -u' 'su -c id' 'pkexec id -u' 'mount -t tmpfs x /mnt' 'umount /usr'; do
            timeout 5 $c </dev/null >/dev/null 2>&1 && echo \"OPEN: $c\"; done
        newuidmap $$ 0 0 1 2>/dev/null && echo 'OPEN: newuidmap'
        [ -e tools/as-root ] || echo skipped; [ \"$(tools/as-root -u 2>/dev/null)\" = 0 ] && echo 'OPEN: runs as root'",
    );
    let skipped = ran.said("skipped") && !stage.sandboxed();
    if skipped {
        Verdict::CannotRun("only root can make such a program".into())
    } else {
        no_claim(&Scene { stage, ran })
    }
}

/// A bubblewrap that mounts everything writable: the check of the mounts or the second wall has to hold.
fn writable_mounts(stage: &Stage) -> Verdict {
    if !is_root() {
        return Verdict::CannotRun("only root can put a program where pier accepts it as bubblewrap".into());
    }
    let place = tempfile::Builder::new().prefix("pier-attack-").tempdir_in("/usr/local/lib").unwrap();
    crate::sandbox::make_executable(place.path());
    let stub = place.path().join("bwrap");
    program::copy(program::stub(), &stub);
    crate::sandbox::make_executable(&stub);
    let script = "echo 'network host' >> pier.kdl; echo x >> .git/config; echo x > .git/hooks-planted; true";
    let mut command = stage.command(&["bash", "-c", script]);
    let ran = super::stage::run(command.env("PIER_BWRAP", &stub));
    let root = stage.world.project();
    let policy = std::fs::read_to_string(root.join("pier.kdl")).unwrap();
    let open = !policy.is_empty() || root.join(".git/hooks-planted").exists();
    Verdict::open_if(open, "protected files were written")
        .and(|| Verdict::open_if(!matches!(ran.code, Some(0 | 1 | 125)), ran.short()))
}

fn namespaces(scene: &Scene<'_>) -> Verdict {
    let same = |line: &&str| {
        let Some((name, inside)) = line.trim_end().split_once(' ') else { return false };
        let host = std::fs::read_link(Path::new("/proc/self/ns").join(name));
        host.is_ok_and(|host| host.to_str() == Some(inside))
    };
    let shared: Vec<&str> = scene.ran.out.lines().filter(same).collect();
    let count = scene.ran.out.lines().filter(|line| line.contains(":[")).count();
    scene
        .did_run()
        .and(|| Verdict::open_if(count != 7, format!("{count} namespaces are shown")))
        .and(|| Verdict::open_if(!shared.is_empty(), format!("of the host: {}", shared.join(", "))))
}

/// The init inside, and without a sandbox a process of the owner's.
fn first_process(stage: &Stage) -> Verdict {
    let target = if stage.sandboxed() { "1".to_owned() } else { stage.world.process().to_string() };
    let mut open = Vec::new();
    for attempt in ["ptrace", "process-vm", "pidfd-getfd"] {
        match probed(&stage.probe(&[attempt, &target])) {
            Verdict::Held => {}
            Verdict::Open(what) => open.push(format!("{attempt}: {what}")),
            other @ (Verdict::CannotRun(_) | Verdict::Late(_)) => return other,
        }
    }
    let script = format!(
        "head -c 1 /proc/{target}/mem /proc/{target}/environ /proc/{target}/maps 2>/dev/null; readlink /proc/{target}/fd/* /proc/{target}/exe /proc/{target}/cwd"
    );
    let ran = stage.bash(&script);
    let seen = ran.out.split_once("@ran").map_or("", |(_, rest)| rest).trim();
    if !seen.is_empty() {
        open.push(format!("its files: {}", seen.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
    Verdict::open_if(!open.is_empty(), open.join("; "))
}

/// Calls that the filter refuses whatever their arguments are. By number, because that is what a filter sees.
#[rustfmt::skip]
#[cfg(target_arch = "x86_64")]
const REFUSED: &[u32] = &[
    101, // ptrace
    103, // syslog
    134, 136, 139, 156, // uselib, ustat, sysfs, _sysctl
    154, // modify_ldt
    155, 161, // pivot_root, chroot
    159, 305, // adjtimex, clock_adjtime
    163, // acct
    164, 227, // settimeofday, clock_settime
    165, 166, // mount, umount2
    167, 168, // swapon, swapoff
    169, // reboot
    170, 171, // sethostname, setdomainname
    172, 173, // iopl, ioperm
    175, 176, 313, // init_module, delete_module, finit_module
    179, 443, // quotactl, quotactl_fd
    180, 212, // nfsservctl, lookup_dcookie
    246, 320, // kexec_load, kexec_file_load
    248, 249, 250, // add_key, request_key, keyctl
    298, // perf_event_open
    300, // fanotify_init
    303, 304, // name_to_handle_at, open_by_handle_at
    308, // setns
    310, 311, // process_vm_readv, process_vm_writev
    312, // kcmp
    321, // bpf
    323, // userfaultfd
    425, 426, 427, // io_uring
    428, 429, 430, 431, 432, 433, 442, 467, // the newer mount calls
    435, 437, // clone3, openat2: their flags are in memory
    438, // pidfd_getfd
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED: &[u32] = &[425, 426, 427, 428, 429, 430, 431, 432, 433, 435, 438, 442, 443];

fn numbers(stage: &Stage) -> Verdict {
    let inside = stage.probe(&["numbers"]);
    let outside = Stage {
        world: super::world::World::new(stage.world.uid, "", |_| {}),
        column: Column::Open,
        open: Open::User,
        internet: None,
        engine: None,
    };
    let outside = outside.probe(&["numbers"]);
    let parse = |text: &str| -> BTreeMap<u32, String> {
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .filter_map(|(nr, word)| Some((nr.parse().ok()?, word.into())))
            .collect()
    };
    let (inside_words, outside_words) = (parse(&inside.out), parse(&outside.out));
    if outside_words.len() < 500 || inside_words.len() != outside_words.len() {
        return Verdict::open(format!(
            "{} of {} calls were tried: {}",
            inside_words.len(),
            outside_words.len(),
            inside.short()
        ));
    }
    let walls = ["EPERM", "ENOSYS", "signal 31"];
    let refused = |words: &BTreeMap<u32, String>, nr: &u32| walls.contains(&words[nr].as_str());
    let through: Vec<String> =
        REFUSED.iter().filter(|nr| !refused(&inside_words, nr)).map(u32::to_string).collect();
    let more: Vec<String> = inside_words
        .keys()
        .filter(|nr| {
            refused(&inside_words, nr)
                && !refused(&outside_words, nr)
                && !REFUSED.contains(nr)
                && !CONDITIONAL.contains(nr)
        })
        .map(u32::to_string)
        .collect();
    Verdict::open_if(!through.is_empty(), format!("let through: {}", through.join(" "))).and(|| {
        Verdict::open_if(!more.is_empty(), format!("refused and not on the list: {}", more.join(" ")))
    })
}

/// Calls that are refused for some arguments, of which "all bits set" may be one.
#[rustfmt::skip]
#[cfg(target_arch = "x86_64")]
const CONDITIONAL: &[u32] = &[
    2, 85, 257, // open, creat, openat
    16, // ioctl
    41, 53, // socket, socketpair
    56, 272, // clone, unshare
    90, 91, 268, 452, // chmod and its kin
    133, 259, // mknod
    135, // personality
];
#[cfg(not(target_arch = "x86_64"))]
const CONDITIONAL: &[u32] = &[];
