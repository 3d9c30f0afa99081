//! Stands in for bubblewrap: writes down what it was given, then becomes the real one.

use std::os::unix::process::CommandExt;
use std::process::Command;

const RECORD: &str = env!("RECORD");

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words[0] != "--version" {
        // A new description of the memory file has a read position of its own.
        let open = |number: &str| std::fs::read(format!("/proc/self/fd/{number}")).unwrap();
        assert_eq!(words[0], "--args");
        let options = open(&words[1]);
        let options: Vec<String> = options
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8(word.to_vec()).unwrap())
            .collect();
        for pair in options.windows(3).filter(|pair| pair[0] == "--file") {
            std::fs::write(format!("{RECORD}/file{}", pair[2].replace('/', "-")), open(&pair[1])).unwrap();
        }
        std::fs::write(format!("{RECORD}/options"), options.join("\n")).unwrap();
        std::fs::write(format!("{RECORD}/command"), words[2..].join("\n")).unwrap();
    }
    panic!("{}", Command::new("/usr/bin/bwrap").args(&words).exec());
}
