//! A real image registry on loopback, where engines take one without TLS.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::docker_with;
use crate::sandbox::within;

/// A login of the registry, and how its file says it: a published test vector of bcrypt.
pub const LOGIN: &str = "tester:U*U";
const HASHED: &str = "tester:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n";

/// `tester:U*U` in base64.
pub const ENCODED: &str = "dGVzdGVyOlUqVQ==";

pub struct Registry {
    pub address: String,
    directory: tempfile::TempDir,
    server: Child,
}

/// Whether a registry asks who somebody is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    Nobody,
    Everybody,
}

impl Registry {
    pub fn start(asks: Asks) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let path = |name: &str| directory.path().join(name);
        let mut config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
            storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {address}}}\n",
            path("data").display()
        );
        if asks == Asks::Everybody {
            fs_err::write(path("users"), HASHED).unwrap();
            config
                .push_str(&format!("auth: {{htpasswd: {{realm: r, path: {}}}}}\n", path("users").display()));
        }
        fs_err::write(path("config.yml"), config).unwrap();
        fs_err::write(path("config.json"), login(&address)).unwrap();
        let mut server = Command::new("docker-registry");
        server
            .arg("serve")
            .arg(path("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let server = server.spawn().unwrap();
        let peer: SocketAddr = address.parse().unwrap();
        assert!(within(Duration::from_secs(20), || TcpStream::connect(peer).is_ok()), "the registry starts");
        Registry { address, directory, server }
    }

    /// Where Docker's client finds the login.
    fn settings(&self) -> &Path {
        self.directory.path()
    }

    /// Puts an image there; its tag stays on this host.
    pub fn push(&self, image: &str, name: &str) {
        let reference = format!("{}/{name}", self.address);
        docker_with(&["tag", image, &reference], b"", self.settings());
        docker_with(&["push", "--quiet", &reference], b"", self.settings());
    }

    /// Removes every image of the registry from this host. The container of a session that has just ended may still be
    /// on its way out.
    pub fn forget(&self) {
        let gone = within(Duration::from_secs(20), || {
            let names = self.names();
            for name in &names {
                let address = std::env::var(super::VARIABLE).unwrap();
                let mut docker = Command::new("docker");
                // The digest goes with the last tag.
                docker.args(["rmi", name]).env("DOCKER_HOST", address).output().unwrap();
            }
            names.is_empty()
        });
        assert!(gone, "{:?}", self.names());
    }

    fn names(&self) -> Vec<String> {
        let filter = format!("reference={}/*", self.address);
        let format = "{{.Repository}}:{{.Tag}} {{.Repository}}@{{.Digest}}";
        let said = docker_with(
            &["images", "--digests", "--filter", &filter, "--format", format],
            b"",
            self.settings(),
        );
        let names = said.split_whitespace().filter(|name| !name.ends_with("<none>"));
        names.map(str::to_owned).collect()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.forget();
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

/// Docker's configuration with the login.
pub fn login(address: &str) -> String {
    format!("{{\"auths\":{{\"{address}\":{{\"auth\":\"{ENCODED}\"}}}}}}")
}
