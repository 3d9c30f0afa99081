# The tools that are pinned beside the agent.
{
  # What the agent may call if nobody says otherwise.
  defaultTools = "read,bash,edit,write,grep,find,ls";

  mkRuntime = pkgs: [
    pkgs.bash
    pkgs.bubblewrap
    pkgs.cacert
    pkgs.coreutils
    pkgs.fd
    pkgs.findutils
    pkgs.gawk
    pkgs.git
    pkgs.gnugrep
    pkgs.gnused
    pkgs.gnutar
    pkgs.gzip
    pkgs.jq
    pkgs.nodejs
    pkgs.ripgrep
    pkgs.which
  ];

  # For reviews and patches, at a prompt only.
  mkDevShellTools = pkgs: [
    pkgs.diffutils
    pkgs.patch
  ];
}
