//! The variables that every command in a workspace has, printed by pier there: called as `/.pier/init __variables`. Their values are in
//! the memory of the workspace's init, and nowhere else.

use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;

/// What the program is called with.
pub const WORD: &str = "__variables";

/// Prints names and values, each pair with a NUL behind it.
pub fn main() -> ExitCode {
    let mut text = Vec::new();
    for (name, value) in std::env::vars_os() {
        text.extend_from_slice(name.as_bytes());
        text.push(b'=');
        text.extend_from_slice(value.as_bytes());
        text.push(0);
    }
    match io::stdout().lock().write_all(&text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Reads what was printed; what is no text is left out.
pub fn parse(bytes: &[u8]) -> Vec<(String, String)> {
    let pair = |line: &[u8]| {
        let (name, value) = std::str::from_utf8(line).ok()?.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    bytes.split(|byte| *byte == 0).filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_back_whatever_is_in_a_value() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let read = parse(b"A=1\0LINES=a=b\nc\0EMPTY=\0ODD=\xff\0none\0");
        assert_eq!(read, [pair("A", "1"), pair("LINES", "a=b\nc"), pair("EMPTY", "")]);
        assert!(parse(b"").is_empty());
    }
}
