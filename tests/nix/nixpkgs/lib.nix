rec {
  importTOML = path: builtins.fromTOML (builtins.readFile path);
  cleanSource = path: builtins.path { inherit path; name = "source"; };
  optional = condition: value: if condition then [ value ] else [ ];
  optionals = condition: values: if condition then values else [ ];
  optionalAttrs = condition: values: if condition then values else { };
  optionalString = condition: text: if condition then text else "";
  makeBinPath = packages: builtins.concatStringsSep ":" (map (package: "${package}/bin") packages);
  escapeShellArg = text: "'${builtins.replaceStrings [ "'" ] [ "'\\''" ] (toString text)}'";
  escapeShellArgs = texts: builtins.concatStringsSep " " (map escapeShellArg texts);
  versionAtLeast = have: need: builtins.compareVersions have need >= 0;
  assertMsg = condition: message: condition || throw message;
  genAttrs =
    names: value: builtins.listToAttrs (map (name: { inherit name; value = value name; }) names);
  recursiveUpdate =
    left: right:
    left
    // builtins.mapAttrs (
      name: value:
      if builtins.isAttrs value && builtins.isAttrs (left.${name} or null) then
        recursiveUpdate left.${name} value
      else
        value
    ) right;
  licenses.asl20.spdxId = "Apache-2.0";
  platforms.linux = [ "x86_64-linux" "aarch64-linux" ];

  # Of the module system, enough for one module whose options are at one place.
  mkOption =
    { type, default ? null, defaultText ? null, example ? null, description }@option: option;
  mkEnableOption = description: mkOption { inherit description; type = types.bool; default = false; };
  mkIf = condition: content: { inherit condition content; };
  mkMerge = contents: { inherit contents; };
  literalExpression = text: { inherit text; };
  types = {
    bool = builtins.isBool;
    package = value: value ? outPath;
    anything = _: true;
    attrsOf = type: value: builtins.isAttrs value && builtins.all type (builtins.attrValues value);
  };
}
