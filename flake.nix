{
  description = "pier: the declarative runtime for coding agents";

  inputs = {
    # Stable releases lag behind the `rust-version` in Cargo.toml.
    nixpkgs.url = "github:NixOS/nixpkgs/nixpkgs-unstable";
    flake-utils.url = "github:numtide/flake-utils";
  };

  outputs =
    { nixpkgs, flake-utils, ... }:
    # bubblewrap and the namespaces behind it exist on Linux only.
    flake-utils.lib.eachSystem [ "x86_64-linux" "aarch64-linux" ] (
      system:
      let
        pkgs = nixpkgs.legacyPackages.${system};
        pier = pkgs.callPackage ./nix/package.nix { };
      in
      {
        packages = {
          inherit pier;
          default = pier;
        };
        checks.pier = pier;
        devShells.default = pkgs.callPackage ./nix/shell.nix { };
        formatter = pkgs.nixfmt-tree;
      }
    );
}
