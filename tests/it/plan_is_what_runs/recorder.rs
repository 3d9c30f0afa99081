//! Stands in for bubblewrap: writes down what it was given, then becomes the real one.

use std::io::Write;
use std::os::fd::IntoRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

const RECORD: &str = env!("RECORD");

fn main() {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    if words[0] != "--version" {
        // A new description of the memory file has a read position of its own.
        let open = |number: &str| std::fs::read(format!("/proc/self/fd/{number}")).unwrap();
        assert_eq!(words[0], "--args");
        // From a pipe, so that they have to be given again.
        let bytes = open(&words[1]);
        let (again, mut pipe) = std::io::pipe().unwrap();
        pipe.write_all(&bytes).unwrap();
        let again = std::fs::File::from(std::os::fd::OwnedFd::from(again));
        words[1] = inherited(again).to_string();
        let options: Vec<String> = bytes
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8(word.to_vec()).unwrap())
            .collect();
        for pair in options.windows(3).filter(|pair| pair[0] == "--file") {
            std::fs::write(format!("{RECORD}/file{}", pair[2].replace('/', "-")), open(&pair[1])).unwrap();
        }
        std::fs::write(format!("{RECORD}/options"), options.join("\n")).unwrap();
        std::fs::write(format!("{RECORD}/command"), words[2..].join("\n")).unwrap();
        // Written while bubblewrap works.
        let mut manifest = open("7");
        while !manifest.ends_with(b"}") {
            std::thread::sleep(std::time::Duration::from_millis(1));
            manifest = open("7");
        }
        std::fs::write(format!("{RECORD}/manifest"), manifest).unwrap();
    }
    panic!("{}", Command::new("/usr/bin/bwrap").args(&words).exec());
}

/// Returns the number of a descriptor that stays open in the next program.
fn inherited(file: std::fs::File) -> i32 {
    unsafe extern "C" {
        fn dup(fd: i32) -> i32;
    }
    unsafe { dup(file.into_raw_fd()) }
}
