//! A program started by `posix_spawn`: this process's memory is not copied for it, as `fork` would do.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::ptr;

use nix::libc;
use nix::unistd::Pid;

use super::process::{Ended, wait_for};

/// What to start. It leads a process group of its own, in the directory `/`; standard input and output are
/// `/dev/null`.
pub struct Program<'a> {
    /// Absolute path, then the arguments.
    pub words: &'a [String],
    /// All of it.
    pub environment: &'a [(&'a str, String)],
    pub standard_error: BorrowedFd<'a>,
    /// Descriptors with the numbers that the program knows them by. It has no others above 2.
    pub placed: &'a [(BorrowedFd<'a>, RawFd)],
    /// It leads a session of its own, without a terminal, and not only a process group.
    pub outlives: bool,
}

/// A child that nobody else waits for.
pub struct Child(Pid);

impl Child {
    pub fn id(&self) -> u32 {
        self.0.as_raw().cast_unsigned()
    }

    pub fn wait(&self) -> io::Result<Ended> {
        wait_for(self.0)
    }
}

/// Starts it.
pub fn spawn(program: &Program<'_>) -> io::Result<Child> {
    // What the caller of this process has left open is nobody else's; all that this process opens is of that kind.
    // SAFETY: sets a flag on descriptors; touches no memory.
    if unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let text = |text: &str| CString::new(text).map_err(io::Error::from);
    let words = program.words.iter().map(|word| text(word)).collect::<io::Result<Vec<_>>>()?;
    let variables = program.environment.iter().map(|(name, value)| text(&format!("{name}={value}")));
    let variables = variables.collect::<io::Result<Vec<_>>>()?;
    let path = words.first().ok_or_else(|| io::Error::other("a program needs a path"))?;
    // Above every number that is given, so that no placement closes what another one needs.
    let first = program.placed.iter().map(|(_, number)| number + 1).max().unwrap_or(3);
    let moved = program.placed.iter().map(|(fd, number)| Ok((above(*fd, first)?, *number)));
    let moved = moved.collect::<io::Result<Vec<_>>>()?;
    let mut actions = Actions::new()?;
    actions.open(0, libc::O_RDONLY)?;
    actions.open(1, libc::O_WRONLY)?;
    actions.place(program.standard_error.as_raw_fd(), 2)?;
    for (fd, number) in &moved {
        actions.place(fd.as_raw_fd(), *number)?;
    }
    // What another thread may have opened for a moment, without the flag.
    for number in (3..first).filter(|number| program.placed.iter().all(|(_, placed)| placed != number)) {
        actions.close(number)?;
    }
    actions.directory()?;
    let attributes = Attributes::new(program.outlives)?;
    let mut id = 0;
    // SAFETY: every pointer is to a live value: lists of C strings that end with a null pointer, initialised records.
    checked(unsafe {
        libc::posix_spawn(
            &raw mut id,
            path.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            pointers(&words).as_ptr(),
            pointers(&variables).as_ptr(),
        )
    })?;
    Ok(Child(Pid::from_raw(id)))
}

fn above(fd: BorrowedFd<'_>, first: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: duplicates a live descriptor.
    let moved = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, first) };
    if moved < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: freshly made above.
    Ok(unsafe { OwnedFd::from_raw_fd(moved) })
}

fn pointers(texts: &[CString]) -> Vec<*mut libc::c_char> {
    texts.iter().map(|text| text.as_ptr().cast_mut()).chain([ptr::null_mut()]).collect()
}

/// The functions of this family return the number of their error.
fn checked(error: libc::c_int) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(error)) }
}

struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: initialises the record, and only then is it taken for one.
        unsafe {
            checked(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()))?;
            Ok(Actions(actions.assume_init()))
        }
    }

    fn open(&mut self, number: RawFd, access: libc::c_int) -> io::Result<()> {
        // SAFETY: the record is initialised, and the path is copied into it.
        checked(unsafe {
            libc::posix_spawn_file_actions_addopen(&raw mut self.0, number, c"/dev/null".as_ptr(), access, 0)
        })
    }

    fn place(&mut self, from: RawFd, to: RawFd) -> io::Result<()> {
        // SAFETY: the record is initialised.
        checked(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.0, from, to) })
    }

    /// A number that is not open is no error.
    fn close(&mut self, number: RawFd) -> io::Result<()> {
        // SAFETY: the record is initialised.
        checked(unsafe { libc::posix_spawn_file_actions_addclose(&raw mut self.0, number) })
    }

    fn directory(&mut self) -> io::Result<()> {
        // SAFETY: the record is initialised, and the path is copied into it.
        checked(unsafe { libc::posix_spawn_file_actions_addchdir_np(&raw mut self.0, c"/".as_ptr()) })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: the record is initialised, and not used again.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    /// A process group or a session of its own, no signal blocked, and the end of a pipe ends it again: this process
    /// ignores that.
    fn new(session: bool) -> io::Result<Self> {
        let own = if session { libc::POSIX_SPAWN_SETSID.into() } else { libc::POSIX_SPAWN_SETPGROUP };
        let flags = own | libc::POSIX_SPAWN_SETSIGDEF | libc::POSIX_SPAWN_SETSIGMASK;
        let flags = libc::c_short::try_from(flags).map_err(io::Error::other)?;
        let (mut attributes, mut signals) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: each record is initialised before it is taken for one.
        unsafe {
            checked(libc::posix_spawnattr_init(attributes.as_mut_ptr()))?;
            let mut attributes = Attributes(attributes.assume_init());
            libc::sigemptyset(signals.as_mut_ptr());
            let mut signals = signals.assume_init();
            checked(libc::posix_spawnattr_setsigmask(&raw mut attributes.0, &raw const signals))?;
            libc::sigaddset(&raw mut signals, libc::SIGPIPE);
            checked(libc::posix_spawnattr_setsigdefault(&raw mut attributes.0, &raw const signals))?;
            checked(libc::posix_spawnattr_setpgroup(&raw mut attributes.0, 0))?;
            checked(libc::posix_spawnattr_setflags(&raw mut attributes.0, flags))?;
            Ok(attributes)
        }
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: the record is initialised, and not used again.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn a_child_has_what_it_was_given_and_nothing_else() {
        let (mut read, write) = io::pipe().unwrap();
        let script =
            "echo \"$(pwd) $A ${HOME-none}\" >&40; ls /proc/self/fd >&40; kill -PIPE $$; echo deaf >&40";
        let words = ["/bin/bash", "--norc", "-c", script].map(str::to_owned);
        let child = spawn(&Program {
            words: &words,
            environment: &[("A", "b c".to_owned())],
            standard_error: write.as_fd(),
            placed: &[(write.as_fd(), 40)],
            outlives: false,
        });
        let child = child.unwrap();
        drop(write);
        let mut said = String::new();
        read.read_to_string(&mut said).unwrap();
        assert_eq!(said, "/ b c none\n0\n1\n2\n3\n40\n");
        assert_eq!(child.wait().unwrap(), Ended::Signal(libc::SIGPIPE));
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let (_read, write) = io::pipe().unwrap();
        let words = ["/no/such/program".to_owned()];
        let program = Program {
            words: &words,
            environment: &[],
            standard_error: write.as_fd(),
            placed: &[],
            outlives: false,
        };
        assert_eq!(spawn(&program).err().unwrap().kind(), io::ErrorKind::NotFound);
    }
}
