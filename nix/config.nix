# A `pier.kdl` in the store, which pier itself has found valid.
{
  pkgs,
  config,
  name ? "pier.kdl",
  # What it includes, by the names that it has there: it is not valid without.
  files ? { },
}:

let
  inherit (pkgs.lib) escapeShellArg;
  pier = pkgs.callPackage ./package.nix { };
  place = file: source: "install -D -m 644 ${source} ${escapeShellArg file}";
in
pkgs.runCommand name
  {
    text = import ./kdl.nix config;
    passAsFile = [ "text" ];
    nativeBuildInputs = [ pier ];
  }
  ''
    ${builtins.concatStringsSep "\n" (builtins.attrValues (builtins.mapAttrs place files))}
    cp "$textPath" ${escapeShellArg name}
    HOME=$TMPDIR pier validate ${escapeShellArg name}
    cp ${escapeShellArg name} $out
  ''
