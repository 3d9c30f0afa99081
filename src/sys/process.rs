//! Processes: fork and exec of the sandbox's children, waiting, giving up root.

use std::ffi::{CString, OsString};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::CommandExt as _;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Gid, Pid, Uid, fork, pipe2, setresgid, setresuid};

/// A program to start: what `execve` wants, prepared before the fork because nothing may be allocated after.
pub struct Program {
    argv: Vec<CString>,
    environment: Vec<CString>,
    cwd: Option<CString>,
}

impl Program {
    /// # Errors
    /// A NUL byte in any part.
    pub fn new(
        argv: &[OsString],
        environment: &[(OsString, OsString)],
        cwd: Option<OsString>,
    ) -> io::Result<Self> {
        let text = |part: OsString| CString::new(part.into_vec()).map_err(io::Error::from);
        let argv = argv.iter().cloned().map(text).collect::<io::Result<Vec<_>>>()?;
        let pair = |(name, value): &(OsString, OsString)| {
            let mut joined = name.clone();
            joined.push("=");
            joined.push(value);
            text(joined)
        };
        let environment = environment.iter().map(pair).collect::<io::Result<Vec<_>>>()?;
        Ok(Program { argv, environment, cwd: cwd.map(text).transpose()? })
    }

    fn search_path(&self) -> &[u8] {
        let entry = self.environment.iter().find_map(|entry| entry.as_bytes().strip_prefix(b"PATH="));
        entry.unwrap_or(b"/usr/local/bin:/usr/bin:/bin")
    }

    /// Every file that the first word may name, in the order of `PATH`.
    fn candidates(&self) -> Vec<CString> {
        let Some(first) = self.argv.first() else { return Vec::new() };
        if first.as_bytes().contains(&b'/') {
            return vec![first.clone()];
        }
        let directories =
            self.search_path().split(|byte| *byte == b':').filter(|part| part.starts_with(b"/"));
        let join = |directory: &[u8]| CString::new([directory, b"/", first.as_bytes()].concat()).ok();
        directories.filter_map(join).collect()
    }
}

/// Why a child could not be started.
#[derive(Debug)]
pub enum StartError {
    /// The sandbox's own steps failed; the text says which.
    SetUp(&'static str, io::Error),
    /// `execve` of the command itself failed.
    Exec(Errno),
}

/// Forks and executes `program` in a session of its own, with `standard` as its three streams.
///
/// `terminal` says whether stream 0, 1 or 2 is a terminal that becomes its controlling one.
///
/// # Errors
/// [`StartError::Exec`] with the kernel's answer once the child is gone again.
pub fn start(
    program: &Program,
    standard: [BorrowedFd<'_>; 3],
    terminal: Option<BorrowedFd<'_>>,
) -> Result<Pid, StartError> {
    let set_up = |what| move |error: Errno| StartError::SetUp(what, error.into());
    let candidates = program.candidates();
    let argv = pointers(&program.argv);
    let environment = pointers(&program.environment);
    let (read, write) = pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(set_up("make a pipe"))?;
    // SAFETY: the process has one thread; the child makes only async-signal-safe calls and allocates nothing.
    match unsafe { fork() }.map_err(set_up("fork"))? {
        ForkResult::Child => {
            drop(read);
            let (step, errno) = unsafe_child(program, &candidates, &argv, &environment, standard, terminal);
            let report = [step, errno.cast_unsigned() & 0xff];
            // SAFETY: eight bytes of a live array; a failed write leaves the parent with an early end.
            unsafe {
                libc::write(write.as_raw_fd(), report.as_ptr().cast(), size_of_val(&report));
                libc::_exit(127)
            }
        }
        ForkResult::Parent { child } => {
            drop(write);
            match read_report(&read) {
                None => Ok(child),
                Some((step, errno)) => {
                    while let Err(Errno::EINTR) = waitpid(child, None) {}
                    let errno = Errno::from_raw(errno);
                    Err(match step {
                        EXEC => StartError::Exec(errno),
                        TERMINAL => StartError::SetUp("take the terminal", errno.into()),
                        DIRECTORY => StartError::SetUp("change the directory", errno.into()),
                        _ => StartError::SetUp("start a session", errno.into()),
                    })
                }
            }
        }
    }
}

const SESSION: u32 = 1;
const TERMINAL: u32 = 2;
const DIRECTORY: u32 = 3;
const EXEC: u32 = 4;

fn pointers(texts: &[CString]) -> Vec<*const libc::c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
}

fn read_report(pipe: &OwnedFd) -> Option<(u32, i32)> {
    let mut bytes = [0; 8];
    loop {
        match nix::unistd::read(pipe, &mut bytes) {
            Err(Errno::EINTR) => {}
            Ok(8) => {
                let [step, errno] = [&bytes[..4], &bytes[4..]]
                    .map(|part| part.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte)));
                return Some((step, errno.cast_signed()));
            }
            // The write end closed on a successful exec.
            Ok(_) | Err(_) => return None,
        }
    }
}

/// The child between fork and exec; returns only when something failed.
fn unsafe_child(
    program: &Program,
    candidates: &[CString],
    argv: &[*const libc::c_char],
    environment: &[*const libc::c_char],
    standard: [BorrowedFd<'_>; 3],
    terminal: Option<BorrowedFd<'_>>,
) -> (u32, i32) {
    // SAFETY: plain system calls on memory prepared before the fork.
    unsafe {
        if libc::setsid() < 0 {
            return (SESSION, Errno::last_raw());
        }
        for (number, fd) in (0..).zip(standard) {
            if libc::dup2(fd.as_raw_fd(), number) < 0 {
                return (SESSION, Errno::last_raw());
            }
        }
        if let Some(terminal) = terminal
            && libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) < 0
        {
            return (TERMINAL, Errno::last_raw());
        }
        libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        // The kernel's own call: the C library keeps two signals for itself, which `posix_spawn` leaves ignored.
        let default = [0_u64; 4];
        for signal in 1..=64 {
            let none = std::ptr::null_mut::<u8>();
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, 8_usize);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        if let Some(cwd) = &program.cwd
            && libc::chdir(cwd.as_ptr()) < 0
        {
            return (DIRECTORY, Errno::last_raw());
        }
        let mut answer = libc::ENOENT;
        for candidate in candidates {
            libc::execve(candidate.as_ptr(), argv.as_ptr(), environment.as_ptr());
            let errno = Errno::last_raw();
            // A directory of `PATH` that cannot be searched hides nothing behind it, as in `execvp`.
            if errno != libc::ENOENT && errno != libc::ENOTDIR {
                answer = errno;
            }
            if !matches!(errno, libc::ENOENT | libc::ENOTDIR | libc::EACCES) {
                break;
            }
        }
        (EXEC, answer)
    }
}

/// Blocks every signal that a supervisor or an init handles by descriptor, and returns the old mask.
pub fn block_signals(signals: &SigSet) -> io::Result<SigSet> {
    let mut old = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(signals), Some(&mut old))?;
    Ok(old)
}

/// Ends this process by a signal that it has taken itself, so that its caller sees which one it was.
pub fn end_by(signal: Signal) {
    let mut one = SigSet::empty();
    one.add(signal);
    // Of this thread alone, and what is sent to this thread ends them all.
    if sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&one), None).is_ok() {
        let _ended = nix::sys::signal::raise(signal);
    }
}

/// Waits for any child that has ended, without blocking.
pub fn reap() -> Option<(Pid, Ended)> {
    loop {
        return match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => {
                Some((pid, Ended::Code(u8::try_from(code).unwrap_or(u8::MAX))))
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) => Some((pid, Ended::Signal(signal as i32))),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => None,
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(_) => None,
        };
    }
}

/// Waits until no child is left; as PID 1 of a namespace, until nothing else runs in it.
pub fn reap_all() {
    loop {
        match waitpid(None, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

/// Waits until a process of [`open_process`] has ended; false when the time is over.
pub fn has_ended_within(process: &OwnedFd, time: std::time::Duration) -> bool {
    let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
    poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], timeout).is_ok_and(|count| count > 0)
}

/// Waits until a child of this process has ended, without reaping it; false when the time is over.
pub fn ends_within(child: u32, time: std::time::Duration) -> io::Result<bool> {
    let process = open_process(child)?;
    let end = std::time::Instant::now() + time;
    loop {
        let left = end.saturating_duration_since(std::time::Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Kills the children of a child; what that one was waiting for is over then.
pub fn kill_children(child: u32) {
    let list = fs_err::read(format!("/proc/{child}/task/{child}/children")).unwrap_or_default();
    for id in String::from_utf8_lossy(&list).split_whitespace().filter_map(|id| id.parse().ok()) {
        // One that has just ended is what was wanted.
        let _gone = nix::sys::signal::kill(Pid::from_raw(id), Signal::SIGKILL);
    }
}

/// Makes the child of a command end when this process does, however that ends.
pub fn end_together(command: &mut std::process::Command) {
    signal_together(command, libc::SIGKILL);
}

/// Asks the child of a command to end when the thread that starts it does, however that ends.
pub fn ask_to_end_together(command: &mut std::process::Command) {
    signal_together(command, libc::SIGTERM);
}

fn signal_together(command: &mut std::process::Command, signal: i32) {
    // SAFETY: one async-signal-safe call between fork and exec.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, signal) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    Code(u8),
    Signal(i32),
}

impl Ended {
    /// Returns the shell's number for it: the code, or 128 + the signal.
    pub fn code(self) -> u8 {
        match self {
            Ended::Code(code) => code,
            Ended::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }
}

/// Kills every process that this one may signal, except itself: all of a namespace when called by its PID 1.
pub fn kill_all() {
    // Nothing left to kill is the wanted state.
    let _gone = nix::sys::signal::kill(Pid::from_raw(-1), Signal::SIGKILL);
}

/// Sends a signal to everything that this process may signal, but itself: as PID 1, to all of its namespace.
pub fn signal_all(signal: Signal) {
    let _gone = nix::sys::signal::kill(Pid::from_raw(-1), signal);
}

/// Says whether any child of this process is left.
pub fn has_children() -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    nix::sys::wait::waitid(nix::sys::wait::Id::All, flags) != Err(Errno::ECHILD)
}

/// Kills the process group that `leader` leads.
pub fn kill_group(leader: u32) {
    // One that has just ended needs no signal.
    let _gone = nix::sys::signal::killpg(Pid::from_raw(leader.cast_signed()), Signal::SIGKILL);
}

/// Lets this process have more open descriptors than programs usually may; returns how many it may have.
pub fn raise_descriptors(wanted: usize) -> io::Result<usize> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX).min(hard).max(soft);
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?;
    Ok(usize::try_from(wanted).unwrap_or(usize::MAX))
}

/// Sends `signal` to the process group that `leader` leads.
pub fn signal_group(leader: Pid, signal: i32) {
    // A group that has just ended needs no signal. Not `killpg` of nix: real-time signals have no name there.
    // SAFETY: sends a signal; touches no memory.
    unsafe { libc::kill(-leader.as_raw(), signal) };
}

/// Fills `bytes` with the kernel's random numbers.
pub fn random(bytes: &mut [u8]) -> io::Result<()> {
    // SAFETY: the kernel writes at most `len` bytes into the buffer; up to 256 bytes are never cut short.
    let filled = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if usize::try_from(filled) == Ok(bytes.len()) { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives up root for good: supplementary groups, then group, then user.
///
/// # Errors
/// When any of the three calls fails, or root could be had back.
pub fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: clears the list of groups; a null pointer with length 0 is what setgroups(2) documents.
    if unsafe { libc::setgroups(0, std::ptr::null()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    // The number -1 means "leave it" to both calls.
    if nix::unistd::geteuid() != uid || nix::unistd::getegid() != gid {
        return Err(io::Error::other("it is no user or group"));
    }
    if !uid.is_root() && nix::unistd::setuid(Uid::from_raw(0)).is_ok() {
        return Err(io::Error::other("root could be taken back"));
    }
    Ok(())
}

/// Takes every capability but these from what this process and all that come from it can ever have.
pub fn bound_capabilities(keep: &[u8]) -> io::Result<()> {
    const MOST: u8 = 63;
    nix::sys::prctl::set_no_new_privs()?;
    for capability in (0..=MOST).filter(|capability| !keep.contains(capability)) {
        // SAFETY: drops one from a set of this process; touches no memory.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) } < 0 {
            let error = io::Error::last_os_error();
            // The kernel has fewer.
            if error.raw_os_error() == Some(libc::EINVAL) {
                break;
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Gives up every capability but these, for this process and for all that come from it.
pub fn keep_capabilities(keep: &[u8]) -> io::Result<()> {
    bound_capabilities(keep)?;
    hold_capabilities(keep)
}

/// Gives up every capability but these, as far as this process has them: what it starts may have others.
pub fn hold_capabilities(keep: &[u8]) -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let mask = keep.iter().fold(0_u64, |mask, one| mask | 1 << one);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of a mask")]
    let halves = [mask as u32, (mask >> 32) as u32];
    let data = halves.map(|half| Data { effective: half, permitted: half, inheritable: 0 });
    let header = Header { version: VERSION_3, pid: 0 };
    // SAFETY: both point to live values of the kernel's layout for this version.
    if unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Has the kernel end a process, and what comes from it, before others of the same size where memory is used up: by as much as
/// browsers say of their pages (`oom_score_adj` in proc(5)).
pub fn goes_first(process: Pid) -> io::Result<()> {
    let path = format!("/proc/{process}/oom_score_adj");
    std::fs::File::options().write(true).open(path)?.write_all(b"300")
}

/// Has the kernel kill this process once its parent has ended, whatever ended that.
pub fn die_with_parent() -> io::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)
}

/// Makes this process unreadable for its own user: no core file, no `ptrace`, no `/proc/PID/environ`.
pub fn forbid_dumps() -> io::Result<()> {
    Ok(nix::sys::prctl::set_dumpable(false)?)
}

/// Which side of [`fork_away`] this is.
pub enum Forked {
    /// The caller, with its child, and what the child says until it closes the pipe.
    Caller { child: Pid, said: OwnedFd },
    /// The child, in a session of its own without a terminal, standard error excepted.
    Away { tell: OwnedFd },
}

/// Forks a process that outlives its terminal and has nothing open but standard error and a pipe to the caller.
///
/// One fork is enough: the caller ends, and what leads a session takes no terminal while every terminal is opened
/// with `O_NOCTTY`.
pub fn fork_away() -> io::Result<Forked> {
    let (said, tell) = pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    // SAFETY: the process has one thread, so that the child finds no lock held by another one.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(Forked::Caller { child, said }),
        ForkResult::Child => {
            drop(said);
            nix::unistd::setsid()?;
            nix::unistd::chdir("/")?;
            let nothing =
                nix::fcntl::open("/dev/null", nix::fcntl::OFlag::O_RDWR, nix::sys::stat::Mode::empty())?;
            nix::unistd::dup2_stdin(&nothing)?;
            nix::unistd::dup2_stdout(&nothing)?;
            drop(nothing);
            super::fd::close_others(3, &[tell.as_raw_fd()])?;
            Ok(Forked::Away { tell })
        }
    }
}

/// Waits for the end of one child.
pub fn wait_for(child: Pid) -> io::Result<Ended> {
    loop {
        return match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => Ok(Ended::Code(u8::try_from(code).unwrap_or(u8::MAX))),
            Ok(WaitStatus::Signaled(_, signal, _)) => Ok(Ended::Signal(signal as i32)),
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(error) => Err(error.into()),
        };
    }
}

/// Returns a descriptor of a process, which is readable once that has ended.
pub fn open_process(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: two numbers; touches no memory.
    let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, id, 0u32) };
    let raw = i32::try_from(raw).map_err(|_| Errno::EBADF)?;
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Kills the process behind a descriptor of [`open_process`], and no other one that has its number by now.
pub fn kill_process(process: &OwnedFd) -> io::Result<()> {
    let no_details = std::ptr::null::<u8>();
    // SAFETY: a null pointer stands for a plain signal, as pidfd_send_signal(2) documents.
    let answer = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), libc::SIGKILL, no_details, 0u32)
    };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Returns when a process was started, in clock ticks since the boot: with its number, this names it for good.
pub fn start_time(id: u32) -> Option<u64> {
    let path = format!("/proc/{id}/stat");
    let bytes = crate::util::fs::read_bounded(camino::Utf8Path::new(&path), 4096).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    // The name may hold spaces and brackets; the fields after its last bracket hold none.
    text.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Says whether this process was started with a signal ignored, as `nohup` and background jobs of scripts are.
pub fn is_ignored(signal: Signal) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null pointer asks without a change; the kernel fills the structure that we own.
    let answer = unsafe { libc::sigaction(signal as i32, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: zeroed above, which is a valid value, and filled where the call succeeded.
    answer == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// Waits until a process that a test has just started has its name and its words: the kernel wakes whoever started it some moments
/// before.
#[cfg(test)]
pub fn wait_for_words(id: u32, word: &str) {
    let path = format!("/proc/{id}/cmdline");
    while !fs_err::read_to_string(&path).unwrap().contains(word) {
        std::thread::yield_now();
    }
}
