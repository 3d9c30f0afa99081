//! The first bytes of a file: a native program, or a script and who reads it.

use std::io::Read as _;

use camino::Utf8Path;

use super::Error;

/// Enough for the longest wrapper script that package managers write, in bytes.
const MAX_BYTES: u64 = 16 * 1024;

/// What the kernel would make of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Head {
    Native,
    Script {
        /// The name after `env`, or an absolute path.
        interpreter: String,
        /// The start of the script.
        text: String,
    },
}

impl Head {
    pub fn read(path: &Utf8Path) -> Result<Self, Error> {
        let failed = |source| Error::Read { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        let file = fs_err::File::open(path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(Error::NotAProgram { path: path.to_owned() });
        }
        file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.starts_with(b"\x7fELF") {
            return Ok(Head::Native);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let line = text.strip_prefix("#!").and_then(|rest| rest.lines().next());
        match line.and_then(interpreter) {
            Some(interpreter) => Ok(Head::Script { interpreter, text }),
            None => Err(Error::NotAProgram { path: path.to_owned() }),
        }
    }
}

/// Returns whom a `#!` line names: `node` of `/usr/bin/env -S FOO=1 node --flag`.
fn interpreter(line: &str) -> Option<String> {
    let mut words = line.split_ascii_whitespace();
    let first = words.next()?;
    if !first.starts_with('/') {
        return None;
    }
    if !first.ends_with("/env") {
        return Some(first.to_owned());
    }
    words.find(|word| !word.starts_with('-') && !word.contains('=')).map(ToOwned::to_owned)
}

/// Says whether the interpreter is a shell that every sandbox has.
pub fn is_shell(interpreter: &str) -> bool {
    matches!(
        interpreter,
        "/bin/sh" | "/bin/bash" | "/usr/bin/sh" | "/usr/bin/bash" | "/bin/dash" | "sh" | "bash"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters() {
        for (line, expected) in [
            ("/usr/bin/env node", Some("node")),
            (" /usr/bin/env -S node --no-warnings", Some("node")),
            ("/usr/bin/env -S FOO=1 node", Some("node")),
            ("/opt/node/bin/node --flag", Some("/opt/node/bin/node")),
            ("/bin/sh", Some("/bin/sh")),
            ("/usr/bin/env", None),
            ("node", None),
            ("", None),
        ] {
            assert_eq!(interpreter(line).as_deref(), expected, "{line}");
        }
    }
}
