//! `install.sh` in a POSIX shell, with releases from a server on loopback.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::Stdio;
use std::thread;

use super::*;

/// The name of the archive for this machine.
fn archive() -> String {
    format!("pier-{}-unknown-linux-musl.tar.gz", std::env::consts::ARCH)
}

/// Answers each path by a head and a body until the test process ends; returns the URL of the server.
fn answer(reply: impl Fn(&str) -> (String, Vec<u8>) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let request = lines.next().unwrap_or_default();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let (head, body) = reply(request.split(' ').nth(1).unwrap_or_default());
            let head = format!("HTTP/1.0 {head}\r\nContent-Length: {}\r\n\r\n", body.len());
            // A client that has gone away has seen enough.
            let _closed = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
        }
    });
    url
}

/// Serves the files below a directory until the test process ends; returns the URL of the directory.
fn serve(directory: PathBuf) -> String {
    answer(move |path| match fs_err::read(directory.join(path.trim_start_matches('/'))) {
        Ok(body) => ("200 OK".to_owned(), body),
        Err(_) => ("404 Not Found".to_owned(), Vec::new()),
    })
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
    piped_with(project, url, words, &[])
}

/// The same with more variables.
fn piped_with(project: &Project, url: &str, words: &[&str], set: &[(&str, &str)]) -> Output {
    let script = fs_err::read(concat!(env!("CARGO_MANIFEST_DIR"), "/install.sh")).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-s", "--"]).args(words);
    let temporary = project.base().join("tmp");
    fs_err::create_dir_all(&temporary).unwrap();
    let call = project.surround(shell).env("PIER_BASE_URL", url).env("TMPDIR", &temporary).stdin(script);
    let output = set.iter().fold(call, |call, (name, value)| call.env(name, value)).run();
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
        (&["--prefix="], "the prefix is empty"),
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
fn a_step_that_fails_ends_it() {
    let project = Project::bare();
    let url = serve(release(&project, "", STAND_IN));
    for name in ["mktemp", "uname", "curl", "awk", "sha256sum", "cut", "tar"] {
        let stubs = project.base().join(format!("without-{name}"));
        fs_err::create_dir(&stubs).unwrap();
        fs_err::write(stubs.join(name), "#!/bin/sh\nexit 1\n").unwrap();
        crate::sandbox::make_executable(&stubs.join(name));
        let path = format!("{}:/usr/bin:/bin", stubs.display());
        // Where there is no temporary directory, it must not come so far as to write what it fetched elsewhere.
        let url = if name == "mktemp" { "http://127.0.0.1:9" } else { &url };
        let said = piped_with(&project, url, &[], &[("PATH", &path)]).expect(1).said();
        assert!(said.contains("install.sh: ") && all(&project.home()).is_empty(), "{name}: {said}");
        assert!(name != "mktemp" || said.contains("cannot make a temporary directory"), "{said}");
    }
    // As on a file system that programs may not be run from.
    fs_err::write(project.base().join("releases/pier"), STAND_IN).unwrap();
    let directory = project.base().join("releases");
    let script = format!("chmod 644 pier && tar -czf {0} pier && sha256sum {0} > SHA256SUMS", archive());
    Command::new("sh").args(["-c", &script]).current_dir(&directory).status().unwrap();
    let said = fails(&project, &url, &[], 1);
    assert!(said.contains("noexec") && said.contains("TMPDIR"), "{said}");
}

#[test]
fn a_script_that_was_cut_off_does_nothing() {
    let project = Project::bare();
    let url = serve(release(&project, "", STAND_IN));
    let script = fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/install.sh")).unwrap();
    for length in (0..script.len() - "}\n".len()).rev().step_by(97) {
        if !script.is_char_boundary(length) {
            continue;
        }
        let mut shell = Command::new("sh");
        shell.args(["-s"]);
        project.surround(shell).env("PIER_BASE_URL", &url).stdin(&script[..length]).run();
        assert!(all(&project.home()).is_empty(), "cut at {length}");
    }
}

#[test]
fn http_is_for_this_machine_alone_unless_it_is_asked_for() {
    let project = Project::bare();
    let directory = release(&project, "", STAND_IN);
    for url in [
        "http://example.com/pier",
        "http://127.0.0.1.example.com",
        "http://localhost@example.com/",
        "http://localhost:80@example.com/",
        "ftp://127.0.0.1/",
        "HTTP://127.0.0.1/",
        "127.0.0.1/",
    ] {
        let said = fails(&project, url, &[], 2);
        assert!(said.contains("PIER_BASE_URL is not https"), "{said}");
    }
    let words = project.home().join("words");
    piped(&project, &format!("file://{}", directory.display()), &[]).expect(0);
    fs_err::remove_file(&words).unwrap();
    let url = serve(directory);
    piped(&project, &url.replace("127.0.0.1", "localhost"), &[]).expect(0);
    fs_err::remove_file(&words).unwrap();
    // Another name of the same address.
    let url = url.replace("127.0.0.1", "127.1");
    fails(&project, &url, &[], 2);
    piped_with(&project, &url, &[], &[("PIER_ALLOW_HTTP", "1")]).expect(0);
    assert!(words.exists());
}

#[test]
fn http_of_this_machine_leads_to_no_http_elsewhere() {
    let project = Project::bare();
    let there = serve(release(&project, "", STAND_IN)).replace("127.0.0.1", "127.1");
    // A server that sends everybody on.
    let url = answer(move |path| (format!("302 Found\r\nLocation: {there}{path}"), Vec::new()));
    fails(&project, &url, &[], 1);
    piped_with(&project, &url, &[], &[("PIER_ALLOW_HTTP", "1")]).expect(0);
    assert!(project.home().join("words").exists());
}

/// A server with TLS that answers with the files of a directory as they are, head and body; ends with its value.
struct Tls {
    server: std::process::Child,
    url: String,
}

impl Tls {
    fn serve(directory: &Path) -> Self {
        let status = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem"])
            .args(["-subj", "/CN=pier", "-addext", "subjectAltName=IP:127.0.0.1"])
            .current_dir(directory)
            .stderr(Stdio::null())
            .status();
        assert!(status.unwrap().success());
        let mut server = Command::new("openssl")
            .args(["s_server", "-HTTP", "-accept", "127.0.0.1:0", "-cert", "cert.pem", "-key", "key.pem"])
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines().map_while(Result::ok);
        let line = lines.find(|line| line.starts_with("ACCEPT ")).unwrap();
        // What it says is read to its end: a full pipe would hold it up.
        thread::spawn(move || lines.for_each(drop));
        let url = format!("https://{}", line.trim_start_matches("ACCEPT "));
        Tls { server, url }
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ended = self.server.kill();
        let _ended = self.server.wait();
    }
}

#[test]
fn https_stays_https_wherever_it_leads() {
    let project = Project::bare();
    let released = release(&project, "", STAND_IN);
    let plain = serve(released.clone());
    let directory = project.base().join("tls");
    fs_err::create_dir_all(&directory).unwrap();
    let tls = Tls::serve(&directory);
    let certificate = directory.join("cert.pem").display().to_string();
    let settings = directory.join("wgetrc").display().to_string();
    fs_err::write(&settings, format!("ca_certificate = {certificate}\n")).unwrap();
    // A machine without curl.
    let without = project.base().join("without-curl");
    fs_err::create_dir_all(&without).unwrap();
    for name in
        ["sh", "wget", "grep", "uname", "mktemp", "rm", "awk", "sha256sum", "cut", "tar", "gzip", "cat"]
    {
        let found = Command::new("sh").args(["-c", "command -v \"$0\"", name]).output().unwrap();
        symlink(String::from_utf8(found.stdout).unwrap().trim(), without.join(name)).unwrap();
    }
    let without = without.display().to_string();
    let with_curl = [("CURL_CA_BUNDLE", certificate.as_str())];
    let with_wget = [("WGETRC", settings.as_str()), ("PATH", without.as_str())];
    let without_proxy = [with_wget[0], with_wget[1], ("no_proxy", "127.0.0.1")];
    for set in [&with_curl[..], &with_wget, &without_proxy] {
        for name in ["SHA256SUMS".to_owned(), archive()] {
            let head = format!("HTTP/1.0 302 Found\r\nLocation: {plain}/{name}\r\n\r\n");
            fs_err::write(directory.join(name), head).unwrap();
        }
        let said = piped_with(&project, &tls.url, &[], set).expect(1).said();
        assert!(said.contains("cannot fetch https://"), "{said}");
        assert_eq!(said.contains("install curl"), set.len() > 1, "{said}");
        assert!(!project.home().join("words").exists());
        // The same without the redirect: it was nothing else.
        for name in ["SHA256SUMS".to_owned(), archive()] {
            let body = fs_err::read(released.join(&name)).unwrap();
            let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            fs_err::write(directory.join(name), [head.as_bytes(), &body].concat()).unwrap();
        }
        piped_with(&project, &tls.url, &[], set).expect(0);
        fs_err::remove_file(project.home().join("words")).unwrap();
    }
}
