//! Steps at which a debug build can be made to fail, so that a test can fail at every one of them. A release build
//! has none of it: the calls are empty.

/// Where to fail, as `step:kill` or `step:error`, or to stop, as `step:stop`. Set once, before anything starts.
#[cfg(debug_assertions)]
static ARMED: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// Chooses the step.
#[cfg(debug_assertions)]
pub fn arm(text: String) {
    // A second choice is none: the first one is kept.
    let _first = ARMED.set(text);
}

/// Returns what was chosen, for the init inside.
#[cfg(debug_assertions)]
pub fn armed() -> Option<&'static str> {
    ARMED.get().map(String::as_str)
}

/// A step that fails cleanly, or at which the process is killed.
#[cfg(debug_assertions)]
pub fn reach(step: &'static str) -> std::io::Result<()> {
    match armed().and_then(|armed| armed.strip_prefix(step)) {
        Some(":kill") => {
            // What no process can prepare for; it never returns, except in PID 1, which nothing inside can kill.
            nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL)?;
            // SAFETY: ends the process and touches no memory.
            unsafe { nix::libc::_exit(137) }
        }
        // Until the test goes on with it.
        Some(":stop") => {
            Ok(nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGSTOP)?)
        }
        Some(":error") => Err(std::io::Error::other(format!("failpoint {step}"))),
        _ => Ok(()),
    }
}

#[cfg(not(debug_assertions))]
#[inline]
#[expect(clippy::unnecessary_wraps, reason = "the same signature as in a debug build")]
pub fn reach(_step: &'static str) -> std::io::Result<()> {
    Ok(())
}

/// A step after the command has started, at which the session goes wrong.
pub fn trip(step: &'static str) -> std::io::Result<()> {
    reach(step)
}

/// A step after the command has started, at which the process can only be killed.
pub fn pass(step: &'static str) {
    // An error is not asked for here, and would have nobody to go to.
    let _killed = reach(step);
}
