# Coordination commands and roles. This version of pier has none of them: what is asked for by name says so, and
# what stands in a list is an empty one, so that shells and packages which name it still work.
let
  later =
    what: throw "pier: ${what} is not available yet: coordination and roles come with a later version";
in
{
  agentCoordCommandNames = [ ];
  mkAgentCoordCommands = pkgs: { };
  mkAgentCoordCommand = pkgs: name: later "`${name}`";
  mkAgentCoordSupport = pkgs: later "`mkAgentCoordSupport`";

  # No Pi package: Pi would load it, and there is nothing to load. So nothing sets PI_ENV_ROLE_MANAGER_PACKAGE.
  mkRoleManagerPackage =
    pkgs:
    pkgs.runCommand "pi-role-manager" { } ''
      mkdir -p $out/share/doc/pier
      echo "Not available yet: roles come with a later version of pier." > $out/share/doc/pier/roles.txt
    '';

  mkCoordinationNote =
    pkgs:
    pkgs.runCommand "pi-coordination-note" { } ''
      mkdir -p $out/share/doc/pier
      echo "Not available yet: coordination comes with a later version of pier." > $out/share/doc/pier/coordination.txt
    '';
}
