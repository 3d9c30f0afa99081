//! Tracing on standard error: off by default, by `-v`, or by `PIER_LOG`.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Starts tracing; a `PIER_LOG` that cannot be read is said and otherwise ignored.
#[expect(
    clippy::disallowed_methods,
    reason = "read before the environment is taken, so that taking it is traced"
)]
pub fn start(verbose: u8) {
    let wanted = std::env::var("PIER_LOG").ok().filter(|wanted| !wanted.is_empty());
    let level = match verbose {
        0 => LevelFilter::OFF,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let targets = match wanted.as_deref().map(str::parse::<Targets>) {
        Some(Ok(targets)) => targets,
        Some(Err(_)) => {
            crate::ui::warn("`PIER_LOG` is neither a level nor `module=level`; see `pier --help`");
            Targets::new().with_default(level)
        }
        None if level == LevelFilter::OFF => return,
        None => Targets::new().with_default(level),
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(true);
    // A second subscriber cannot be there: this is called once.
    let _set = tracing_subscriber::registry().with(layer).with(targets).try_init();
}
