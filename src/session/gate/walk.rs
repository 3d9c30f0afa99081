//! One bounded walk through a tree that may be hostile: names and kinds, and a look at the entries that count.
//!
//! No link is followed on the way, no other file system entered, nothing opened but directories.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::unistd::{Whence, lseek};

use super::ground::Ground;
use super::mark::{Mark, Stamp, What, look_behind, own_stamp, stamp};
use super::memory::Directories;
use super::pool::{Pool, Work};
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

/// Directories that changed later than this before a look are read again by the next one: a second change within the
/// same tick of the kernel's clock would not show in their time.
pub const SETTLED: Duration = Duration::from_millis(50);

/// What was found in one ground.
#[derive(Debug, Default)]
pub struct Seen {
    pub marks: HashMap<Vec<u8>, Mark>,
    /// What the next look need not read again, without what was known before and is as it was.
    pub known: Directories,
    /// Directories that had to be read.
    pub read: usize,
    /// Why it is not everything.
    pub cut: Option<&'static str>,
}

impl Seen {
    pub fn nothing(why: &'static str) -> Self {
        Seen { cut: Some(why), ..Seen::default() }
    }
}

/// A directory whose names stay the same as long as its own stamp does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub stamp: Stamp,
    /// What held there: where something else holds, other entries mean something.
    pub place: Place,
    /// It has the layout of a repository.
    pub is_repository: bool,
    /// The entries that are looked at or into, each with its number; the others mean nothing.
    pub entries: Vec<(Kind, u64, Box<[u8]>)>,
    /// Whether the last look that remembers came by.
    pub visited: Visited,
}

impl Known {
    /// Nothing in it is looked at or into.
    fn is_plain(&self) -> bool {
        self.entries.is_empty() && !self.is_repository && !self.place.git
    }
}

/// Set by several threads; it says nothing about the directory.
#[derive(Debug, Default)]
pub struct Visited(AtomicBool);

impl Visited {
    pub fn take(&mut self) -> bool {
        std::mem::take(self.0.get_mut())
    }
}

impl Clone for Visited {
    fn clone(&self) -> Self {
        Visited::default()
    }
}

impl PartialEq for Visited {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Visited {}

/// Puts together what was known before a look that remembers, and what it has found.
pub fn merge(mut before: Directories, seen: &mut Seen) {
    before.retain(|_, known| known.visited.take());
    before.extend(std::mem::take(&mut seen.known));
    seen.known = before;
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

const TOO_SLOW: &str = "the tree was too large to look at whole: it takes too long";
const TOO_MANY: &str = "the tree was too large to look at whole: it holds too many files";
const TOO_DEEP: &str = "the tree was too large to look at whole: its directories are too deep";

/// Why a walk is incomplete when the system would not go on.
pub const UNREADABLE: &str = "a part of the tree could not be read";

/// Whether a walk remembers directories for the next one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Remember {
    Yes,
    No,
}

/// Walks a ground, whose root is open, with so many threads. What is known from before makes it faster.
///
/// Reading a directory costs ten times as much as a look at its time, and most do not change.
pub fn walk(
    ground: &Ground,
    root: BorrowedFd<'_>,
    budget: &Budget,
    threads: usize,
    before: &Directories,
    keep: Remember,
) -> Seen {
    let top = Work { path: Vec::new(), place: ground.top, depth: 0, behind: false };
    budget.memory.fetch_add(top.weight(), Ordering::Relaxed);
    let pool = Pool::new(top, threads);
    let settled = super::file_time(SystemTime::now(), SETTLED);
    let worker = || Worker {
        ground,
        root,
        budget,
        pool: &pool,
        before,
        keep,
        settled,
        pending: Vec::new(),
        path: Vec::new(),
        seen: Part::default(),
    };
    let parts = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| worker().run())).collect();
        let mut parts = vec![worker().run()];
        for other in others {
            // A thread that has panicked has seen nothing, and says so.
            parts.push(other.join().unwrap_or(Part { cut: Some(UNREADABLE), ..Part::default() }));
        }
        parts
    });
    let mut seen = Seen::default();
    for part in parts {
        seen.marks.extend(part.marks);
        seen.known.extend(part.known);
        seen.read += part.read;
        seen.cut = seen.cut.or(part.cut);
    }
    seen
}

/// What one thread has seen.
#[derive(Default)]
struct Part {
    marks: Vec<(Vec<u8>, Mark)>,
    known: Vec<(Vec<u8>, Known)>,
    read: usize,
    cut: Option<&'static str>,
}

struct Worker<'a> {
    ground: &'a Ground,
    root: BorrowedFd<'a>,
    budget: &'a Budget,
    pool: &'a Pool,
    before: &'a Directories,
    keep: Remember,
    /// Only directories that changed before this are remembered; seconds and nanoseconds.
    settled: (i64, i64),
    pending: Vec<Work>,
    /// Of the entry that is looked at; kept for its room.
    path: Vec<u8>,
    seen: Part,
}

impl<'a> Worker<'a> {
    fn run(mut self) -> Part {
        let mut buffer = vec![0; BUFFER];
        while let Some(work) = self.pending.pop().or_else(|| self.pool.take()) {
            self.budget.memory.fetch_sub(work.weight(), Ordering::Relaxed);
            if self.budget.until < Instant::now() {
                self.stop(TOO_SLOW);
            }
            if !self.budget.spent.load(Ordering::Relaxed)
                && let Err(error) = self.directory(&work, &mut buffer)
            {
                self.failed(&work, error);
            }
            self.pool.share(&mut self.pending);
        }
        self.seen
    }

    fn failed(&mut self, work: &Work, error: Errno) {
        match error {
            // Gone, no directory any more, a link by now, or another file system.
            Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV => {}
            Errno::EACCES => self.keep(work.path.clone(), Mark::new(What::Unreadable, None)),
            Errno::ENAMETOOLONG => self.too_deep(),
            _ => self.cut(UNREADABLE),
        }
    }

    /// Returns what was known of a directory, if nothing of it is another now.
    fn known(
        &self,
        path: &[u8],
        place: Place,
        stamp: impl FnOnce() -> nix::Result<Stamp>,
    ) -> Option<&'a Known> {
        let known = self.before.get(path).filter(|known| known.place == place)?;
        stamp().is_ok_and(|stamp| stamp == known.stamp).then_some(known)
    }

    fn remember(&mut self, path: &[u8], known: Known) {
        let weight = path.len() + known.entries.len() * 64 + size_of::<(Vec<u8>, Known)>();
        // Half of the memory is for marks, without which nothing could be said.
        let fits = self.budget.memory.load(Ordering::Relaxed) + weight < self.budget.bounds.memory / 2;
        if fits && self.keep == Remember::Yes && !self.budget.spent.load(Ordering::Relaxed) {
            self.spend(weight);
            self.seen.known.push((path.to_vec(), known));
        }
    }

    /// A directory that is as it was known stays remembered.
    fn keep_known(&mut self, known: &Known) {
        if self.keep == Remember::Yes {
            known.visited.0.store(true, Ordering::Relaxed);
        }
    }

    fn cut(&mut self, why: &'static str) {
        self.seen.cut = self.seen.cut.or(Some(why));
    }

    /// Ends the walk; what is pending is dropped unread.
    fn stop(&mut self, why: &'static str) {
        self.cut(why);
        self.budget.spent.store(true, Ordering::Relaxed);
    }

    fn directory(&mut self, work: &Work, buffer: &mut [u8]) -> nix::Result<()> {
        if self.before.contains_key(&work.path) {
            let place = self.open(work, OFlag::O_PATH)?;
            if let Some(known) = self.known(&work.path, work.place, || own_stamp(place.as_fd())) {
                self.again(work, known, place.as_fd());
                return Ok(());
            }
        }
        let open = self.open(work, OFlag::O_RDONLY)?;
        // Before the names, so that a change meanwhile shows.
        let stamp = own_stamp(open.as_fd())?;
        let before = (self.pending.len(), self.seen.marks.len());
        let mut read = self.read(work, work.place, open.as_fd(), buffer)?;
        let is_repository = !work.place.git && read.layout.is_repository();
        if is_repository {
            // Git takes it for one, whatever its name: the same entries mean something else.
            for work in self.pending.drain(before.0..) {
                self.budget.memory.fetch_sub(work.weight(), Ordering::Relaxed);
            }
            self.seen.marks.truncate(before.1);
            lseek(&open, 0, Whence::SeekSet)?;
            read = self.read(work, work.place.as_git(), open.as_fd(), buffer)?;
            self.keep_repository(work);
        }
        self.seen.read += 1;
        if stamp.changed() < self.settled {
            let (place, entries) = (work.place, read.entries);
            let visited = Visited::default();
            self.remember(&work.path, Known { stamp, place, is_repository, entries, visited });
        }
        Ok(())
    }

    /// Goes through the entries of a directory whose names are known to be the same.
    fn again(&mut self, work: &Work, known: &Known, at: BorrowedFd<'_>) {
        let place = if known.is_repository { work.place.as_git() } else { work.place };
        for (count, (kind, inode, name)) in known.entries.iter().enumerate() {
            if count % 1024 == 1023 && self.budget.until < Instant::now() {
                return self.stop(TOO_SLOW);
            }
            if *kind != Kind::Directory || !self.same_and_plain(work, place, at, name) {
                self.entry(work, place, at, Entry { inode: *inode, kind: *kind, name });
            }
        }
        if known.is_repository {
            self.keep_repository(work);
        }
        self.keep_known(known);
    }

    /// Says whether a directory in one that is as it was known is as it was, too, and nothing in it counts. Almost all
    /// directories are of this kind.
    fn same_and_plain(&mut self, work: &Work, place: Place, at: BorrowedFd<'_>, name: &[u8]) -> bool {
        self.path.clear();
        if !work.path.is_empty() {
            self.path.extend_from_slice(&work.path);
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        let Some(known) = self.before.get(&self.path).filter(|known| known.is_plain()) else { return false };
        // What is remembered may be of a time when something else held here.
        let same = meaning(place, name).below == Some(known.place)
            && !self.ground.skip.contains(&self.path)
            && stamp(at, name).is_ok_and(|(_, stamp)| stamp == known.stamp);
        if same {
            self.keep_known(known);
        }
        same
    }

    fn keep_repository(&mut self, work: &Work) {
        if !work.place.of_git {
            self.keep(join(&work.path, b"HEAD"), Mark::new(What::File, Some(&BARE)));
        }
    }

    fn open(&self, work: &Work, access: OFlag) -> nix::Result<OwnedFd> {
        let mut flags = access | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
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

    fn read(
        &mut self,
        work: &Work,
        place: Place,
        open: BorrowedFd<'_>,
        buffer: &mut [u8],
    ) -> nix::Result<Read> {
        let mut read = Read::default();
        loop {
            let entries = directory::next(open, buffer)
                .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
            let Some(entries) = entries else { return Ok(read) };
            let mut count = 0;
            for entry in entries {
                count += 1;
                read.layout.note(entry.name);
                if self.entry(work, place, open, entry) {
                    read.entries.push((entry.kind, entry.inode, entry.name.into()));
                }
            }
            let entries = self.budget.entries.fetch_add(count, Ordering::Relaxed) + count;
            if entries > self.budget.bounds.entries {
                self.stop(TOO_MANY);
            } else if self.budget.until < Instant::now() {
                self.stop(TOO_SLOW);
            }
            if self.budget.spent.load(Ordering::Relaxed) {
                return Ok(read);
            }
        }
    }

    /// Looks at an entry; false for one that means nothing.
    fn entry(&mut self, work: &Work, place: Place, at: BorrowedFd<'_>, entry: Entry<'_>) -> bool {
        let meant = meaning(place, entry.name);
        let kind = match entry.kind {
            // Gone meanwhile: nothing to see.
            Kind::Unknown => stamp(at, entry.name).map_or(Kind::Unknown, |(kind, _)| kind),
            kind => kind,
        };
        let special = |what| Mark { inode: entry.inode, ..Mark::new(what, None) };
        let mark = match kind {
            Kind::Directory => return self.enter(work, &meant, at, entry),
            Kind::File => match meant.row {
                Some(row) => match stamp(at, entry.name) {
                    Ok((_, stamp)) => Mark { stamp: Some(stamp), ..Mark::new(What::File, Some(row)) },
                    Err(_) => return true,
                },
                None => return false,
            },
            Kind::Link => {
                self.link(work, &meant, at, entry);
                return true;
            }
            Kind::Fifo => special(What::Fifo),
            Kind::Socket => special(What::Socket),
            Kind::Device => special(What::Device),
            Kind::Unknown => return false,
        };
        self.keep(join(&work.path, entry.name), mark);
        true
    }

    fn enter(&mut self, work: &Work, meant: &Meaning, at: BorrowedFd<'_>, entry: Entry<'_>) -> bool {
        let Some(place) = meant.below else { return false };
        let path = join(&work.path, entry.name);
        // Another session may write to it.
        if self.ground.skip.contains(&path) {
            return true;
        }
        if place.git {
            let mark = Mark { inode: entry.inode, ..Mark::new(What::Directory, Some(&GIT)) };
            self.keep(path.clone(), mark);
        }
        let known = self.known(&path, place, || Ok(stamp(at, entry.name)?.1));
        match known.filter(|known| known.entries.is_empty() && !known.is_repository) {
            Some(known) => self.keep_known(known),
            None => self.push(Work { path, place, depth: work.depth + 1, behind: work.behind }),
        }
        true
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
        self.cut(TOO_DEEP);
    }

    fn keep(&mut self, path: Vec<u8>, mark: Mark) {
        if !self.ground.skip.contains(&path) {
            let target = mark.target.as_ref().map_or(0, |target| target.len());
            self.spend(size_of::<(Vec<u8>, Mark)>() + path.len() + target);
            self.seen.marks.push((path, mark));
        }
    }

    fn spend(&mut self, length: usize) {
        let memory = self.budget.memory.fetch_add(length, Ordering::Relaxed) + length;
        if memory > self.budget.bounds.memory {
            self.stop(TOO_MANY);
        }
    }
}

/// One pass over the names of a directory.
#[derive(Default)]
struct Read {
    layout: Layout,
    /// Those that mean something.
    entries: Vec<(Kind, u64, Box<[u8]>)>,
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
