# Where `nix/language.nix` and the output of `pier schema --json` say different things.
{ schema, language }:
let
  inherit (builtins) attrNames concatMap elem filter listToAttrs;
  alternatives = list: list.items.oneOf or [ ];
  # Every node with what stands below it.
  walk = concatMap (node: [ node ] ++ walk (alternatives (node.properties.children or { })));
  nodes = walk (alternatives schema);
  name = node: node.properties.name.const;
  properties = node: attrNames node.properties.properties.properties;
  sorted = builtins.sort (a: b: a < b);
  unique = list: attrNames (listToAttrs (map (value: { name = value; value = null; }) list));
  called = wanted: filter (node: name node == wanted) nodes;
  has = wanted: nodes: concatMap wanted nodes;
  differing =
    what: wanted: found:
    if sorted wanted == sorted found then [ ] else [ { inherit what wanted found; } ];
  first = node: builtins.head (node.properties.arguments.prefixItems or [ { } ]);
in
concatMap (
  one: differing "properties of ${one}" (language.properties.${one} or [ ]) (unique (has properties (called one)))
) (unique (map name nodes ++ attrNames language.properties))
++ concatMap (
  one: differing "choices of ${one}" language.choices.${one} (unique (has (node: (first node).enum or [ ]) (called one)))
) (attrNames language.choices)
# What is named takes an argument, and a name is no property, so that `allow.port` cannot mean two things.
++ filter (one: called one == [ ] || elem one (language.properties.${one} or [ ])) (language.named ++ language.each)
++ differing "free properties" language.free (
  unique (map name (filter (node: node.properties.properties.additionalProperties != false) nodes))
)
