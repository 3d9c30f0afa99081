//! The system call filter: what nothing inside ever needs, and what would open another wall.
//!
//! Allowed by default, for programs of every kind run here; denied is what reaches the kernel's rarely used parts,
//! other processes' memory, namespaces and mounts, the terminal's input queue, and set-user-id bits. `clone3` and
//! `openat2` hide their flags in memory that a filter cannot read: they answer "not implemented" and every libc
//! falls back to the older call. A call of a foreign architecture or of x32 kills the process.

use std::collections::BTreeMap;
use std::io;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

/// Denied whatever the arguments are; by name, for engines that have filters of their own.
const DENIED: &[(&str, i64)] = &[
    // Keys of the host's session keyring.
    ("keyctl", libc::SYS_keyctl),
    ("add_key", libc::SYS_add_key),
    ("request_key", libc::SYS_request_key),
    // Kernel programs, counters, faults handled elsewhere, rings that no filter sees into.
    ("bpf", libc::SYS_bpf),
    ("perf_event_open", libc::SYS_perf_event_open),
    ("userfaultfd", libc::SYS_userfaultfd),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("io_uring_enter", libc::SYS_io_uring_enter),
    ("io_uring_register", libc::SYS_io_uring_register),
    ("fanotify_init", libc::SYS_fanotify_init),
    // Other processes.
    ("ptrace", libc::SYS_ptrace),
    ("process_vm_readv", libc::SYS_process_vm_readv),
    ("process_vm_writev", libc::SYS_process_vm_writev),
    ("pidfd_getfd", libc::SYS_pidfd_getfd),
    ("kcmp", libc::SYS_kcmp),
    // Mounts and roots.
    ("mount", libc::SYS_mount),
    ("umount2", libc::SYS_umount2),
    ("pivot_root", libc::SYS_pivot_root),
    ("chroot", libc::SYS_chroot),
    ("move_mount", libc::SYS_move_mount),
    ("open_tree", libc::SYS_open_tree),
    ("fsopen", libc::SYS_fsopen),
    ("fsconfig", libc::SYS_fsconfig),
    ("fsmount", libc::SYS_fsmount),
    ("fspick", libc::SYS_fspick),
    ("mount_setattr", libc::SYS_mount_setattr),
    ("open_tree_attr", SYS_OPEN_TREE_ATTR),
    ("setns", libc::SYS_setns),
    // Files by handle, past every directory.
    ("name_to_handle_at", libc::SYS_name_to_handle_at),
    ("open_by_handle_at", libc::SYS_open_by_handle_at),
    // The machine.
    ("init_module", libc::SYS_init_module),
    ("finit_module", libc::SYS_finit_module),
    ("delete_module", libc::SYS_delete_module),
    ("kexec_load", libc::SYS_kexec_load),
    ("reboot", libc::SYS_reboot),
    ("swapon", libc::SYS_swapon),
    ("swapoff", libc::SYS_swapoff),
    ("acct", libc::SYS_acct),
    ("syslog", libc::SYS_syslog),
    ("quotactl", libc::SYS_quotactl),
    ("quotactl_fd", libc::SYS_quotactl_fd),
    ("settimeofday", libc::SYS_settimeofday),
    ("clock_settime", libc::SYS_clock_settime),
    ("clock_adjtime", libc::SYS_clock_adjtime),
    ("adjtimex", libc::SYS_adjtimex),
    ("sethostname", libc::SYS_sethostname),
    ("setdomainname", libc::SYS_setdomainname),
    ("lookup_dcookie", libc::SYS_lookup_dcookie),
    ("nfsservctl", libc::SYS_nfsservctl),
    ("vhangup", libc::SYS_vhangup),
];

#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[(&str, i64)] = &[
    ("kexec_file_load", libc::SYS_kexec_file_load),
    ("iopl", libc::SYS_iopl),
    ("ioperm", libc::SYS_ioperm),
    ("modify_ldt", libc::SYS_modify_ldt),
    ("uselib", libc::SYS_uselib),
    ("ustat", libc::SYS_ustat),
    ("sysfs", libc::SYS_sysfs),
    ("_sysctl", libc::SYS__sysctl),
];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: &[(&str, i64)] = &[("kexec_file_load", libc::SYS_kexec_file_load)];

/// Their flags are in memory: no filter can look at them.
const UNREADABLE: &[i64] = &[libc::SYS_clone3, libc::SYS_openat2];

/// `CLONE_NEW*`: each makes a namespace, in which this process would have capabilities.
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];
const CLONE_NEWTIME: i32 = 0x80;

/// Requests that put input into a terminal, or take the console.
const TERMINAL: [u64; 3] = [0x5412, 0x541c, 0x541d];

/// Set-user-id and set-group-id.
const SET_ID: [u64; 2] = [0o4000, 0o2000];

/// Flags with which `open` makes a file, and so has a mode: `O_CREAT` and the bit of `O_TMPFILE`.
const CREATES: [u64; 2] = [0o100, 0o20_000_000];

/// `mchange` of `personality`: the default, and without address randomisation; all ones only asks.
const PERSONALITIES: [u64; 3] = [0, 0x0004_0000, 0xffff_ffff];

/// Families of sockets: local, the two internets, and netlink for routes.
const FAMILIES: [u64; 4] = [1, 2, 10, 16];

/// Protocols of the internets: the default, ICMP, TCP, UDP, and ICMP of version 6.
const PROTOCOLS: [u64; 5] = [0, 1, 6, 17, 58];

/// Bit of the system call number that marks the x32 interface of `x86_64`.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;
type Result<T> = std::result::Result<T, seccompiler::BackendError>;

/// Returns the names of what is denied whatever the arguments are.
pub fn denied() -> impl Iterator<Item = &'static str> {
    DENIED.iter().chain(DENIED_HERE).map(|(name, _)| *name)
}

/// Installs the filter for this thread and all that come from it. It cannot be taken off again.
///
/// # Errors
/// When the kernel has no filters, or `no_new_privs` is not set.
pub fn install() -> io::Result<()> {
    let program = program(rules().map_err(io::Error::other)?)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

/// What is denied of a call, and the answer that a denied one gets; without conditions, all of it is.
type Rule = (i32, Vec<SeccompRule>);

fn rules() -> Result<BTreeMap<i64, Rule>> {
    let answered = |answer: i32, rules: Rules| {
        rules.into_iter().map(move |(call, conditions)| (call, (answer, conditions)))
    };
    let unreadable = UNREADABLE.iter().map(|call| (*call, Vec::new())).collect();
    let all = answered(libc::EPERM, not_permitted()?).chain(answered(libc::ENOSYS, unreadable));
    Ok(all.chain(answered(libc::EAFNOSUPPORT, sockets()?)).collect())
}

/// The most calls in one part of the program.
const MOST_IN_PART: usize = 12;

/// Returns one program for all calls. It has a part for each range of numbers, and each part is a whole program of its
/// own for the calls of its range and one answer: the kernel tries every number when a filter is installed, and would
/// otherwise compare each of them with each of ours.
fn program(rules: BTreeMap<i64, Rule>) -> io::Result<BpfProgram> {
    let mut parts: Vec<(i64, i32, Rules)> = Vec::new();
    for (call, (answer, conditions)) in rules {
        match parts.last_mut() {
            Some((_, same, calls)) if *same == answer && calls.len() < MOST_IN_PART => {
                calls.insert(call, conditions);
            }
            _ => {
                // Numbers below the first one that is denied are for the first part.
                let first = if parts.is_empty() { 0 } else { call };
                parts.push((first, answer, Rules::from([(call, conditions)])));
            }
        }
    }
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let mut compiled = Vec::with_capacity(parts.len());
    for (first, answer, rules) in parts {
        let answer = SeccompAction::Errno(answer.unsigned_abs());
        let part = SeccompFilter::new(rules, SeccompAction::Allow, answer, arch)
            .and_then(BpfProgram::try_from)
            .map_err(io::Error::other)?;
        compiled.push((u32::try_from(first).map_err(io::Error::other)?, part));
    }
    Ok(joined(&compiled))
}

const LOAD_WORD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Puts programs one after another, each for the numbers from its own up to that of the next, behind a table of jumps.
/// Each checks the architecture and ends with an answer, so that none runs on into the next.
fn joined(parts: &[(u32, BpfProgram)]) -> BpfProgram {
    let mut program = vec![sock_filter { code: LOAD_WORD, jt: 0, jf: 0, k: 0 }];
    program.extend(no_x32());
    // Two instructions for each; the highest numbers first, and the last one is for all that are left.
    let mut table = 2 * parts.len();
    let mut lengths: usize = parts.iter().map(|(_, part)| part.len()).sum();
    for (first, part) in parts.iter().rev() {
        lengths -= part.len();
        table -= 2;
        let over = u32::try_from(table + lengths).unwrap_or(u32::MAX);
        program.push(sock_filter { code: JUMP_IF_AT_LEAST, jt: 0, jf: 1, k: *first });
        program.push(sock_filter { code: JUMP, jt: 0, jf: 0, k: over });
    }
    program.extend(parts.iter().flat_map(|(_, part)| part.iter().cloned()));
    program
}

/// Kills when the number is one of x32, whose numbers are the same calls again.
#[cfg(target_arch = "x86_64")]
fn no_x32() -> [sock_filter; 2] {
    [
        sock_filter { code: JUMP_IF_AT_LEAST, jt: 0, jf: 1, k: X32 },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_KILL_PROCESS },
    ]
}

#[cfg(not(target_arch = "x86_64"))]
fn no_x32() -> [sock_filter; 0] {
    []
}

/// The low 32 bits of an argument; the kernel ignores the others of flags and requests.
fn word(argument: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompCondition> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value)
}

/// True when any bit of `bit` is set; `bit` is one bit.
fn has(argument: u8, bit: u64) -> Result<SeccompCondition> {
    word(argument, SeccompCmpOp::MaskedEq(bit), bit)
}

fn not_permitted() -> Result<Rules> {
    let mut rules: Rules = DENIED.iter().chain(DENIED_HERE).map(|(_, call)| (*call, Vec::new())).collect();
    let one = |condition: SeccompCondition| SeccompRule::new(vec![condition]);
    let bits = |argument: u8, bits: &[i32]| -> Result<Vec<SeccompRule>> {
        bits.iter().map(|bit| one(has(argument, u64::from(bit.cast_unsigned()))?)).collect()
    };
    rules.insert(libc::SYS_clone, bits(0, &NAMESPACES)?);
    let unshared: Vec<i32> = NAMESPACES.into_iter().chain([CLONE_NEWTIME]).collect();
    rules.insert(libc::SYS_unshare, bits(0, &unshared)?);
    let requests = TERMINAL.iter().map(|request| one(word(1, SeccompCmpOp::Eq, *request)?));
    rules.insert(libc::SYS_ioctl, requests.collect::<Result<_>>()?);
    let other: Result<Vec<_>> =
        PERSONALITIES.iter().map(|allowed| word(0, SeccompCmpOp::Ne, *allowed)).collect();
    rules.insert(libc::SYS_personality, vec![SeccompRule::new(other?)?]);
    set_id(&mut rules)?;
    Ok(rules)
}

/// No file inside gets a set-user-id bit: on the host it would be a program with the user's rights.
fn set_id(rules: &mut Rules) -> Result<()> {
    let by_mode = |argument: u8| -> Result<Vec<SeccompRule>> {
        SET_ID.iter().map(|bit| SeccompRule::new(vec![has(argument, *bit)?])).collect()
    };
    let by_flags_and_mode = |flags: u8, mode: u8| -> Result<Vec<SeccompRule>> {
        let pairs = CREATES.iter().flat_map(|flag| SET_ID.map(|bit| (*flag, bit)));
        pairs.map(|(flag, bit)| SeccompRule::new(vec![has(flags, flag)?, has(mode, bit)?])).collect()
    };
    rules.insert(libc::SYS_fchmod, by_mode(1)?);
    rules.insert(libc::SYS_fchmodat, by_mode(2)?);
    rules.insert(SYS_FCHMODAT2, by_mode(2)?);
    rules.insert(libc::SYS_mknodat, by_mode(2)?);
    rules.insert(libc::SYS_openat, by_flags_and_mode(2, 3)?);
    #[cfg(target_arch = "x86_64")]
    {
        rules.insert(libc::SYS_chmod, by_mode(1)?);
        rules.insert(libc::SYS_creat, by_mode(1)?);
        rules.insert(libc::SYS_mknod, by_mode(1)?);
        rules.insert(libc::SYS_open, by_flags_and_mode(1, 2)?);
    }
    Ok(())
}

/// The same numbers on every architecture; older C libraries do not name them.
const SYS_FCHMODAT2: i64 = 452;
const SYS_OPEN_TREE_ATTR: i64 = 467;

fn sockets() -> Result<Rules> {
    let none_of = |argument: u8, values: &[u64]| -> Result<Vec<SeccompCondition>> {
        values.iter().map(|value| word(argument, SeccompCmpOp::Ne, *value)).collect()
    };
    let family = |family: u64| word(0, SeccompCmpOp::Eq, family);
    let mut rules = vec![SeccompRule::new(none_of(0, &FAMILIES)?)?];
    for internet in [2, 10] {
        let mut conditions = vec![family(internet)?];
        conditions.extend(none_of(2, &PROTOCOLS)?);
        rules.push(SeccompRule::new(conditions)?);
    }
    rules.push(SeccompRule::new(vec![family(16)?, word(2, SeccompCmpOp::Ne, 0)?])?);
    Ok(BTreeMap::from([(libc::SYS_socket, rules)]))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};

    use nix::errno::Errno;
    use nix::sched::CloneFlags;
    use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

    use super::*;

    /// Runs in a thread of its own behind the filter, which stays on it for good.
    fn filtered(check: impl FnOnce() + Send + 'static) {
        let behind = move || {
            nix::sys::prctl::set_no_new_privs().unwrap();
            install().unwrap();
            check();
        };
        std::thread::spawn(behind).join().unwrap();
    }

    #[test]
    fn namespaces_and_foreign_sockets_are_denied() {
        filtered(|| {
            for flags in [CloneFlags::CLONE_NEWUSER, CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_FS] {
                assert_eq!(nix::sched::unshare(flags), Err(Errno::EPERM));
            }
            nix::sched::unshare(CloneFlags::CLONE_FS).unwrap();
            let stream = |family| socket(family, SockType::Stream, SockFlag::empty(), None).map(drop);
            assert_eq!(stream(AddressFamily::Vsock), Err(Errno::EAFNOSUPPORT));
            assert_eq!(stream(AddressFamily::Alg), Err(Errno::EAFNOSUPPORT));
            for family in [AddressFamily::Unix, AddressFamily::Inet] {
                stream(family).unwrap();
            }
            let netlink = |protocol| {
                socket(AddressFamily::Netlink, SockType::Raw, SockFlag::empty(), protocol).map(drop)
            };
            netlink(SockProtocol::NetlinkRoute).unwrap();
            assert_eq!(netlink(SockProtocol::NetlinkAudit), Err(Errno::EAFNOSUPPORT));
        });
    }

    #[test]
    fn no_file_gets_a_set_user_id_bit() {
        filtered(|| {
            let place = tempfile::tempdir().unwrap();
            let make = |name: &str, mode| {
                let mut options = std::fs::OpenOptions::new();
                options.write(true).create_new(true).mode(mode).open(place.path().join(name))
            };
            make("plain", 0o755).unwrap();
            assert_eq!(make("marked", 0o4755).unwrap_err().raw_os_error(), Some(libc::EPERM));
            let chmod = |mode| {
                let mode = std::fs::Permissions::from_mode(mode);
                std::fs::set_permissions(place.path().join("plain"), mode)
            };
            for mode in [0o4755, 0o2755, 0o6755] {
                assert_eq!(chmod(mode).unwrap_err().raw_os_error(), Some(libc::EPERM));
            }
            chmod(0o1700).unwrap();
        });
    }

    /// What the kernel answers: runs a program of the few instructions that these filters have.
    fn answer(program: &[sock_filter], call: u32, arch: u32, arguments: [u64; 6]) -> u32 {
        let mut data = [call.to_ne_bytes(), arch.to_ne_bytes()].concat();
        data.extend([0; 8]);
        data.extend(arguments.iter().flat_map(|argument| argument.to_ne_bytes()));
        let (mut at, mut value) = (0, 0_u32);
        loop {
            let sock_filter { code, jt, jf, k } = program[at].clone();
            at += 1;
            let mut jump_if = |holds: bool| at += usize::from(if holds { jt } else { jf });
            match code {
                LOAD_WORD => {
                    let from = usize::try_from(k).unwrap();
                    value = u32::from_ne_bytes(data[from..from + 4].try_into().unwrap());
                }
                JUMP => at += usize::try_from(k).unwrap(),
                0x15 => jump_if(value == k),
                0x25 => jump_if(value > k),
                JUMP_IF_AT_LEAST => jump_if(value >= k),
                0x54 => value &= k,
                RETURN => return k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn answers(answer: i32) -> u32 {
        libc::SECCOMP_RET_ERRNO | answer.unsigned_abs()
    }

    #[test]
    fn the_program_has_every_rule_and_no_other() {
        let arch = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
        let rules = rules().unwrap();
        let parts = [not_permitted().unwrap().len(), UNREADABLE.len(), sockets().unwrap().len()];
        assert_eq!(rules.len(), parts.iter().sum::<usize>(), "a call has two rules");
        let program = program(rules.clone()).unwrap();
        assert!(program.len() < 4096, "{}", program.len());
        let values = [0, 1, 2, 16, 0o4755, 0o100, 0x5412, 0x1000_0000, 0xffff_ffff, 1 << 40];
        for call in 0..2000_u32 {
            let Some(rule) = rules.get(&call.into()) else {
                let found = answer(&program, call, arch, [u64::MAX; 6]);
                assert_eq!(found, libc::SECCOMP_RET_ALLOW, "{call}");
                continue;
            };
            let alone = super::program(BTreeMap::from([(call.into(), rule.clone())])).unwrap();
            for (first, second) in values.iter().flat_map(|first| values.map(|second| (*first, second))) {
                for third in values {
                    let arguments = [first, second, third, second, 0, 0];
                    let found = answer(&program, call, arch, arguments);
                    assert_eq!(found, answer(&alone, call, arch, arguments), "{call} {arguments:?}");
                    if rule.1.is_empty() {
                        assert_eq!(found, answers(rule.0), "{call}");
                    }
                }
            }
            assert_eq!(answer(&program, call, 0x4000_0003, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
        }
        let said = |call: i64, arguments| answer(&program, u32::try_from(call).unwrap(), arch, arguments);
        assert_eq!(said(libc::SYS_socket, [40, 1, 0, 0, 0, 0]), answers(libc::EAFNOSUPPORT));
        assert_eq!(said(libc::SYS_socket, [1, 1, 0, 0, 0, 0]), libc::SECCOMP_RET_ALLOW);
        assert_eq!(said(libc::SYS_ioctl, [0, 1 << 32 | 0x5412, 0, 0, 0, 0]), answers(libc::EPERM));
        #[cfg(target_arch = "x86_64")]
        for call in [X32, X32 + 16, u32::MAX] {
            assert_eq!(answer(&program, call, arch, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
        }
    }
}
