//! pier's own binary as PID 1 in a root filesystem that has nothing but busybox.

use std::path::Path;
use std::process::{Command, Stdio};

/// Runs busybox under the init, without a supervisor; returns code, output and what went wrong.
fn run(words: &[&str]) -> Option<(Option<i32>, String, String)> {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    let Some(busybox) = busybox.filter(|_| Path::new("/usr/bin/bwrap").exists()) else {
        assert!(std::env::var_os("CI").is_none(), "busybox-static and bubblewrap are needed");
        println!("skipped: busybox or bubblewrap is not there");
        return None;
    };
    let mut command = Command::new("/usr/bin/bwrap");
    command.args([
        "--unshare-all",
        "--as-pid-1",
        "--die-with-parent",
        "--clearenv",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
    ]);
    command.args(["--ro-bind", busybox, "/bin/busybox", "--ro-bind", crate::sandbox::PIER, "/.pier/init"]);
    command.args(["--", "/.pier/init", "__init", "--"]).args(words);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Some((output.status.code(), text(output.stdout), text(output.stderr)))
}

#[test]
fn the_init_runs_where_there_is_no_dynamic_loader() {
    let Some(found) = run(&["/bin/busybox", "sh", "-c", "echo $$; exit 7"]) else { return };
    assert_eq!(found, (Some(7), "2\n".to_owned(), String::new()));
}

#[test]
fn the_init_tells_a_missing_command_by_its_code() {
    let Some((code, _, _)) = run(&["/bin/nothing"]) else { return };
    assert_eq!(code, Some(127));
}

#[test]
fn the_init_tells_a_file_that_cannot_run_by_its_code() {
    let Some((code, _, _)) = run(&["/proc"]) else { return };
    assert_eq!(code, Some(126));
}
