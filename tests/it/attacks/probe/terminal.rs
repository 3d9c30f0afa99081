//! Requests that type into a terminal as if a person did.

use crate::Attempt;
use crate::sys::{self, Answer, call, nr};

const STI: i64 = 0x5412;
const LINUX: i64 = 0x541c;
const CONSOLE: i64 = 0x541d;
/// The kernel looks at the low 32 bits alone.
const HIGH: i64 = 1 << 32;

pub const TABLE: &[(&str, Attempt)] = &[
    ("tiocsti", |args| type_in(STI, args)),
    ("tiocsti-high", |args| type_in(STI | HIGH, args)),
    ("tioclinux", |_| request(LINUX)),
    ("tioclinux-high", |_| request(LINUX | HIGH)),
    ("tioccons", |_| request(CONSOLE)),
];

fn type_in(request: i64, args: &[String]) -> Answer {
    let text = args.first().map_or("x", String::as_str);
    for byte in text.bytes() {
        if let Err(error) = call(nr::IOCTL, &[0, request, sys::at(&byte)]) {
            return judge(error);
        }
    }
    Answer::reachable("typed")
}

fn request(request: i64) -> Answer {
    // 6: which key is shifted, a question alone.
    match call(nr::IOCTL, &[0, request, sys::at(&6_u8)]) {
        Ok(_) => Answer::reachable("worked"),
        Err(error) => judge(error),
    }
}

fn judge(error: i32) -> Answer {
    match error {
        // EIO: switched off for the whole machine.
        sys::EPERM | 5 => Answer::blocked(sys::name(error)),
        error => Answer::reachable(format!("looked at: {}", sys::name(error))),
    }
}
