{
  lib,
  stdenv,
  mkShell,
  bubblewrap,
  cargo,
  clippy,
  git,
  glibc,
  rustc,
  rustfmt,
}:

mkShell {
  packages = [
    bubblewrap
    cargo
    clippy
    git
    rustc
    rustfmt
  ];

  # `.cargo/config.toml` links statically.
  buildInputs = lib.optional stdenv.hostPlatform.isGnu glibc.static;
}
