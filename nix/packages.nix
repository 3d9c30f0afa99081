# Everything that can be installed. The bundles have the names and contents of the older tool's.
{ pkgs, lib }:

let
  inherit (import ./launchers.nix) mkLaunchers;
  coordination = import ./coordination.nix;

  pier = lib.mkPier pkgs;
  launchers = mkLaunchers pkgs;
  core = lib.mkRuntime pkgs ++ [ pier ] ++ builtins.attrValues launchers;
  helpers = [
    (coordination.mkCoordinationNote pkgs)
  ]
  ++ builtins.attrValues (lib.mkAgentCoordCommands pkgs);
  bundle = name: paths: pkgs.buildEnv { inherit name paths; };
in
launchers
// rec {
  default = pier;
  inherit pier;
  pi-core = bundle "pi-core" core;
  pi-coordination = bundle "pi-coordination" helpers;
  pi-env-coordination = pi-coordination;
  pi-runtime = bundle "pi-runtime" (core ++ helpers);
  pi-role-manager = lib.mkRoleManagerPackage pkgs;
}
