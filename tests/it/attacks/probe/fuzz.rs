//! Every call by its number with arguments that none accepts: what a filter refuses shows.

use crate::Attempt;
use crate::sys::{Answer, Child, call, in_child, name};

/// Calls that end, stop or suspend the caller, or that act on the whole machine with any arguments.
#[cfg(target_arch = "x86_64")]
const SKIPPED: &[i64] = &[
    15,  // rt_sigreturn
    34,  // pause
    57,  // fork
    58,  // vfork
    60,  // exit
    62,  // kill
    130, // rt_sigsuspend
    153, // vhangup
    162, // sync
    200, // tkill
    231, // exit_group
    234, // tgkill
];
#[cfg(not(target_arch = "x86_64"))]
const SKIPPED: &[i64] = &[58, 81, 93, 94, 129, 130, 131, 133, 139];

pub const TABLE: &[(&str, Attempt)] = &[("numbers", |_| {
    let mut lines = Vec::new();
    for number in (0..=600).filter(|number| !SKIPPED.contains(number)) {
        let word = match in_child(|| call(number, &[-1; 6]).err().unwrap_or(0)) {
            Child::Exited(0) => "ok".to_owned(),
            Child::Exited(error) => name(error),
            Child::Killed(signal) => format!("signal {signal}"),
        };
        lines.push(format!("{number} {word}"));
    }
    Answer::blocked(lines.join("\n"))
})];
