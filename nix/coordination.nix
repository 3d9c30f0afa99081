# Roles and coordination commands. This version of pier has none of the commands: what is asked for by name says so,
# and what stands in a list is an empty one, so that shells and packages which name it still work.
let
  later =
    what: throw "pier: ${what} is not available yet: coordination comes with a later version";
in
{
  agentCoordCommandNames = [ ];
  mkAgentCoordCommands = pkgs: { };
  mkAgentCoordCommand = pkgs: name: later "`${name}`";
  mkAgentCoordSupport = pkgs: later "`mkAgentCoordSupport`";

  # The Pi package of roles, as Pi loads it. pier has a copy of it in itself, so the launchers do not name it.
  mkRoleManagerPackage =
    pkgs:
    pkgs.runCommand "pi-role-manager" { } ''
      mkdir -p $out
      cp -r ${../extensions/pi-role-manager}/. $out/
    '';

  mkCoordinationNote =
    pkgs:
    pkgs.runCommand "pi-coordination-note" { } ''
      mkdir -p $out/share/doc/pier
      echo "Not available yet: coordination comes with a later version of pier." > $out/share/doc/pier/coordination.txt
    '';
}
