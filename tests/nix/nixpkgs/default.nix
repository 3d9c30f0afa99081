{ system }: import ./packages.nix (import ./lib.nix) system
