# What `nix run` starts: pier, or an old name after `#`.
{ pkgs, packages }:

let
  names = builtins.attrNames ((import ./launchers.nix).mkLaunchers pkgs);

  app = name: {
    type = "app";
    program = "${packages.${name}}/bin/${name}";
  };
in
pkgs.lib.genAttrs ([ "pier" ] ++ names) app // { default = app "pier"; }
