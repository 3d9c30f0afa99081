//! The scripted model server as a program: `cargo run --example model-server`.

#[path = "mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests use the rest")]
mod model_server;

use std::io::{self, Write as _};
use std::thread;

use clap::Parser;
use model_server::{Failure, ModelServer, Script};

/// Answer agents from a script instead of a model
#[derive(Parser)]
struct Options {
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// What the model does: hello, multi, big, utf8, slow or late
    #[arg(long, default_value = "hello")]
    scenario: Script,
    /// Make every model call fail: an error status, cut or hang
    #[arg(long, conflicts_with = "scenario")]
    fail: Option<Failure>,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let script = options.fail.map_or(options.scenario, Script::Fail);
    let server = ModelServer::start_on(options.port, script)?;
    writeln!(io::stdout(), "listening on {}", server.url())?;
    // The server's own threads do the rest, until a signal ends the program.
    loop {
        thread::park();
    }
}
