//! A program that has the whole screen: it draws the size, follows it, and hears the keys of signals.

use std::ffi::{c_int, c_short};
use std::io::{Read as _, Write as _};

use crate::Attempt;
use crate::sys::{Answer, getpid, kill};

unsafe extern "C" {
    fn sigemptyset(set: *mut SignalSet) -> c_int;
    fn sigaddset(set: *mut SignalSet, signal: c_int) -> c_int;
    fn sigprocmask(how: c_int, set: *const SignalSet, old: *mut SignalSet) -> c_int;
    fn signalfd(fd: c_int, set: *const SignalSet, flags: c_int) -> c_int;
    fn poll(fds: *mut Poll, count: u64, timeout: c_int) -> c_int;
    fn read(fd: c_int, buffer: *mut u8, count: usize) -> isize;
    fn tcgetattr(fd: c_int, modes: *mut Modes) -> c_int;
    fn tcsetattr(fd: c_int, when: c_int, modes: *const Modes) -> c_int;
    fn ioctl(fd: c_int, request: u64, ...) -> c_int;
}

/// 128 bytes, as in glibc and musl.
type SignalSet = [u64; 16];
/// Room for `struct termios`; the fourth word is the local modes.
type Modes = [u32; 16];

#[repr(C)]
struct Poll {
    fd: c_int,
    events: c_short,
    revents: c_short,
}

const TIOCGWINSZ: u64 = 0x5413;
/// `ICANON` and `ECHO`.
const LINES: u32 = 0o2 | 0o10;
const SIGINT: c_int = 2;
const SIGCONT: c_int = 18;
const SIGSTOP: c_int = 19;
const SIGTSTP: c_int = 20;
const SIGWINCH: c_int = 28;

pub const TABLE: &[(&str, Attempt)] = &[("screen", |_| {
    // SAFETY: one thread, and every pointer is to a value of this function that is large enough.
    unsafe {
        let mut set: SignalSet = [0; 16];
        sigemptyset(&raw mut set);
        for signal in [SIGINT, SIGCONT, SIGTSTP, SIGWINCH] {
            sigaddset(&raw mut set, signal);
        }
        sigprocmask(0, &raw const set, std::ptr::null_mut());
        let heard = signalfd(-1, &raw const set, 0);
        let mut before: Modes = [0; 16];
        if heard < 0 || tcgetattr(0, &raw mut before) != 0 {
            return Answer::unknown("no terminal");
        }
        enter(&before);
        loop {
            let mut wait = [0, heard].map(|fd| Poll { fd, events: 1, revents: 0 });
            poll(wait.as_mut_ptr(), 2, -1);
            if wait[1].revents != 0 {
                let mut record = [0_u32; 32];
                read(heard, record.as_mut_ptr().cast(), 128);
                match c_int::try_from(record[0]).unwrap_or(0) {
                    SIGINT => say("interrupted\r\n"),
                    SIGTSTP => {
                        leave(&before);
                        kill(getpid(), SIGSTOP);
                        enter(&before);
                        say("continued\r\n");
                    }
                    SIGWINCH => draw(),
                    _ => {}
                }
            }
            let mut key = [0_u8];
            if wait[0].revents != 0 && (std::io::stdin().read(&mut key).unwrap_or(0) == 0 || key[0] == b'q') {
                leave(&before);
                std::process::exit(7);
            }
        }
    }
})];

fn enter(before: &Modes) {
    let mut modes = *before;
    modes[3] &= !LINES;
    // SAFETY: the record is large enough.
    unsafe { tcsetattr(0, 0, &raw const modes) };
    say("\x1b[?1049h");
    draw();
}

fn leave(before: &Modes) {
    say("\x1b[?1049l");
    // SAFETY: the record is large enough.
    unsafe { tcsetattr(0, 0, before) };
}

fn draw() {
    let mut size = [0_u16; 4];
    // SAFETY: the record is four short words.
    unsafe { ioctl(0, TIOCGWINSZ, &raw mut size) };
    say(&format!("\x1b[2J\x1b[Hsize {} {}\r\n", size[0], size[1]));
}

fn say(text: &str) {
    let mut out = std::io::stdout();
    // A terminal that has gone away ends the program by the end of its input.
    let _gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
