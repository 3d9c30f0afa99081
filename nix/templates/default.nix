{
  host = {
    path = ./host;
    description = "A project whose agent has the host's own tools";
  };
  nix = {
    path = ./nix;
    description = "A project whose agent has the tools of a development shell, and no others";
  };
  container = {
    path = ./container;
    description = "A project that waits for `runtime container`, with the host's tools until then";
  };
}
