# `programs.pier` of home-manager: the package and the user's own settings.
pierLib: {
  _file = ./home.nix;
  key = "pier/home";
  imports = [
    (
      {
        config,
        lib,
        pkgs,
        ...
      }:
      let
        cfg = config.programs.pier;
      in
      {
        options.programs.pier = {
          enable = lib.mkEnableOption "pier, sandboxes for coding agents";
          package = lib.mkOption {
            type = lib.types.package;
            default = pierLib.mkPier pkgs;
            defaultText = lib.literalExpression "pier's own package";
            description = "The package that has `pier`.";
          };
          settings = lib.mkOption {
            type = lib.types.attrsOf lib.types.anything;
            default = { };
            example = lib.literalExpression ''{ agent.claude-code.model = "anthropic/claude-opus-4-7"; }'';
            description = ''
              Your settings for every project: `~/.config/pier/config.kdl` as an attribute set. What is `null` in it is
              left out.
            '';
          };
        };

        config = lib.mkIf cfg.enable (
          lib.mkMerge [
            { home.packages = [ cfg.package ]; }
            (lib.mkIf (pierLib.toKDL cfg.settings != "") {
              xdg.configFile."pier/config.kdl".source = pierLib.mkPierConfig {
                inherit pkgs;
                config = cfg.settings;
                name = "config.kdl";
              };
            })
          ]
        );
      }
    )
  ];
}
