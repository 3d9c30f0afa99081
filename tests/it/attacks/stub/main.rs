//! Stands in for bubblewrap where a mistake makes every mount writable, then becomes the real one.

use std::os::unix::process::CommandExt;
use std::process::Command;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut command = Command::new("/usr/bin/bwrap");
    if words[0] == "--args" {
        let options = std::fs::read(format!("/proc/self/fd/{}", words[1])).unwrap();
        let options = options.split(|byte| *byte == 0).map(|word| String::from_utf8(word.to_vec()).unwrap());
        let mut options = options.collect::<Vec<_>>().into_iter();
        // Behind the last one is nothing.
        while let Some(word) = options.next().filter(|word| !word.is_empty()) {
            match word.as_str() {
                "--ro-bind" => command.arg("--bind"),
                "--ro-bind-fd" => command.arg("--bind-fd"),
                "--remount-ro" => {
                    options.next();
                    &mut command
                }
                _ => command.arg(word),
            };
        }
        command.args(&words[2..]);
    } else {
        command.args(&words);
    }
    panic!("{}", command.exec());
}
