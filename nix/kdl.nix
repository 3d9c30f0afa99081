# The text of a `pier.kdl` from an attribute set; README.md says how the two correspond.
let
  inherit (builtins)
    all
    attrNames
    concatMap
    concatStringsSep
    elem
    filter
    isAttrs
    isList
    isString
    match
    removeAttrs
    replaceStrings
    toJSON
    typeOf
    ;
  language = import ./language.nix;

  # A package stands for its path, as in any string.
  isText = value: isString value || isAttrs value && value ? outPath;
  isWord =
    value:
    isText value
    || elem (typeOf value) [
      "bool"
      "float"
      "int"
    ];
  isTree = value: isAttrs value && !isText value;

  quote =
    text:
    "\"${
      replaceStrings [ "\\" "\"" "\n" "\r" "\t" ] [ "\\\\" "\\\"" "\\n" "\\r" "\\t" ] "${text}"
    }\"";

  bare = name: if match "[A-Za-z_][A-Za-z0-9_-]*" name == null then quote name else name;

  wrong = at: message: throw "pier.kdl: `${concatStringsSep "." at}` ${message}";

  word =
    at: value:
    if isText value then
      quote value
    else if value == true then
      "#true"
    else if value == false then
      "#false"
    else if isWord value then
      toJSON value
    else if typeOf value == "path" then
      wrong at "is a path of Nix, which would mean a copy in the store: write it in quotes"
    else
      wrong at "must be a string, a number or a boolean, not a ${typeOf value}";

  # Every line of nodes called `name` that a value stands for.
  nodes =
    at: name: value:
    let
      choices = language.choices.${name} or [ ];
      chosen = filter (key: elem key choices && value.${key} != null) (attrNames value);
      one = arguments: attributes: node at name arguments attributes;
      below =
        key:
        let
          inner = value.${key};
        in
        if inner == null then
          [ ]
        else if isTree inner then
          node (at ++ [ key ]) name ([ key ] ++ inner._args or [ ]) (removeAttrs inner [ "_args" ])
        else
          wrong (at ++ [ key ]) "must be an attribute set, `{ }` for nothing more";
    in
    if value == null then
      [ ]
    else if isTree value then
      if value ? _args then
        one (arguments (at ++ [ "_args" ]) value._args) (removeAttrs value [ "_args" ])
      else if chosen != [ ] then
        if attrNames value == chosen && builtins.length chosen == 1 then
          concatMap below chosen
        else
          wrong at "has `${builtins.head chosen}`, so nothing else can stand beside it"
      else if elem name language.named then
        concatMap below (attrNames value)
      else
        one [ ] value
    else if isList value then
      if value == [ ] then
        [ ]
      else if all isWord value && !(elem name language.each) then
        one value { }
      else
        concatMap (
          element: if isList element then one (arguments at element) { } else nodes at name element
        ) value
    else
      one [ value ] { };

  arguments = at: value: if isList value then value else wrong at "must be a list";

  node =
    at: name: words: attributes:
    let
      given = filter (key: attributes.${key} != null) (attrNames attributes);
      isProperty = key: elem name language.free || elem key (language.properties.${name} or [ ]);
      property = key: "${bare key}=${word (at ++ [ key ]) attributes.${key}}";
      head = concatStringsSep " " (
        [ (bare name) ] ++ map (word at) words ++ map property (filter isProperty given)
      );
      inner = filter (key: !isProperty key) given;
      children = concatMap (key: nodes (at ++ [ key ]) key attributes.${key}) inner;
    in
    if children == [ ] then
      [ head ]
    else
      [ "${head} {" ] ++ map (line: "    ${line}") children ++ [ "}" ];
in
config:
let
  top = key: nodes [ key ] key config.${key};
in
if isTree config then
  concatStringsSep "" (map (line: "${line}\n") (concatMap top (attrNames config)))
else
  throw "pier.kdl: an attribute set is needed, not a ${typeOf config}"
