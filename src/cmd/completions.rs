//! `pier completions`: what a shell needs to complete pier's command lines.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::diag::Exit;
use crate::ui;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pier completions bash > ~/.local/share/bash-completion/completions/pier\n  pier completions zsh > ~/.zfunc/_pier"
)]
pub struct Completions {
    /// The shell.
    shell: Shell,
}

pub fn run(args: &Completions) -> Exit {
    ui::write_out(&String::from_utf8_lossy(&script(args.shell)));
    Exit::Done
}

/// Returns the script of a shell.
pub fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::Cli::command(), "pier", &mut script);
    script
}
