//! The names by which older tools called what pier does; links of these names to pier are made on request.

/// Every name, in the order of the tools that had them.
pub const NAMES: &[&str] = &[
    "pi-env",
    "pi-start",
    "pi-bwrap",
    "pienv",
    "pi-env-shell",
    "pi-env-bwrap",
    "install-non-nix",
    "pi-env-install-non-nix",
    "pi-env-uninstall",
];
