//! Other processes, limits, and processes that want to stay.

use std::io::Write as _;
use std::time::Duration;

use crate::Attempt;
use crate::sys::{self, Answer, Child, at, at_mut, call, in_child, judge, nr};

pub const TABLE: &[(&str, Attempt)] = &[
    ("ptrace", |args| {
        let target = pid(args);
        // Seized, not attached: nobody is stopped, and the end of this process lets go.
        match in_child(|| call(nr::PTRACE, &[0x4206, target, 0, 0]).err().unwrap_or(0)) {
            Child::Exited(0) => Answer::reachable("seized"),
            Child::Exited(error) => judge(Err(error)),
            Child::Killed(signal) => Answer::blocked(format!("killed by signal {signal}")),
        }
    }),
    // The address is nobody's: EFAULT comes after the check of the privilege.
    ("process-vm", |args| {
        let mut buffer = [0_u8; 8];
        let local = [at_mut(&mut buffer), 8];
        let remote = [8_i64, 8];
        judge(call(nr::PROCESS_VM_READV, &[pid(args), at(&local), 1, at(&remote), 1, 0]))
    }),
    ("pidfd-getfd", |args| match call(sys::PIDFD_OPEN, &[pid(args), 0]) {
        Ok(descriptor) => judge(call(sys::PIDFD_GETFD, &[descriptor, 0, 0])),
        Err(error) => Answer::blocked(sys::name(error)),
    }),
    ("kill", |args| judge(call_kill(pid(args)))),
    ("fds", |_| {
        let own = std::fs::read_dir("/proc/self/fd").unwrap();
        let mut open: Vec<String> = own
            .flatten()
            .filter_map(|entry| {
                let number: i32 = entry.file_name().to_str()?.parse().ok()?;
                let target = std::fs::read_link(entry.path()).ok()?;
                // The listing itself.
                (number > 2 && !target.ends_with("fd")).then(|| format!("{number} is {}", target.display()))
            })
            .collect();
        open.sort();
        if open.is_empty() { Answer::blocked("0 1 2") } else { Answer::reachable(open.join(", ")) }
    }),
    // At most so many processes that live until all were tried; says how many there were.
    ("forks", |args| {
        let most: usize = args[0].parse().unwrap();
        let mut made = Vec::new();
        while made.len() < most {
            // SAFETY: the program has one thread.
            match unsafe { sys::fork() } {
                0 => {
                    std::thread::sleep(Duration::from_secs(20));
                    // SAFETY: ends the copy.
                    unsafe { sys::_exit(0) };
                }
                -1 => break,
                child => made.push(child),
            }
        }
        for child in &made {
            // SAFETY: children of this process.
            unsafe { sys::kill(*child, 9) };
        }
        for child in &made {
            // SAFETY: as above.
            unsafe { sys::waitpid(*child, std::ptr::null_mut(), 0) };
        }
        let text = format!("made {}", made.len());
        if made.len() < most { Answer::blocked(text) } else { Answer::reachable(text) }
    }),
    // Touches so many MiB, one after the other.
    ("mem", |args| {
        let most: usize = args[0].parse().unwrap();
        let mut held: Vec<Vec<u8>> = Vec::new();
        for _ in 0..most {
            let mut block: Vec<u8> = Vec::new();
            if block.try_reserve_exact(1 << 20).is_err() {
                return Answer::blocked(format!("{} MiB", held.len()));
            }
            block.resize(1 << 20, 1);
            held.push(block);
        }
        Answer::reachable(format!("{} MiB", held.len()))
    }),
    // Two forks, a session of its own, deaf to what ends others; writes a line whenever it still lives.
    ("daemon", |args| {
        let (path, seconds) = (args[0].clone(), args[1].parse::<u64>().unwrap());
        // SAFETY: the program has one thread.
        unsafe {
            if sys::fork() != 0 {
                return Answer::reachable("left behind");
            }
            sys::setsid();
            if sys::fork() != 0 {
                sys::_exit(0);
            }
            for signal in [1, 2, 3, 15] {
                sys::signal(signal, 1);
            }
            for descriptor in 0..3 {
                sys::close(descriptor);
            }
        }
        for _ in 0..seconds * 20 {
            let file = std::fs::OpenOptions::new().append(true).create(true).open(&path);
            if file.and_then(|mut file| file.write_all(b".")).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        // SAFETY: ends the daemon without a word.
        unsafe { sys::_exit(0) }
    }),
    // Ends by the signal that leaves a core file, with as large a core file as is allowed.
    ("crash", |_| {
        raise_limit(4, u64::MAX);
        // SAFETY: the default action of the signal is wanted.
        unsafe { sys::kill(sys::getpid(), 11) };
        Answer::unknown("still there")
    }),
    ("limits", |_| {
        // Number, name, the most that a session may be given.
        let table: [(i64, &str, u64); 5] = [
            (4, "core", 1),
            (8, "locked memory", 64 << 20),
            (13, "nice", 0),
            (14, "real time", 0),
            (7, "open files", 1 << 20),
        ];
        let limit = |number| get_limit(number).1;
        let open: Vec<String> = table
            .iter()
            .filter(|(number, _, most)| limit(*number) > *most)
            .map(|(number, name, _)| format!("{name} {}", show(limit(*number))))
            .collect();
        if open.is_empty() { Answer::blocked("all are set") } else { Answer::reachable(open.join(", ")) }
    }),
    ("priority", |_| {
        unsafe extern "C" {
            fn setpriority(which: i32, who: u32, priority: i32) -> i32;
            fn sched_setscheduler(pid: i32, policy: i32, parameter: *const i32) -> i32;
        }
        let mut open = Vec::new();
        // SAFETY: changes this process alone.
        unsafe {
            if setpriority(0, 0, -5) == 0 {
                open.push("nice -5");
            }
            if sched_setscheduler(0, 1, &10) == 0 {
                open.push("fifo 10");
            }
        }
        if open.is_empty() { Answer::blocked("neither") } else { Answer::reachable(open.join(", ")) }
    }),
];

fn pid(args: &[String]) -> i64 {
    args[0].parse().unwrap()
}

fn call_kill(target: i64) -> sys::Done {
    // SAFETY: signal 0 asks whether one could be sent.
    let done = unsafe { sys::kill(i32::try_from(target).unwrap_or(-1), 0) };
    match (done, sys::last()) {
        (0, _) => Ok(0),
        // Nobody of that number is as good as nobody at all.
        (_, 3) => Err(sys::EPERM),
        (_, error) => Err(error),
    }
}

fn show(limit: u64) -> String {
    if limit == u64::MAX { "without end".into() } else { limit.to_string() }
}

unsafe extern "C" {
    fn getrlimit(number: i64, limit: *mut u64) -> i32;
    fn setrlimit(number: i64, limit: *const u64) -> i32;
}

fn get_limit(number: i64) -> (u64, u64) {
    let mut limit = [0_u64; 2];
    // SAFETY: the kernel fills two numbers.
    unsafe { getrlimit(number, limit.as_mut_ptr()) };
    (limit[0], limit[1])
}

fn raise_limit(number: i64, most: u64) {
    let hard = get_limit(number).1;
    let limit = [hard.min(most), hard];
    // SAFETY: the kernel reads two numbers.
    unsafe { setrlimit(number, limit.as_ptr()) };
}
