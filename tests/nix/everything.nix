# Every node of the language, each property once.
{
  include = "base.kdl";
  project = {
    _args = [ "evm" ];
    key = "EVM";
  };
  runtime.nix = {
    flake = ".";
    shell = "default";
    pass = [ "RUSTFLAGS" ];
  };
  workspace = {
    at = "/workspace";
    root = "git";
    git.shadow.merge = "auto";
    clone = false;
    readonly = [
      "flake.nix"
      ".envrc"
    ];
    hide = [ "secrets/**" ];
    gate = "report";
  };
  home = {
    state = "~/.state";
    import.git-config = {
      sync = "always";
      from = "~/.gitconfig";
    };
  };
  mounts = {
    ro."~/.cargo/registry".at = "/home/pier/.cargo/registry";
    rw = [
      "./cache"
      {
        _args = [ "./out" ];
        at = "/out";
      }
    ];
    tmpfs."/scratch".size = "2GiB";
  };
  env = {
    pass = [
      "LANG"
      "TZ"
    ];
    set = {
      RUST_LOG = "info";
      QUOTED = "a \"b\"\\\n\tc";
    };
    file = ".env.agent";
    secret.API_KEY = {
      host = "api.example.com";
      from = "env:API_KEY";
      port = 8443;
      header = "authorization";
      format = "Bearer {}";
      methods = "GET,POST";
    };
  };
  network.allowlist = {
    allow = [
      "api.anthropic.com"
      [
        "a.example.org"
        "b.example.org"
      ]
      {
        "git.example.com".port = 22;
        "api.example.com" = {
          methods = "GET";
          paths = "/v1/*";
        };
        "10.0.0.0/8".private = true;
      }
    ];
    deny = [
      "telemetry.example.com"
      "stats.example.com"
    ];
    upstream = {
      _args = [ "http://proxy.example.com:3128" ];
      login = "env:PROXY";
    };
    bytes."api.example.com" = {
      up = "100MiB";
      down = "1GiB";
      connections = 8;
      idle = "5m";
    };
  };
  port = [
    8888
    { "127.0.0.1:9000".to = 3000; }
  ];
  limits = {
    memory = {
      _args = [ "8GiB" ];
      required = true;
    };
    cpus = 1.5;
    pids = 2048;
    wall = "2h";
    minimum-tier = 2;
  };
  budget = {
    cost = 5.25;
    tokens = 2000000;
  };
  agent = {
    claude-code = {
      default = true;
      version = "2.1.329";
      model = "anthropic/claude-opus-4-7";
      tools = [
        "read"
        "bash"
      ];
      args = [
        "--permission-mode"
        "acceptEdits"
      ];
      import = {
        _args = [
          "auth"
          "settings"
        ];
        sync = "missing";
        from = "~/.claude";
      };
      mcp.files = {
        command = "npx";
        args = [
          "-y"
          "server-files"
        ];
      };
      skills = [ "./skills" ];
    };
    mine = {
      run = [
        "mine-agent"
        "--task"
      ];
      logs = "~/.mine/*.jsonl";
      hosts = [ "api.mine.example" ];
    };
    other = null;
    pi = { };
  };
  role.reviewer = {
    tools = [ "read" ];
    thinking = "high";
    file = "roles/reviewer.md";
  };
  coordination = {
    remote = "git@example.com:org/c.git";
    dir = ".pi-env/coordination";
  };
  profile = {
    ci.network = "none";
    host.runtime.host.path = [ "/opt/tools/bin" ];
    image.runtime.container = {
      image = "debian:12";
      build = {
        _args = [ "./Dockerfile" ];
        context = ".";
      };
      user = "host";
      engine = "docker";
    };
  };
}
