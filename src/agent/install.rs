//! Where agents are had from, at a version: packages of npm and of the Python Package Index.

/// Where an agent comes from when pier installs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Install {
    Npm(Npm),
    Pypi(Pypi),
    /// Only found on the host or in the image, never installed.
    Never,
}

impl Install {
    /// Returns the name of the package.
    pub fn package(self) -> Option<&'static str> {
        match self {
            Install::Npm(npm) => Some(npm.package),
            Install::Pypi(pypi) => Some(pypi.package),
            Install::Never => None,
        }
    }
}

/// A package of the npm registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Npm {
    pub package: &'static str,
    /// The key in the package's `bin` table. The path behind it is read from the package, for it moves between
    /// versions (`cli.js` became `bin/claude.exe`).
    pub bin: &'static str,
    /// The oldest major version of Node that any supported release runs on; the package's own `engines` may
    /// ask for more.
    pub minimum_node: u32,
    pub scripts: Scripts,
}

/// A package of the Python Package Index. Wheels are taken, of which nothing runs at the installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pypi {
    pub package: &'static str,
    /// The name of its console script.
    pub script: &'static str,
    /// Packages that it needs and does not name.
    pub with: &'static [&'static str],
    /// Packages that it needs and that are there as source alone: their set-up runs at the installation.
    pub sources: &'static [&'static str],
    /// The versions of Python that it runs on, `MAJOR.MINOR`, best first.
    pub pythons: &'static [&'static str],
}

/// Whether the package works without running code at installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scripts {
    /// Its post-install step places a native program.
    Needed,
    Skipped,
}
