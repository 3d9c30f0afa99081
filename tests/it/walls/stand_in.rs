//! Stands in for bubblewrap and builds another sandbox than it was told to: the file `mode` beside the record says
//! which. Compiled by the test with the standard library alone.

use std::ffi::c_int;
use std::os::fd::FromRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

const RECORD: &str = env!("RECORD");

#[repr(C)]
struct Instruction {
    code: u16,
    when: u8,
    otherwise: u8,
    value: u32,
}

#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

unsafe extern "C" {
    fn prctl(option: c_int, ...) -> c_int;
    fn memfd_create(name: *const std::ffi::c_char, flags: u32) -> c_int;
}

/// Makes every Landlock call answer "not implemented", as on a kernel without it.
fn without_landlock() {
    let instruction = |code, when, otherwise, value| Instruction { code, when, otherwise, value };
    let filter = [
        instruction(0x20, 0, 0, 0),
        instruction(0x35, 0, 2, 444),
        instruction(0x25, 1, 0, 446),
        instruction(0x06, 0, 0, 0x0005_0000 | 38),
        instruction(0x06, 0, 0, 0x7fff_0000),
    ];
    let program = Program { length: filter.len() as u16, instructions: filter.as_ptr() };
    unsafe {
        assert_eq!(prctl(38, 1u64, 0u64, 0u64, 0u64), 0);
        assert_eq!(prctl(22, 2u64, &program), 0);
    }
}

fn replace(words: &mut [String], option: &str, at: &str, by: &dyn Fn(&mut [String])) {
    let found = words.windows(3).position(|three| three[0] == option && three[2] == at);
    by(&mut words[found.unwrap()..]);
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mode = std::fs::read_to_string(format!("{RECORD}/mode")).unwrap();
    if arguments[0] == "--version" {
        panic!("{}", Command::new("/usr/bin/bwrap").args(&arguments).exec());
    }
    let options = std::fs::read(format!("/proc/self/fd/{}", arguments[1])).unwrap();
    let mut words: Vec<String> =
        options.split(|byte| *byte == 0).map(|word| String::from_utf8(word.to_vec()).unwrap()).collect();
    words.pop();
    match mode.as_str() {
        "writable" => replace(&mut words, "--ro-bind", "/usr", &|three| three[0] = "--bind".into()),
        "another" => replace(&mut words, "--bind", "/workspace", &|three| three[1] = RECORD.into()),
        "more" => {
            let proc = words.iter().position(|word| word == "--proc").unwrap();
            words.splice(proc..proc, ["--ro-bind", "/etc", "/mnt"].map(str::to_owned)).for_each(drop);
        }
        "shared-network" => words.retain(|word| word != "--unshare-net"),
        "shared-processes" => words.retain(|word| word != "--unshare-ipc"),
        "capable" => {
            let drop = words.iter().position(|word| word == "--cap-drop").unwrap();
            words.drain(drop..drop + 2);
            words.extend(["--cap-add", "CAP_NET_ADMIN"].map(str::to_owned));
        }
        "no-landlock" => without_landlock(),
        other => panic!("what is {other}?"),
    }
    let mut blob = Vec::new();
    for word in &words {
        blob.extend_from_slice(word.as_bytes());
        blob.push(0);
    }
    let number = unsafe { memfd_create(c"changed".as_ptr(), 0) };
    let mut file = unsafe { std::fs::File::from_raw_fd(number) };
    std::io::Write::write_all(&mut file, &blob).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let mut command = Command::new("/usr/bin/bwrap");
    command.arg("--args").arg(number.to_string()).args(&arguments[2..]);
    std::mem::forget(file);
    panic!("{}", command.exec());
}
