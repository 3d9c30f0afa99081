# What a module of pier defines, given the settings below `programs.pier` and the rest of a configuration. As the real
# module system, it refuses settings that are no option or of another type, and what an assertion forbids.
{
  pkgs,
  module,
  settings,
  rest ? { },
}:
let
  inherit (pkgs) lib;
  inherit (builtins) attrNames foldl' mapAttrs;
  opened = (builtins.head module.imports) {
    inherit lib pkgs;
    config = rest // { programs.pier = chosen; };
  };
  options = opened.options.programs.pier;
  chosen =
    assert lib.assertMsg (removeAttrs settings (attrNames options) == { }) "no such option";
    mapAttrs (
      name: option:
      let
        value = settings.${name} or option.default;
      in
      assert lib.assertMsg (option.type value) "`${name}` has another type";
      value
    ) options;
  definitions =
    definition:
    if definition ? contents then
      builtins.concatMap definitions definition.contents
    else if definition ? condition then
      if definition.condition then definitions definition.content else [ ]
    else
      [ definition ];
in
let
  defined = foldl' lib.recursiveUpdate { } (definitions opened.config);
in
assert builtins.all (one: lib.assertMsg one.assertion one.message) (defined.assertions or [ ]);
removeAttrs defined [ "assertions" ]
