//! Remotes as users have them: over ssh with a key, over HTTP with a password.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Domain, json};
use crate::sandbox::{Output, Project, is_root, make_executable, within};

const SSHD: &str = "/usr/sbin/sshd";
const APACHE: &str = "/usr/sbin/apache2";

/// How the server knows its user.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Ssh,
    Http,
}

/// A server on the loopback interface, and a project whose items it has.
struct Site {
    domain: Domain,
    kind: Kind,
    port: u16,
    server: Option<Child>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Site {
    fn new(kind: Kind) -> Self {
        let program = if kind == Kind::Ssh { SSHD } else { APACHE };
        // A skip that nobody sees is no test.
        assert!(Path::new(program).exists(), "`tests/run` installs {program}, which is not there");
        let domain = Domain(Project::new(""));
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut site = Site { domain, kind, port, server: None };
        site.domain.0.write_beside("server/repositories/empty", "");
        site.domain.git(&site.at(""), &["init", "-q", "--bare", "repositories/coordination.git"]);
        match kind {
            Kind::Ssh => site.set_up_ssh(),
            Kind::Http => site.set_up_http(),
        }
        site.let_in();
        site.start();
        site
    }

    fn at(&self, path: &str) -> PathBuf {
        self.domain.0.base().join("server").join(path)
    }

    fn repository(&self) -> PathBuf {
        self.at("repositories/coordination.git")
    }

    fn url(&self) -> String {
        match self.kind {
            Kind::Ssh => format!("coordination.example:{}", self.repository().display()),
            Kind::Http => format!("http://127.0.0.1:{}/git/coordination.git", self.port),
        }
    }

    fn set_up_ssh(&self) {
        for name in ["host_key", "user_key", "other_key"] {
            self.as_owner("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"], Some(name));
        }
        let at = |name: &str| self.at(name).display().to_string();
        let (port, user) = (self.port, self.user());
        let text = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\n",
            at("host_key"),
            at("authorized_keys")
        );
        self.domain.0.write_beside("server/sshd_config", text);
        let host_key = fs_err::read_to_string(self.at("host_key.pub")).unwrap();
        self.domain.0.write_beside("home/known_hosts", format!("[127.0.0.1]:{port} {host_key}"));
        let home = self.domain.0.home();
        let text = format!(
            "Host coordination.example\n  HostName 127.0.0.1\n  Port {port}\n  User {user}\n  IdentityFile {}\n  IdentitiesOnly yes\n  \
             IdentityAgent none\n  UserKnownHostsFile {}\n  GlobalKnownHostsFile /dev/null\n  BatchMode yes\n",
            at("user_key"),
            home.join("known_hosts").display()
        );
        self.domain.0.write_beside("home/ssh_config", text);
    }

    fn set_up_http(&self) {
        let programs = Command::new("git").arg("--exec-path").output().unwrap().stdout;
        let programs = String::from_utf8(programs).unwrap().trim().to_owned();
        let modules = [
            "mpm_prefork",
            "authn_core",
            "authn_file",
            "authz_core",
            "authz_user",
            "auth_basic",
            "alias",
            "env",
            "cgi",
        ];
        let load = |name: &str| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n");
        let mut text: String = modules.into_iter().map(load).collect();
        let at = self.at("").display().to_string();
        text.push_str(&format!(
            "ServerRoot {at}\nServerName 127.0.0.1\nListen 127.0.0.1:{}\nPidFile {at}/pid\nErrorLog {at}/errors\nMutex fcntl:{at}\n\
             SetEnv GIT_PROJECT_ROOT {at}/repositories\nSetEnv GIT_HTTP_EXPORT_ALL 1\n\
             ScriptAlias /git/ {programs}/git-http-backend/\n\
             <Directory {programs}>\nRequire all granted\n</Directory>\n\
             <Location /git/>\nAuthType Basic\nAuthName git\nAuthUserFile {at}/passwords\nRequire valid-user\n</Location>\n",
            self.port
        ));
        self.domain.0.write_beside("server/apache.conf", text);
        // Of the user `team` the password `secret`.
        self.domain.0.write_beside("server/passwords", "team:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n");
        self.domain.0.write_beside("home/.gitconfig", "[credential]\n\thelper = store\n");
    }

    /// Gives the user what the server asks for.
    fn let_in(&self) {
        match self.kind {
            Kind::Ssh => {
                let key = fs_err::read(self.at("user_key.pub")).unwrap();
                self.domain.0.write_beside("server/authorized_keys", key);
            }
            Kind::Http => self.password("secret"),
        }
    }

    fn keep_out(&self) {
        match self.kind {
            Kind::Ssh => self.domain.0.write_beside("server/authorized_keys", ""),
            Kind::Http => self.password("wrong"),
        }
    }

    fn password(&self, password: &str) {
        let text = format!("http://team:{password}@127.0.0.1%3a{}\n", self.port);
        self.domain.0.write_beside("home/.git-credentials", text);
    }

    fn user(&self) -> String {
        let said = Command::new("id").args(["-un", &self.domain.0.owner().to_string()]).output().unwrap();
        // ssh, and its server, know nobody without a name.
        assert!(said.status.success(), "`tests/run` makes a user 1000, who is not there");
        String::from_utf8(said.stdout).unwrap().trim().to_owned()
    }

    fn as_owner(&self, program: &str, words: &[&str], file: Option<&str>) {
        let mut command = Command::new(program);
        command.args(words).args(file.map(|name| self.at(name)));
        if is_root() {
            command.uid(self.domain.0.owner()).gid(self.domain.0.owner());
        }
        assert!(command.status().unwrap().success(), "{program} {words:?}");
    }

    fn start(&mut self) {
        let (program, words, file) = match self.kind {
            Kind::Ssh => (SSHD, &["-D", "-e", "-f"][..], "sshd_config"),
            Kind::Http => (APACHE, &["-D", "FOREGROUND", "-f"][..], "apache.conf"),
        };
        let mut command = Command::new(program);
        command.args(words).arg(self.at(file)).env_clear().env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // At its end Apache signals its whole process group.
        command.process_group(0);
        if is_root() {
            command.uid(self.domain.0.owner()).gid(self.domain.0.owner());
        }
        self.server = Some(command.spawn().unwrap());
        let port = self.port;
        let answers = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(within(Duration::from_secs(20), answers), "{program} answers");
    }

    fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // So that it ends those that it has started.
            let id = nix::unistd::Pid::from_raw(server.id().cast_signed());
            let _gone = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM);
            server.wait().unwrap();
        }
    }

    fn pier(&self, words: &[&str]) -> Output {
        let call = self.domain.call(words);
        match self.kind {
            Kind::Ssh => {
                let config = self.domain.0.home().join("ssh_config");
                call.env("GIT_SSH_COMMAND", format!("ssh -F {}", config.display()))
            }
            Kind::Http => call,
        }
        .run()
    }

    fn hook(&self, name: &str, script: &str) {
        let path = self.repository().join("hooks").join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, script).unwrap();
        make_executable(&path);
        self.domain.0.give_away();
    }

    fn status_of(&self, id: &str) -> String {
        let rows = json(&self.pier(&["list", "--json", "issues"]).expect(0));
        let row = rows.as_array().unwrap().iter().find(|row| row["id"] == id).unwrap();
        row["status"].as_str().unwrap().to_owned()
    }
}

/// From nothing to a closed issue, with two clones.
fn lifecycle(site: &Site) {
    let url = site.url();
    site.pier(&["bootstrap", "--remote", &url]).expect(0);
    let other = site.domain.0.base().join("other").display().to_string();
    site.pier(&["clone", "--dir", &other, &url]).expect(0);
    let made = json(&site.pier(&["new", "--json", "Over the wire"]).expect(0));
    assert_eq!(made["pushed"], true);
    let id = made["id"].as_str().unwrap();
    let there = |words: &[&str]| {
        let mut all = words.to_vec();
        all.extend(["--coord-dir", &other, id]);
        site.pier(&all)
    };
    there(&["claim", "--agent-id", "dev"]).expect(0);
    let said = site.pier(&["claim", "--agent-id", "late", id]).refused(1, "coord::refused");
    assert!(said.flat().contains("dev"), "{}", said.said());
    there(&["done", "--agent-id", "dev"]).expect(0);
    site.pier(&["review", "--pass", id]).expect(0);
    there(&["verify", "--pass"]).expect(0);
    let closed = json(&site.pier(&["close", "--json", id]).expect(0));
    assert_eq!((&closed["status"], &closed["pushed"]), (&"closed".into(), &true.into()));
    let log = site.domain.git(&site.repository(), &["log", "--format=%s", "main"]);
    let expected =
        ["Close", "Verify", "Review", "Mark", "Claim", "Add"].map(|word| word.to_owned() + " " + id);
    let expected = expected.map(|line| if line.starts_with("Mark") { line + " done" } else { line });
    assert_eq!(log.lines().take(6).collect::<Vec<_>>(), expected);
    for clone in [site.domain.clone_of(), other.clone().into()] {
        assert_eq!(site.domain.git(&clone, &["status", "--porcelain"]), "");
    }
}

/// What is refused is one error, and nobody believes to have what the remote has not.
fn refusals(site: &mut Site) {
    let made = json(&site.pier(&["new", "--json", "second"]).expect(0));
    let id = made["id"].as_str().unwrap();
    let url = site.url();
    let elsewhere = site.domain.0.base().join("elsewhere").display().to_string();
    let is_refused = |site: &Site, told: &str| {
        let head = site.domain.git(&site.domain.clone_of(), &["rev-parse", "HEAD"]);
        for words in [
            &["claim", id][..],
            &["claim", "--no-pull", id],
            &["pull"],
            &["clone", "--dir", &elsewhere, &url],
            &["init", "--dir", &elsewhere, "--remote", &url],
        ] {
            let said = site.pier(words).refused(1, "coord::remote").flat();
            assert!(said.contains(told), "{words:?}: {said}");
        }
        assert!(!Path::new(&elsewhere).exists());
        assert_eq!(site.domain.git(&site.domain.clone_of(), &["rev-parse", "HEAD"]), head);
        assert_eq!(site.domain.git(&site.domain.clone_of(), &["status", "--porcelain"]), "");
        assert_eq!(site.status_of(id), "open");
    };
    site.keep_out();
    is_refused(site, "the remote does not let you in:");
    site.let_in();
    site.stop();
    is_refused(site, "the remote cannot be reached:");
    let said = site.pier(&["comment", "--json", id, "offline"]).expect(0);
    assert_eq!(json(&said)["pushed"], false);
    assert!(said.flat().contains("until the next push"), "{}", said.said());
    site.start();
    // Who is cut off before the remote has decided, has nothing.
    site.hook("pre-receive", "#!/bin/sh\nkill -9 $PPID\n");
    site.pier(&["claim", "--agent-id", "a", id]).refused(1, "coord::remote");
    assert_eq!(site.status_of(id), "open");
    fs_err::remove_file(site.repository().join("hooks/pre-receive")).unwrap();
    // Who is cut off before the answer does not believe it either, and is told when asking again.
    site.hook("reference-transaction", "#!/bin/sh\n[ \"$1\" != committed ] || kill -9 $PPID\n");
    site.pier(&["claim", "--agent-id", "a", id]).refused(1, "coord::remote");
    assert_eq!(site.status_of(id), "open");
    fs_err::remove_file(site.repository().join("hooks/reference-transaction")).unwrap();
    site.pier(&["claim", "--agent-id", "b", id]).refused(1, "coord::refused");
    site.pier(&["claim", "--agent-id", "a", id]).expect(0);
    assert_eq!(site.status_of(id), "claimed");
    assert!(site.pier(&["log", id]).expect(0).text().contains("offline"));
}

#[test]
fn a_remote_outside_that_the_project_names_is_one_that_somebody_approves() {
    let project = Project::new("coordination { remote \"../outside.git\"; }\n");
    let domain = Domain(project);
    let said = domain.pier(&["bootstrap"]).refused(2, "coord::usage").flat();
    assert!(said.contains("pier trust"), "{said}");
    let shown = domain.0.pier(&["trust", "--show"]).expect(0).text();
    assert!(shown.contains("push to the coordination repository"), "{shown}");
    domain.pier(&["bootstrap"]).refused(2, "coord::usage");
    domain.0.pier(&["trust"]).expect(0);
    domain.pier(&["bootstrap"]).expect(0);
    let id = domain.issue("one");
    let outside = domain.0.base().join("outside.git");
    assert!(domain.git(&outside, &["log", "--format=%s", "main"]).contains(&id));
    // Of another place nobody has said anything.
    domain.0.write("pier.kdl", "coordination { remote \"../elsewhere.git\"; }\n");
    domain.pier(&["clone", "--dir", "/nowhere"]).refused(2, "coord::usage");
}

#[test]
fn over_ssh_as_a_user_has_it() {
    let mut site = Site::new(Kind::Ssh);
    lifecycle(&site);
    refusals(&mut site);
    // Another server at its address is not believed.
    let known = site.domain.0.home().join("known_hosts");
    let key = fs_err::read_to_string(site.at("other_key.pub")).unwrap();
    site.domain.0.write_beside("home/known_hosts", format!("[127.0.0.1]:{} {key}", site.port));
    let said = site.pier(&["pull"]).refused(1, "coord::remote").flat();
    assert!(said.contains("does not let you in: Host key verification failed"), "{said}");
    let key = fs_err::read_to_string(site.at("host_key.pub")).unwrap();
    fs_err::write(known, format!("[127.0.0.1]:{} {key}", site.port)).unwrap();
    // By the user's configuration in place of a variable.
    let config = site.domain.0.home().join("ssh_config");
    site.domain
        .0
        .write_beside("home/.gitconfig", format!("[core]\n\tsshCommand = ssh -F {}\n", config.display()));
    site.domain.pier(&["pull"]).expect(0);
}

#[test]
fn over_http_with_a_password() {
    let mut site = Site::new(Kind::Http);
    lifecycle(&site);
    refusals(&mut site);
    // What nobody has stored is not asked for: there may be nobody.
    fs_err::remove_file(site.domain.0.home().join(".git-credentials")).unwrap();
    let said = site.pier(&["pull"]).refused(1, "coord::remote").flat();
    assert!(said.contains("does not let you in: fatal: could not read Username"), "{said}");
}
