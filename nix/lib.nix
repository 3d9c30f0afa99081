# What other flakes call. Nothing here depends on a system: each function takes the caller's `pkgs`.
let
  tools = import ./tools.nix;
  launchers = import ./launchers.nix;
  coordination = import ./coordination.nix;
  shells = import ./shells.nix;
in
{
  mkPier = pkgs: pkgs.callPackage ./package.nix { };
  mkPierConfig = import ./config.nix;
  toKDL = import ./kdl.nix;

  inherit (tools) defaultTools mkRuntime mkDevShellTools;
  inherit (launchers)
    mkPiBwrap
    mkPiEnv
    mkPiStart
    mkPiEnvBwrap
    mkPiEnvShell
    mkPienv
    mkInstallNonNixCommands
    ;
  inherit (coordination)
    agentCoordCommandNames
    mkAgentCoordSupport
    mkAgentCoordCommand
    mkAgentCoordCommands
    mkRoleManagerPackage
    ;
  inherit (shells) mkPiShell mkPierShell;
}
