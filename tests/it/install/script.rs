//! `install.sh` in a POSIX shell, with releases from a server on loopback.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::thread;

use super::*;

/// The name of the archive for this machine.
fn archive() -> String {
    format!("pier-{}-unknown-linux-musl.tar.gz", std::env::consts::ARCH)
}

/// Serves the files below a directory until the test process ends; returns the URL of the directory.
fn serve(directory: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let request = lines.next().unwrap_or_default();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let name = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
            let (status, body) = match fs_err::read(directory.join(name)) {
                Ok(body) => ("200 OK", body),
                Err(_) => ("404 Not Found", Vec::new()),
            };
            let head = format!("HTTP/1.0 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
            // A client that has gone away has seen enough.
            let _closed = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    url
}

/// Makes a directory as a release has it, with a stand-in for the program: copying the real one, which a debug build makes
/// large, is for one test.
fn release(project: &Project, name: &str, program: &[u8]) -> PathBuf {
    let directory = project.base().join("releases").join(name);
    fs_err::create_dir_all(&directory).unwrap();
    fs_err::write(directory.join("pier"), program).unwrap();
    crate::sandbox::make_executable(&directory.join("pier"));
    let script = format!("tar -czf {0} pier && rm pier && sha256sum {0} > SHA256SUMS", archive());
    let status = Command::new("sh").args(["-c", &script]).current_dir(&directory).status().unwrap();
    assert!(status.success());
    directory
}

/// A program that writes its words beside the prefix.
const STAND_IN: &[u8] = b"#!/bin/sh\nprintf '%s\\n' \"$@\" >\"$HOME/words\"\n";

/// Runs the script as `curl … | sh -s -- WORDS` does.
fn piped(project: &Project, url: &str, words: &[&str]) -> Output {
    let script = fs_err::read(concat!(env!("CARGO_MANIFEST_DIR"), "/install.sh")).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-s", "--"]).args(words);
    let temporary = project.base().join("tmp");
    fs_err::create_dir_all(&temporary).unwrap();
    let output =
        project.surround(shell).env("PIER_BASE_URL", url).env("TMPDIR", &temporary).stdin(script).run();
    assert_eq!(
        fs_err::read_dir(&temporary).unwrap().count(),
        0,
        "nothing is left in the temporary directory"
    );
    output
}

/// Expects the script to end with this code and to have run nothing.
#[track_caller]
fn fails(project: &Project, url: &str, words: &[&str], code: i32) -> String {
    let said = piped(project, url, words).expect(code).said();
    assert!(said.starts_with("install.sh: ") || said.contains("\ninstall.sh: "), "{said}");
    assert!(all(&project.home()).is_empty(), "{said}");
    said
}

#[test]
fn a_release_is_installed_and_removed_again() {
    let project = Project::bare();
    release(&project, "", &fs_err::read(PIER).unwrap());
    let url = serve(project.base().join("releases"));
    let prefix = prefix(&project);
    piped(&project, &url, &["--prefix", prefix.to_str().unwrap(), "--", "--old-names"]).expect(0);
    let installed = all(&prefix);
    assert!(matches!(installed["bin/pier"], Is::File(0o755, _)) && installed.contains_key("bin/pi-env"));
    own(&project, &["uninstall"]).expect(0);
    assert!(!prefix.exists());
}

#[test]
fn the_version_chooses_the_directory_and_words_are_passed_on() {
    let project = Project::bare();
    release(&project, "v1.2.3", STAND_IN);
    let url = serve(project.base().join("releases")) + "/";
    piped(&project, &url, &["--version", "1.2.3", "--", "--force"]).expect(0);
    let words = fs_err::read_to_string(project.home().join("words")).unwrap();
    let local = project.home().join(".local");
    assert_eq!(words, format!("self\ninstall\n--prefix\n{}\n--force\n", local.display()));
    fs_err::remove_file(project.home().join("words")).unwrap();
    let said = fails(&project, &url, &["--version=9.9.9"], 1);
    assert!(said.contains("cannot fetch") && said.contains("v9.9.9/SHA256SUMS"), "{said}");
}

#[test]
fn what_is_not_what_the_sums_say_is_not_run() {
    let project = Project::bare();
    let directory = release(&project, "", STAND_IN);
    let url = serve(directory.clone());
    let sums = fs_err::read_to_string(directory.join("SHA256SUMS")).unwrap();
    let zeros = format!("{}  {}\n", "0".repeat(64), archive());
    for (changed, expected) in [
        (zeros.as_str(), "is not what SHA256SUMS says"),
        ("", "does not name"),
        (&sums.replace(".tar", "-other.tar"), "does not name"),
        (&format!("{sums}{zeros}"), "twice"),
        (&sums.replacen(' ', "g ", 1), "no SHA-256"),
    ] {
        fs_err::write(directory.join("SHA256SUMS"), changed).unwrap();
        let said = fails(&project, &url, &[], 1);
        assert!(said.contains(expected), "{said}");
    }
    fs_err::write(directory.join("SHA256SUMS"), sums).unwrap();
    fs_err::remove_file(directory.join(archive())).unwrap();
    let said = fails(&project, &url, &[], 1);
    assert!(said.contains("cannot fetch"), "{said}");
    // The right digest of something else.
    fs_err::write(directory.join(archive()), "no archive").unwrap();
    let script = format!("sha256sum {} > SHA256SUMS", archive());
    Command::new("sh").args(["-c", &script]).current_dir(&directory).status().unwrap();
    let said = fails(&project, &url, &[], 1);
    assert!(said.contains("there is no pier in"), "{said}");
}

#[test]
fn bad_words_are_told_before_anything_is_fetched() {
    let project = Project::bare();
    let url = "http://127.0.0.1:9";
    for (words, expected) in [
        (&["--prefix", "out"][..], "not an absolute path: out"),
        (&["--prefix"], "--prefix needs a value"),
        (&["--version", "../x"], "this is no version"),
        (&["--frobnicate"], "no option --frobnicate"),
    ] {
        let said = fails(&project, url, words, 2);
        assert!(said.contains(expected), "{said}");
    }
    let said = fails(&project, "", &[], 2);
    assert!(said.contains("PIER_BASE_URL is not set"), "{said}");
    let output = piped(&project, url, &["--help"]).expect(0);
    assert!(output.text().starts_with("Usage: install.sh"), "{}", output.text());
}

#[test]
fn a_script_that_was_cut_off_does_nothing() {
    let project = Project::bare();
    let url = serve(release(&project, "", STAND_IN));
    let script = fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/install.sh")).unwrap();
    for length in (0..script.len() - "main \"$@\"\n".len()).step_by(97) {
        if !script.is_char_boundary(length) {
            continue;
        }
        let mut shell = Command::new("sh");
        shell.args(["-s"]);
        project.surround(shell).env("PIER_BASE_URL", &url).stdin(&script[..length]).run();
        assert!(all(&project.home()).is_empty(), "cut at {length}");
    }
}
