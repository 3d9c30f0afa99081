//! One bounded walk through a tree that may be hostile: names and kinds, and a look at the entries that count.
//!
//! No link is followed on the way, no other file system entered, nothing opened but directories.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat};

use super::ground::Ground;
use super::mark::{Mark, What, look_behind, stamp};
use super::rules::{Meaning, Place, meaning};
use super::table::{BARE, GIT};
use crate::sys::directory::{self, Entry, Kind};

/// What one look at everything may cost.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub entries: usize,
    /// Directories inside each other.
    pub depth: usize,
    /// Of what is kept, in bytes.
    pub memory: usize,
    pub time: Duration,
}

/// A million files fit with room to spare, and a hostile tree costs seconds and not the machine.
pub const BOUNDS: Bounds =
    Bounds { entries: 2_000_000, depth: 128, memory: 64 << 20, time: Duration::from_secs(2) };

/// Of one directory's entries, in bytes: a directory of 200 files is one call.
const BUFFER: usize = 16 * 1024;

/// What was found in one ground.
#[derive(Debug, Default)]
pub struct Seen {
    pub marks: HashMap<Vec<u8>, Mark>,
    /// Why it is not everything.
    pub cut: Option<&'static str>,
}

/// What is left of the bounds, for all grounds and threads together.
pub struct Budget {
    bounds: Bounds,
    entries: AtomicUsize,
    memory: AtomicUsize,
    until: Instant,
    spent: AtomicBool,
}

impl Budget {
    pub fn new(bounds: Bounds) -> Self {
        let until = Instant::now() + bounds.time;
        let (entries, memory, spent) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
        Budget { bounds, entries, memory, until, spent }
    }

    pub fn entries(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }
}

/// Why a walk is incomplete when the system would not go on.
pub const UNREADABLE: &str = "a part of it could not be read";

/// Walks a ground, whose root is open, with so many threads.
pub fn walk(ground: &Ground, root: BorrowedFd<'_>, budget: &Budget, threads: usize) -> Seen {
    let top = Work { path: Vec::new(), place: ground.top, depth: 0, behind: false };
    budget.memory.fetch_add(top.weight(), Ordering::Relaxed);
    let pool = Pool::new(top, threads);
    let worker =
        || Worker { ground, budget, root, pool: &pool, pending: Vec::new(), marks: Vec::new(), cut: None };
    let found = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| worker().run())).collect();
        let mut found = vec![worker().run()];
        for other in others {
            // A thread that has panicked has seen nothing, and says so.
            found.push(other.join().unwrap_or((Vec::new(), Some(UNREADABLE))));
        }
        found
    });
    let mut seen = Seen::default();
    for (marks, cut) in found {
        seen.marks.extend(marks);
        seen.cut = seen.cut.or(cut);
    }
    seen
}

/// A directory that is still to be read.
struct Work {
    /// Relative to the root; empty for the root itself.
    path: Vec<u8>,
    place: Place,
    depth: usize,
    /// It is behind a link that stands for a directory of a known name.
    behind: bool,
}

impl Work {
    /// Its size in memory, in bytes.
    fn weight(&self) -> usize {
        size_of::<Self>() + self.path.len()
    }
}

/// Hands directories from threads that have many to those that have none.
struct Pool {
    queue: Mutex<Queue>,
    wake: Condvar,
    hungry: AtomicUsize,
}

struct Queue {
    waiting: Vec<Work>,
    idle: usize,
    threads: usize,
}

impl Pool {
    fn new(top: Work, threads: usize) -> Self {
        let queue = Mutex::new(Queue { waiting: vec![top], idle: 0, threads });
        Pool { queue, wake: Condvar::new(), hungry: AtomicUsize::new(0) }
    }

    /// Waits for work; `None` when no thread has any.
    fn take(&self) -> Option<Work> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.idle += 1;
        self.hungry.store(queue.idle, Ordering::Relaxed);
        loop {
            if let Some(work) = queue.waiting.pop() {
                queue.idle -= 1;
                self.hungry.store(queue.idle, Ordering::Relaxed);
                return Some(work);
            }
            if queue.idle == queue.threads {
                self.wake.notify_all();
                return None;
            }
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives the older half away, if somebody waits: those are nearer to the root and hold more.
    fn share(&self, pending: &mut Vec<Work>) {
        if pending.len() > 1 && self.hungry.load(Ordering::Relaxed) > 0 {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.waiting.extend(pending.drain(..pending.len() / 2));
            self.wake.notify_all();
        }
    }
}

struct Worker<'a> {
    ground: &'a Ground,
    budget: &'a Budget,
    root: BorrowedFd<'a>,
    pool: &'a Pool,
    pending: Vec<Work>,
    marks: Vec<(Vec<u8>, Mark)>,
    cut: Option<&'static str>,
}

impl Worker<'_> {
    fn run(mut self) -> (Vec<(Vec<u8>, Mark)>, Option<&'static str>) {
        let mut buffer = vec![0; BUFFER];
        while let Some(work) = self.pending.pop().or_else(|| self.pool.take()) {
            self.budget.memory.fetch_sub(work.weight(), Ordering::Relaxed);
            if self.budget.until < Instant::now() {
                self.stop("it takes too long");
            }
            if !self.budget.spent.load(Ordering::Relaxed) {
                self.directory(&work, &mut buffer);
            }
            self.pool.share(&mut self.pending);
        }
        (self.marks, self.cut)
    }

    /// Ends the walk; what is pending is dropped unread.
    fn stop(&mut self, why: &'static str) {
        self.cut = self.cut.or(Some(why));
        self.budget.spent.store(true, Ordering::Relaxed);
    }

    fn directory(&mut self, work: &Work, buffer: &mut [u8]) {
        let open = match self.open(work) {
            Ok(open) => open,
            // Gone, no directory any more, a link by now, or another file system.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV) => return,
            Err(Errno::EACCES) => {
                return self.keep(work.path.clone(), Mark::new(What::Unreadable, None));
            }
            Err(Errno::ENAMETOOLONG) => return self.too_deep(),
            Err(_) => return self.cut = self.cut.or(Some(UNREADABLE)),
        };
        let before = (self.pending.len(), self.marks.len());
        let layout = self.entries(work, work.place, &open, buffer);
        if !layout.is_repository() || work.place.git {
            return;
        }
        // Git takes it for a repository, whatever its name: the same entries mean something else.
        for work in self.pending.drain(before.0..) {
            self.budget.memory.fetch_sub(work.weight(), Ordering::Relaxed);
        }
        self.marks.truncate(before.1);
        if nix::unistd::lseek(&open, 0, nix::unistd::Whence::SeekSet).is_err() {
            self.cut = self.cut.or(Some(UNREADABLE));
        }
        self.entries(work, work.place.as_git(), &open, buffer);
        if !work.place.of_git {
            self.keep(join(&work.path, b"HEAD"), Mark::new(What::File, Some(&BARE)));
        }
    }

    fn open(&self, work: &Work) -> nix::Result<OwnedFd> {
        let mut flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut resolve =
            ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        if !work.behind {
            flags |= OFlag::O_NOFOLLOW;
            resolve |= ResolveFlag::RESOLVE_NO_SYMLINKS;
        }
        let path: &[u8] = if work.path.is_empty() { b"." } else { &work.path };
        let how = OpenHow::new().flags(flags).resolve(resolve);
        loop {
            match openat2(self.root, path, how) {
                Err(Errno::EAGAIN | Errno::EINTR) if self.budget.until > Instant::now() => {}
                opened => return opened,
            }
        }
    }

    fn entries(&mut self, work: &Work, place: Place, open: &OwnedFd, buffer: &mut [u8]) -> Layout {
        let mut layout = Layout::default();
        loop {
            let entries = match directory::next(open.as_fd(), buffer) {
                Ok(Some(entries)) => entries,
                Ok(None) => return layout,
                Err(_) => {
                    self.cut = self.cut.or(Some(UNREADABLE));
                    return layout;
                }
            };
            let mut count = 0;
            for entry in entries {
                count += 1;
                layout.note(entry.name);
                self.entry(work, place, open.as_fd(), entry);
            }
            let entries = self.budget.entries.fetch_add(count, Ordering::Relaxed) + count;
            if entries > self.budget.bounds.entries {
                self.stop("it holds too many files");
            } else if self.budget.until < Instant::now() {
                self.stop("it takes too long");
            }
            if self.budget.spent.load(Ordering::Relaxed) {
                return layout;
            }
        }
    }

    fn entry(&mut self, work: &Work, place: Place, at: BorrowedFd<'_>, entry: Entry<'_>) {
        let meant = meaning(place, entry.name);
        let kind = match entry.kind {
            // Gone meanwhile: nothing to see.
            Kind::Unknown => stamp(at, entry.name).map_or(Kind::Unknown, |(kind, _)| kind),
            kind => kind,
        };
        let special = |what| Mark { inode: entry.inode, ..Mark::new(what, None) };
        let mark = match kind {
            Kind::Directory => return self.enter(work, &meant, entry),
            Kind::File => match meant.row {
                Some(row) => match stamp(at, entry.name) {
                    Ok((_, stamp)) => Mark { stamp: Some(stamp), ..Mark::new(What::File, Some(row)) },
                    Err(_) => return,
                },
                None => return,
            },
            Kind::Link => return self.link(work, &meant, at, entry),
            Kind::Fifo => special(What::Fifo),
            Kind::Socket => special(What::Socket),
            Kind::Device => special(What::Device),
            Kind::Unknown => return,
        };
        self.keep(join(&work.path, entry.name), mark);
    }

    fn enter(&mut self, work: &Work, meant: &Meaning, entry: Entry<'_>) {
        let Some(place) = meant.below else { return };
        let path = join(&work.path, entry.name);
        if self.ground.skip.contains(&path) {
            return;
        }
        if place.git {
            let mark = Mark { inode: entry.inode, ..Mark::new(What::Directory, Some(&GIT)) };
            self.keep(path.clone(), mark);
        }
        self.push(Work { path, place, depth: work.depth + 1, behind: work.behind });
    }

    fn link(&mut self, work: &Work, meant: &Meaning, at: BorrowedFd<'_>, entry: Entry<'_>) {
        let Ok(target) = readlinkat(at, entry.name) else { return };
        let path = join(&work.path, entry.name);
        let mut mark = Mark::new(What::Link, meant.linked);
        mark.target = Some(target.into_vec().into());
        // The user's own link to a file or directory that counts: what it stands for must not change either.
        if mark.row.is_some() {
            match (look_behind(self.root, &path), meant.below) {
                (Ok((Kind::Directory, _)), Some(place)) if !work.behind => {
                    self.push(Work { path: path.clone(), place, depth: work.depth + 1, behind: true });
                }
                (Ok((Kind::File, stamp)), _) => mark.behind = Some(stamp),
                _ => {}
            }
        }
        self.keep(path, mark);
    }

    fn push(&mut self, work: Work) {
        if work.depth > self.budget.bounds.depth {
            return self.too_deep();
        }
        self.spend(work.weight());
        self.pending.push(work);
    }

    fn too_deep(&mut self) {
        self.cut = self.cut.or(Some("its directories are too deep"));
    }

    fn keep(&mut self, path: Vec<u8>, mark: Mark) {
        if !self.ground.skip.contains(&path) {
            let target = mark.target.as_ref().map_or(0, |target| target.len());
            self.spend(size_of::<(Vec<u8>, Mark)>() + path.len() + target);
            self.marks.push((path, mark));
        }
    }

    fn spend(&mut self, length: usize) {
        let memory = self.budget.memory.fetch_add(length, Ordering::Relaxed) + length;
        if memory > self.budget.bounds.memory {
            self.stop("it holds too many files");
        }
    }
}

/// Which parts of a repository a directory has.
#[derive(Default)]
struct Layout {
    head: bool,
    objects: bool,
    refs: bool,
    common: bool,
}

impl Layout {
    fn note(&mut self, name: &[u8]) {
        // Case is no help to an attacker on file systems that ignore it.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"HEAD") => self.head = true,
            4 if name.eq_ignore_ascii_case(b"refs") => self.refs = true,
            7 if name.eq_ignore_ascii_case(b"objects") => self.objects = true,
            9 if name.eq_ignore_ascii_case(b"commondir") => self.common = true,
            _ => {}
        }
    }

    /// As `is_git_directory` of Git's `setup.c` decides: `commondir` says where the other two are.
    fn is_repository(&self) -> bool {
        self.head && (self.common || (self.objects && self.refs))
    }
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}
