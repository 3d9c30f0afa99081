{
  description = "pier: the declarative runtime for coding agents";

  inputs = {
    # Stable releases lag behind the `rust-version` in Cargo.toml.
    nixpkgs.url = "github:NixOS/nixpkgs/nixpkgs-unstable";
    flake-utils.url = "github:numtide/flake-utils";
  };

  outputs =
    { nixpkgs, flake-utils, ... }:
    let
      lib = import ./nix/lib.nix;
    in
    # bubblewrap and the namespaces behind it exist on Linux only.
    flake-utils.lib.eachSystem [ "x86_64-linux" "aarch64-linux" ] (
      system:
      let
        pkgs = nixpkgs.legacyPackages.${system};
        packages = import ./nix/packages.nix { inherit pkgs lib; };
      in
      {
        inherit packages;
        apps = import ./nix/apps.nix { inherit pkgs packages; };
        checks = import ./nix/checks.nix { inherit pkgs lib packages; };
        devShells = {
          # For work on pier itself.
          default = pkgs.callPackage ./nix/shell.nix { };
          # What the older tool's own flake opened.
          pi = lib.mkPiShell { inherit pkgs; };
        };
        formatter = pkgs.nixfmt-tree;
      }
    )
    // {
      inherit lib;
      overlays.default = import ./nix/overlay.nix;
      nixosModules.default = import ./nix/modules/nixos.nix lib;
      homeModules.default = import ./nix/modules/home.nix lib;
      # The name that older setups of home-manager look for.
      homeManagerModules.default = import ./nix/modules/home.nix lib;
      templates = import ./nix/templates;
    };
}
