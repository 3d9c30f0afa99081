{
  # As much of flake-utils as pier's flake calls.
  outputs =
    { self }:
    {
      lib = rec {
        eachSystem =
          systems: each:
          let
            add =
              made: system:
              made
              // builtins.mapAttrs (name: value: (made.${name} or { }) // { ${system} = value; }) (each system);
          in
          builtins.foldl' add { } systems;
        eachDefaultSystem = eachSystem [ "x86_64-linux" "aarch64-linux" ];
      };
    };
}
