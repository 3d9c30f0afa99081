lib: system:
let
  # A derivation of the host's programs; packages in `nativeBuildInputs` are on PATH, and their hooks are read.
  derive =
    name: attributes: script:
    derivation (
      attributes
      // {
        inherit name system;
        builder = "/bin/bash";
        # A builtin at the end: Nix takes it for the end of the build when a command closes its output.
        args = [ "-euc" ". ${./setup.sh}\n${script}\nexit 0" ];
      }
    );
  # A package with one command, which says its name.
  tool =
    name: command:
    derive name { } ''
      mkdir -p $out/bin
      printf '#!/bin/bash\necho the pinned ${command}\n' > $out/bin/${command}
      chmod +x $out/bin/${command}
    '';
  # One that is needed to work.
  link = name: command: derive name { } "mkdir -p $out/bin; ln -s $(command -v ${command}) $out/bin/${command}";
  own = name: tool name name;
  hook = name: derive name { } "mkdir -p $out/nix-support; cp ${./setup-hooks}/${name}.sh $out/nix-support/setup-hook";
  named = build: names: lib.genAttrs names build;

  packages =
    named own [ "bubblewrap" "clippy" "fd" "jq" "patch" "rustfmt" "which" ]
    // named hook [ "makeBinaryWrapper" "installShellFiles" ]
    // {
      inherit lib derive;
      # The release that the pinned nixpkgs has.
      rustc = own "rustc" // { version = import ./rustc-version.nix; };
      cargo = own "cargo";
      stdenv = rec {
        hostPlatform = {
          isGnu = true;
          rust.rustcTarget = builtins.replaceStrings [ "-linux" ] [ "-unknown-linux-gnu" ] system;
        };
        buildPlatform.canExecute = platform: platform == hostPlatform;
      };
      glibc = own "glibc" // { static = own "glibc-static"; };
      # As the real one, without `bin`.
      cacert = derive "cacert" { } "mkdir -p $out/etc/ssl/certs; echo > $out/etc/ssl/certs/ca-bundle.crt";
      bash = link "bash" "bash";
      bashInteractive = link "bash-interactive" "bash";
      coreutils = derive "coreutils" { } "mkdir -p $out/bin; for n in cat env ls mkdir; do ln -s /bin/$n $out/bin/$n; done";
      git = link "git" "git";
      gnused = link "gnused" "sed";
      gnugrep = link "gnugrep" "grep";
      diffutils = tool "diffutils" "diff";
      findutils = tool "findutils" "find";
      gawk = tool "gawk" "awk";
      gnumake = tool "gnumake" "make";
      gnutar = tool "gnutar" "tar";
      gzip = own "gzip";
      ripgrep = tool "ripgrep" "rg";
      nodejs = tool "nodejs" "node";
      nixfmt-tree = tool "nixfmt-tree" "treefmt";

      callPackage =
        path: given:
        let
          function = import path;
          wanted = builtins.functionArgs function;
          missing = builtins.filter (name: !(wanted.${name} || packages ? ${name})) (builtins.attrNames wanted);
        in
        assert lib.assertMsg (missing == [ ]) "nixpkgs has none of: ${toString missing}";
        function (builtins.intersectAttrs wanted packages // given);

      runCommand =
        name:
        {
          nativeBuildInputs ? [ ],
          meta ? { },
          text ? "",
          passAsFile ? [ ],
        }:
        script:
        derive name { inherit nativeBuildInputs text passAsFile; } script // { inherit meta; };
      writeShellScriptBin =
        name: text:
        packages.runCommand name { inherit text; passAsFile = [ "text" ]; } ''
          mkdir -p $out/bin
          { echo '#!/bin/bash'; cat "$textPath"; } > $out/bin/${name}
          chmod +x $out/bin/${name}
        '';
      # Refuses, as the real one, two files at one place.
      buildEnv =
        { name, paths }:
        derive name { inherit paths; } ''
          mkdir -p $out
          for path in $paths; do cp -rsn "$path"/. $out; chmod -R u+w $out; done
          for path in $paths; do
            (cd "$path"; find . -type f -o -type l) | while read -r file; do
              [ "$(readlink -f "$path/$file")" = "$(readlink -f "$out/$file")" ] || { echo "collision: $file"; exit 1; }
            done
          done
        '';
      mkShell =
        {
          packages,
          buildInputs ? [ ],
          shellHook ? "",
        }:
        derive "nix-shell" {
          inherit shellHook;
          nativeBuildInputs = packages;
          buildInputs = buildInputs;
          outputs = [ "out" ];
          stdenv = derive "stdenv" { } "mkdir -p $out; cp ${./setup.sh} $out/setup";
        } "echo > $out";

      rustPlatform.buildRustPackage =
        {
          pname,
          version,
          src,
          cargoLock,
          nativeBuildInputs,
          buildInputs,
          env,
          doCheck,
          postInstall,
          meta,
        }@arguments:
        let
          locked = (lib.importTOML cargoLock.lockFile).package;
          program = builtins.readFile ./program;
          package = overridden: derive "${overridden.pname}-${version}" {
            inherit src version;
            nativeBuildInputs = overridden.nativeBuildInputs ++ [ packages.cargo ];
          } ''
            test -f $src/Cargo.toml -a -f $src/src/main.rs -a -f $src/.cargo/config.toml
            ${overridden.buildPhase or ""}
            if [ -z "${overridden.installPhase or ""}" ]; then
              mkdir -p $out/bin
              cp ${lib.escapeShellArg program} $out/bin/pier
            else
              ${overridden.installPhase or "true"}
            fi
            ${overridden.postInstall}
          '' // {
            inherit meta version;
            pname = overridden.pname;
            overrideAttrs = change: package (overridden // change overridden);
          };
        in
        assert builtins.any (one: one.name == pname && one.version == version) locked;
        # A source other than a registry would need a hash of its own.
        assert builtins.all (one: builtins.match "registry.*" one.source or "registry" != null) locked;
        assert lib.assertMsg (!doCheck) "the tests cannot run in a build";
        assert env.CARGO_BUILD_TARGET == packages.stdenv.hostPlatform.rust.rustcTarget;
        package arguments;
    };
in
packages
