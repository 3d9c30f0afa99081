{
  # As much of nixpkgs as pier's flake calls. It takes no attribute that pier does not use, and what it builds
  # is made of the host's programs.
  outputs =
    { self }:
    let
      lib = import ./lib.nix;
    in
    {
      inherit lib;
      legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (import ./packages.nix lib);
    };
}
