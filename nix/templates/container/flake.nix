{
  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixpkgs-unstable";
    # Put in where you have pier from: a clone like this one, or the reference of a forge.
    pier.url = "git+file:///path/to/pier";
    pier.inputs.nixpkgs.follows = "nixpkgs";
  };

  outputs =
    { nixpkgs, pier, ... }:
    {
      devShells = nixpkgs.lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (
        system:
        let
          pkgs = nixpkgs.legacyPackages.${system};
        in
        {
          # For people: pier and its tools.
          default = pier.lib.mkPierShell {
            inherit pkgs;
            extraPackages = [
              # pkgs.gnumake
            ];
          };
        }
      );
    };
}
