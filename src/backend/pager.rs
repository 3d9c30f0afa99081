//! A long answer goes through the user's pager.

use std::io::Write as _;
use std::process::{Child, ChildStdin, Command, Stdio};

/// What is used where the user names none: it ends by itself when all fits, and shows colours.
const USUAL: &[&str] = &["less", "-FRX"];

/// A pager that runs.
pub struct Pager {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Pager {
    /// Starts it; `None` where there is none, or the user wants none.
    pub fn open(wanted: Option<&str>) -> Option<Self> {
        let words: Vec<&str> = match wanted {
            Some(line) => line.split_whitespace().collect(),
            None => USUAL.to_vec(),
        };
        let (program, arguments) = words.split_first().filter(|(program, _)| **program != "cat")?;
        let mut child = Command::new(program).args(arguments).stdin(Stdio::piped()).spawn().ok()?;
        let pipe = child.stdin.take();
        Some(Pager { child, pipe })
    }

    /// Shows more text.
    pub fn put(&mut self, text: &str) {
        // A person who has seen enough closes it.
        if let Some(pipe) = &mut self.pipe
            && pipe.write_all(text.as_bytes()).is_err()
        {
            self.pipe = None;
        }
    }

    /// Waits until the person has seen enough.
    pub fn close(mut self) {
        drop(self.pipe.take());
        let _ended = self.child.wait();
    }
}
