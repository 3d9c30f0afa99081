# What of the language of `pier.kdl` a Nix value cannot show by itself. A test compares it with `pier schema`.
{
  # Attribute names below these nodes are first arguments: `agent.pi = { … }` is `agent "pi" { … }`.
  named = [
    "agent"
    "allow"
    "bytes"
    "deny"
    "import"
    "mcp"
    "port"
    "profile"
    "ro"
    "role"
    "rw"
    "secret"
    "tmpfs"
  ];

  # The same, but only these words: `network.allowlist = { … }`, and still `home.state = "…"`.
  choices = {
    git = [
      "shadow"
      "readonly"
      "direct"
    ];
    home = [
      "persistent"
      "ephemeral"
    ];
    network = [
      "none"
      "allowlist"
      "host"
    ];
    runtime = [
      "auto"
      "host"
      "nix"
      "container"
    ];
  };

  # A list below these nodes is one node for each element; elsewhere it is the arguments of one.
  each = [
    "include"
    "port"
    "ro"
    "rw"
    "tmpfs"
  ];

  # Attributes that are properties, by node; all others are nodes inside of it.
  properties = {
    agent = [ "default" ];
    allow = [
      "port"
      "methods"
      "paths"
      "private"
    ];
    build = [ "context" ];
    bytes = [
      "up"
      "down"
      "connections"
      "idle"
    ];
    cpus = [ "required" ];
    deny = [
      "port"
      "methods"
      "paths"
      "private"
    ];
    git = [ "merge" ];
    import = [
      "sync"
      "from"
    ];
    mcp = [ "command" ];
    memory = [ "required" ];
    pids = [ "required" ];
    port = [ "to" ];
    project = [ "key" ];
    ro = [ "at" ];
    rw = [ "at" ];
    secret = [
      "host"
      "from"
      "port"
      "header"
      "format"
      "methods"
    ];
    tmpfs = [ "size" ];
    upstream = [ "login" ];
    workspace = [ "at" ];
  };

  # Every attribute is a property.
  free = [
    "set"
    "settings"
  ];
}
