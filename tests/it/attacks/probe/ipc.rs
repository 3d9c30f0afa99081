//! Shared memory, semaphores and queues of the host, found by their keys and names.

use crate::Attempt;
use crate::sys::{self, Answer, at, call, judge_success, nr};

const CREATE: i64 = 0o1000;

pub const TABLE: &[(&str, Attempt)] = &[
    // On the host: makes what an attacker looks for, and removes it again.
    ("ipc-make", |args| {
        let made = each(key(args), 0o666 | CREATE);
        let name = sys::text(&args[1]);
        let queue = call(nr::MQ_OPEN, &[name.as_ptr() as _, 0o102, 0o666, 0]);
        Answer::blocked(format!("{made:?} {queue:?}"))
    }),
    ("ipc-remove", |args| {
        let [memory, semaphore, queue] = each(key(args), 0);
        let remove = |number: i64, id: sys::Done, arguments: &[i64]| {
            id.and_then(|id| call(number, &[&[id], arguments].concat())).is_ok()
        };
        let removed = [
            remove(nr::SHMCTL, memory, &[0, 0]),
            remove(nr::SEMCTL, semaphore, &[0, 0]),
            remove(nr::MSGCTL, queue, &[0, 0]),
        ];
        unlink_queue(&args[1]);
        Answer::blocked(format!("{removed:?}"))
    }),
    ("ipc-find", |args| {
        let names = ["shared memory", "semaphores", "message queue"];
        let found = each(key(args), 0);
        let mut open: Vec<&str> =
            names.iter().zip(&found).filter(|(_, id)| id.is_ok()).map(|(name, _)| *name).collect();
        if call(nr::MQ_OPEN, &[sys::text(&args[1]).as_ptr() as _, 0, 0, 0]).is_ok() {
            open.push("POSIX queue");
        }
        if open.is_empty() { Answer::blocked("none is there") } else { Answer::reachable(open.join(", ")) }
    }),
    ("memfd-exec", |args| {
        let descriptor = match call(nr::MEMFD_CREATE, &[sys::text("x").as_ptr() as _, 0]) {
            Ok(descriptor) => descriptor,
            Err(error) => return Answer::blocked(sys::name(error)),
        };
        let path = format!("/proc/self/fd/{descriptor}");
        if std::fs::copy(&args[0], &path).is_err() {
            return Answer::unknown("cannot fill it");
        }
        let empty = sys::text("");
        let none: [*const u8; 1] = [std::ptr::null()];
        judge_success(call(nr::EXECVEAT, &[descriptor, empty.as_ptr() as _, at(&none), at(&none), 0x1000]))
    }),
];

fn key(args: &[String]) -> i64 {
    args[0].parse().unwrap()
}

fn each(key: i64, flags: i64) -> [sys::Done; 3] {
    [
        call(nr::SHMGET, &[key, if flags == 0 { 0 } else { 4096 }, flags]),
        call(nr::SEMGET, &[key, i64::from(flags != 0), flags]),
        call(nr::MSGGET, &[key, flags]),
    ]
}

fn unlink_queue(name: &str) {
    #[cfg(target_arch = "x86_64")]
    const MQ_UNLINK: i64 = 241;
    #[cfg(target_arch = "aarch64")]
    const MQ_UNLINK: i64 = 181;
    // Gone already is as good.
    let _gone = call(MQ_UNLINK, &[sys::text(name).as_ptr() as _]);
}
