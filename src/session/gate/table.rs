//! The table of names that programs of the host execute or obey: which program, and what it does.
//!
//! A row has its patterns separated by blanks. They match at any depth and without regard to case. `a/b` is the name
//! `b` in a directory `a`; `a/` is everything below a directory `a`; `*.x` and `x.*` are all names with that last
//! ending, or with any one ending after `x`.

use serde::{Deserialize, Serialize};

/// How little it takes that the host obeys a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// An innocent command is enough: `cd`, `git status`, opening an editor, starting an agent.
    Obeyed,
    /// A build, a test or a deployment runs it, which the user starts anyway.
    Built,
}

/// Names that one program obeys for one reason.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    pub class: Class,
    pub tool: &'static str,
    /// What the tool does with such a file; reads on after its name.
    pub does: &'static str,
    pub patterns: &'static str,
}

const fn obeyed(tool: &'static str, does: &'static str, patterns: &'static str) -> Row {
    Row { class: Class::Obeyed, tool, does, patterns }
}

const fn built(tool: &'static str, does: &'static str, patterns: &'static str) -> Row {
    Row { class: Class::Built, tool, does, patterns }
}

/// A `.git` of any kind. A directory is one finding when it is new; what is in it counts when it was there.
pub const GIT: Row =
    obeyed("git", "takes this for a repository of its own, with hooks and configuration", ".git");

/// A directory that has the layout of a repository without being called `.git`; found by its `HEAD`.
pub const BARE: Row =
    obeyed("git", "takes the directory for a bare repository, with hooks and configuration", "");

/// Counts in dependencies and build output too.
pub const EVERYWHERE: &[Row] = &[
    GIT,
    obeyed("git", "runs the commands and hooks that it names", ".git/config .git/config.worktree"),
    obeyed("git", "takes its configuration and hooks from the place that it names", ".git/commondir"),
    obeyed("git", "runs it as a hook", ".git/hooks/"),
    obeyed("git", "chooses filters and diff programs by it", ".git/info/attributes"),
    obeyed(
        "git",
        "runs the commands in it when a rebase or a pick goes on",
        ".git/rebase-merge/ .git/rebase-apply/ .git/sequencer/",
    ),
    obeyed("lazygit", "runs the commands that it names", ".git/lazygit.yml"),
];

/// Below Git's own directory, large, and no place for a program's name.
pub const SKIPPED: &str = ".git/objects .git/refs .git/logs .git/lfs .git/hooks/*.sample";

/// Commands that people and their prompts run everywhere; in these directories they may come before the real ones.
pub const SHADOWING: Row = obeyed(
    "a shell",
    "runs it in place of the real command where this directory is in `PATH`",
    "apt apt-get awk bash bat bwrap cat chmod chown clear cp curl cut date df dig direnv docker du emacs env false \
     fd find fish fzf gh git gpg grep groups head id kill kubectl less ln ls make man mkdir mktemp mv nano nix nvim open \
     pass pier ping podman ps pwd rg rm rsync scp screen sed sftp sh sleep sort ssh ssh-add stat starship stty su \
     sudo systemctl tail tar tee tmux top touch tput tr true tty uname vi vim wget which whoami xargs xdg-open zsh",
);

pub const COMMAND_DIRECTORIES: &[&str] = &["bin", ".bin", "sbin", "scripts"];

/// Directories of dependencies and of build output. So much comes and goes there that only Git's own, links that
/// leave, sockets and the like, and shadowing commands count.
pub const HEAVY: &str = "node_modules bower_components jspm_packages target vendor .venv venv .virtualenv \
     site-packages __pycache__ .tox .nox .mypy_cache .pytest_cache .ruff_cache .pixi .gradle .next .nuxt .svelte-kit \
     .angular .turbo .parcel-cache .pnpm-store .terraform pods .dart_tool elm-stuff _build .elixir_ls .zig-cache \
     zig-cache zig-out .stack-work dist-newstyle _opam .cache .ccache";

/// Everything else.
pub const ROWS: &[Row] = &[
    // Version control.
    obeyed("git", "chooses filters and diff programs by it", ".gitattributes"),
    obeyed("git", "fetches from the places that it names", ".gitmodules .lfsconfig"),
    obeyed("lazygit", "runs the commands that it names", ".lazygit.yml"),
    obeyed("git", "obeys it where `include.path` names it", ".gitconfig"),
    obeyed("git", "runs it where `core.hooksPath` names its directory", ".githooks/ .git-hooks/ .hooks/"),
    obeyed(
        "a hook manager",
        "runs what it says at the next commit",
        ".husky/ .huskyrc .huskyrc.* .pre-commit-config.yaml .pre-commit-config.yml .pre-commit-hooks.yaml prek.toml \
         lefthook.* .lefthook.* lefthook-local.* .lefthook-local.* .lefthook/ .lefthook-local/ .overcommit.yml \
         .lintstagedrc .lintstagedrc.* lint-staged.config.* .commitlintrc .commitlintrc.* commitlint.config.* \
         .simple-git-hooks.* simple-git-hooks.* captainhook.json grumphp.yml .cargo-husky/ hk.pkl",
    ),
    obeyed(
        "Mercurial",
        "runs the commands and extensions that it names",
        ".hg/hgrc .hg/hgrc-not-shared .hgsub",
    ),
    obeyed(
        "a version control system",
        "runs the commands that it names",
        ".jj/repo .jj/repo/config.toml .sl/config _darcs/prefs/ .pijul/config .bzr/branch/branch.conf _fossil_ .fslckout",
    ),
    // On entering a directory.
    obeyed(
        "direnv",
        "runs it when you enter the directory",
        ".envrc .envrc.* .direnv/ .direnvrc .devbox/ .flox/",
    ),
    obeyed(
        "a shell plugin",
        "runs it when you enter the directory",
        ".autoenv .autoenv.zsh .autoenv_leave.zsh .env.zsh .smartcd_enter .smartcd_leave .ondirrc .tmuxifier/",
    ),
    obeyed(
        "mise",
        "runs hooks and sets variables by it when you enter the directory",
        "mise.toml .mise.toml mise.local.toml .mise.* .mise/ mise/config.toml .config/mise.toml .config/mise/ .rtx.toml \
         .tool-versions .miserc.toml mise-tasks/ .mise-tasks/",
    ),
    obeyed(
        "a version manager",
        "chooses by it which program `node`, `python`, `java` and the like are",
        ".nvmrc .node-version .python-version .python-versions .ruby-version .ruby-gemset .rvmrc .java-version \
         .go-version .terraform-version .terragrunt-version .opentofu-version .sdkmanrc .php-version .perl-version \
         .swift-version .crystal-version .pdm-python .zigversion .prototools",
    ),
    obeyed("rustup", "runs the compiler that it names", "rust-toolchain rust-toolchain.toml"),
    // Editors.
    obeyed(
        "VS Code",
        "runs tasks and programs by it",
        ".vscode/ .vscode-insiders/ .vscode-oss/ *.code-workspace",
    ),
    obeyed(
        "a JetBrains editor",
        "runs configurations and tools by it",
        ".idea/ *.iml *.ipr *.iws .run/ .fleet/",
    ),
    obeyed(
        "an editor",
        "starts a container and its commands by it",
        ".devcontainer/ .devcontainer.json devcontainer.json",
    ),
    obeyed(
        "Vim",
        "runs it when it starts here",
        ".vimrc _vimrc .exrc _exrc .gvimrc .nvimrc .nvim.lua .lazy.lua .lvimrc _lvimrc .local.vimrc .vimspector.json \
         .vim/ .nvim/ .neoconf.json .nlsp-settings/ .projections.json",
    ),
    obeyed("Emacs", "evaluates it on opening a file", ".dir-locals.el .dir-locals-2.el"),
    obeyed(
        "an editor",
        "starts the programs that it names",
        ".zed/ .helix/ .kakrc .kak/ .nova/ .vs/ .lapce/ .theia/ *.sublime-project *.sublime-workspace *.sublime-build \
         .kateproject .kateproject.* *.kate-project .settings/ .externaltoolbuilders/ .project .classpath .cproject \
         nbproject/ *.user .ycm_extra_conf.py .clangd .ccls .luarc.json .luarc.jsonc \
         rust-analyzer.toml .rust-analyzer.toml .solargraph.yml .merlin hie.yaml .metals/ .bloop/ .bsp/ .tern-project \
         pyrightconfig.json ols.json zls.json .phpactor.json .phpactor.yml",
    ),
    obeyed(
        "an editor",
        "loads plugins and code by it to check a file",
        ".eslintrc .eslintrc.* eslint.config.* .prettierrc .prettierrc.* prettier.config.* .stylelintrc .stylelintrc.* \
         stylelint.config.* .pylintrc pylintrc .flake8 .mypy.ini mypy.ini .rubocop.yml .standard.yml .oxlintrc.json \
         biome.json biome.jsonc .textlintrc .textlintrc.* .remarkrc .remarkrc.* .markdownlint.cjs .markdownlint.mjs \
         .markdownlint-cli2.* .xo-config.* .credo.exs .formatter.exs phpstan.neon phpstan.neon.dist psalm.xml \
         .php-cs-fixer.php .php-cs-fixer.dist.php rector.php .perlcriticrc .ansible-lint .golangci.yml .golangci.yaml \
         .golangci.toml .custom-gcl.yml .tflint.hcl dprint.json .dprint.json treefmt.toml .treefmt.toml treefmt.nix \
         .vale.ini .sqlfluff .trunk/ .semgrep/ .scalafix.conf",
    ),
    // Interpreters and debuggers that read the directory they start in.
    obeyed(
        "a debugger",
        "runs it when it starts here",
        ".gdbinit .gdbearlyinit .lldbinit .pdbrc .pdbrc.py .cgdbrc",
    ),
    obeyed(
        "an interpreter",
        "runs it when it starts here",
        ".irbrc _irbrc .pryrc .rprofile .renviron .ghci .ocamlinit .utoprc .octaverc startup.m .iex.exs .erlang \
         .psysh.php .ammonite/ .scala-cli/ ipython_config.py ipython_config.json jupyter_config.* \
         jupyter_server_config.* jupyter_lab_config.* jupyter_notebook_config.* .ipython/ .jupyter/",
    ),
    // Agents.
    obeyed(
        "Claude Code",
        "runs hooks and commands by it, or takes it as instructions",
        ".claude/settings.json .claude/settings.local.json .claude/commands/ .claude/agents/ .claude/hooks/ \
         .claude/skills/ .claude/plugins/ .claude/output-styles/ .claude/rules/ .claude/workflows/ .claude/claude.md \
         .claude/*.sh .claude/*.py .claude/*.js .claude-plugin/ claude.md claude.local.md",
    ),
    obeyed("an agent", "starts the servers that it names", ".mcp.json mcp.json .mcp/ .claude/mcp.json"),
    obeyed(
        "an agent",
        "takes it as instructions",
        "agents.md agents.override.md agents.local.md agent.md gemini.md qwen.md warp.md crush.md codex.md .cursorrules \
         .windsurfrules .clinerules .clinerules/ .roorules .roomodes .goosehints .rules .ruler/ \
         .github/copilot-instructions.md .github/instructions/ .github/prompts/ .github/agents/ .github/chatmodes/ \
         .github/skills/",
    ),
    obeyed(
        "an agent",
        "runs commands and servers by it",
        ".codex/ .cursor/ .gemini/ .agents/ .agent/ .opencode/ opencode.json opencode.jsonc .pi/ .aider.conf.yml \
         .aider.model.settings.yml .windsurf/ .codeium/ .roo/ .kilocode/ .continue/ .continuerc.json .goose/ .amp/ \
         .crush/ crush.json .crush.json .qwen/ .kiro/ .amazonq/ .augment/ .junie/ .trae/ .factory/ .cline/ .copilot/ \
         .github/hooks/ .github/mcp.json .warp/ .openhands/ .zencoder/ .iflow/ .tabnine/ .plandex/",
    ),
    obeyed("pier", "starts sandboxes by it", "pier.kdl pier.local.kdl pier.lock .pier/"),
    // Package managers.
    obeyed(
        "cargo",
        "runs the compilers and wrappers that it names",
        ".cargo/config .cargo/config.toml .cargo/credentials .cargo/credentials.toml",
    ),
    obeyed(
        "a JavaScript package manager",
        "runs the programs and takes the registries that it names",
        ".npmrc .yarnrc .yarnrc.yml .yarn/releases/ .yarn/plugins/ .yarn/sdks/ .pnpmfile.cjs .pnpmfile.mjs pnpmfile.js \
         bunfig.toml .bunfig.toml .corepack.env",
    ),
    obeyed(
        "a Python tool",
        "takes the indexes and programs that it names",
        "pip.conf pip.ini .pip/ .pypirc uv.toml poetry.toml pdm.toml .condarc condarc .pydistutils.cfg",
    ),
    obeyed("bundler", "takes the sources and programs that it names", ".bundle/ .gemrc"),
    obeyed(
        "a package manager",
        "takes the sources and programs that it names",
        "nuget.config .nuget/ .mvn/ .config/dotnet-tools.json",
    ),
    // The forge, at the next push.
    obeyed(
        "the forge",
        "runs it with the repository's secrets at the next push",
        ".github/workflows/ .github/actions/ .github/dependabot.yml .gitlab-ci.yml .gitlab-ci.yaml .gitlab/ .circleci/ \
         .travis.yml azure-pipelines.yml azure-pipelines.yaml .azure-pipelines/ .azuredevops/ jenkinsfile jenkinsfile.* \
         .drone.yml .drone.star .woodpecker.yml .woodpecker.yaml .woodpecker/ bitbucket-pipelines.yml .buildkite/ \
         appveyor.yml .appveyor.yml .cirrus.yml .cirrus.star .build.yml .builds/ .forgejo/ .gitea/ .semaphore/ \
         cloudbuild.yaml cloudbuild.yml buildspec.yml netlify.toml vercel.json .readthedocs.yml .readthedocs.yaml \
         codemagic.yaml .gitpod.yml .gitpod.dockerfile .codesandbox/ .replit renovate.json renovate.json5 .renovaterc \
         .renovaterc.json .teamcity/ .harness/ .mergify.yml render.yaml fly.toml",
    ),
    // The desktop.
    obeyed("a file manager", "starts programs by it", "*.desktop .directory autorun.inf"),
    // Builds, tests, deployments.
    built(
        "make",
        "runs it",
        "makefile gnumakefile bsdmakefile makefile.* *.mk *.mak configure configure.ac autogen.sh bootstrap.sh",
    ),
    built(
        "a task runner",
        "runs it",
        "justfile .justfile *.just taskfile.* rakefile *.rake tasks.py fabfile.py dodo.py noxfile.py tox.ini \
         magefile.go makefile.toml procfile procfile.* guardfile capfile fastlane/ snakefile nextflow.config bacon.toml \
         mprocs.yaml process-compose.yaml tiltfile skaffold.yaml earthfile turbo.json nx.json lerna.json wireit.json \
         .tmuxp.yaml .tmuxinator.yml",
    ),
    built(
        "cargo",
        "runs it, or what it names",
        "build.rs cargo.toml cross.toml trunk.toml .config/nextest.toml",
    ),
    built(
        "a JavaScript tool",
        "runs it, or what it names",
        "package.json pnpm-workspace.yaml binding.gyp .pnp.cjs .pnp.loader.mjs deno.json deno.jsonc tsconfig.json \
         webpack.config.* vite.config.* vitest.config.* vitest.workspace.* rollup.config.* rspack.config.* \
         rsbuild.config.* esbuild.config.* tsup.config.* jest.config.* jest.setup.* babel.config.* .babelrc .babelrc.* \
         .swcrc next.config.* nuxt.config.* svelte.config.* astro.config.* vue.config.* metro.config.* app.config.* \
         angular.json tailwind.config.* postcss.config.* .postcssrc .postcssrc.* playwright.config.* cypress.config.* \
         karma.conf.* wdio.conf.* .mocharc.* ava.config.* gulpfile.* gruntfile.* .storybook/ plopfile.* release.config.* \
         .releaserc .releaserc.* wrangler.toml wrangler.json wrangler.jsonc serverless.yml serverless.ts",
    ),
    built(
        "a Python tool",
        "runs it, or what it names",
        "setup.py setup.cfg conftest.py pytest.ini .pytest.ini pyproject.toml sitecustomize.py usercustomize.py *.pth \
         manage.py hatch.toml hatch_build.py pipfile requirements.txt environment.yml pixi.toml sconstruct sconscript \
         wscript conanfile.py gunicorn.conf.py alembic.ini .coveragerc conf.py",
    ),
    built(
        "Nix",
        "evaluates and builds it",
        "flake.nix flake.lock shell.nix default.nix devenv.nix devenv.yaml devenv.local.nix devenv.local.yaml .devenv/ \
         devbox.json release.nix replit.nix guix.scm manifest.scm",
    ),
    built(
        "a container tool",
        "builds or starts it",
        "dockerfile dockerfile.* *.dockerfile containerfile containerfile.* docker-compose.* docker-compose.override.* \
         compose.yml compose.yaml compose.override.* docker-bake.* vagrantfile chart.yaml kustomization.yaml \
         helmfile.yaml .env .env.*",
    ),
    built(
        "an infrastructure tool",
        "runs what it says",
        "*.tf *.tofu *.tfvars terragrunt.hcl pulumi.yaml cdk.json ansible.cfg .ansible.cfg samconfig.toml \
         dbt_project.yml",
    ),
    built(
        "a JVM build",
        "runs it",
        "*.gradle build.gradle.kts settings.gradle.kts init.gradle.kts gradle.properties gradlew gradlew.bat \
         gradle/wrapper/ buildsrc/ pom.xml mvnw mvnw.cmd build.xml *.sbt .sbtopts .jvmopts build.sc build.mill \
         project.clj deps.edn shadow-cljs.edn bb.edn project/build.properties",
    ),
    built(
        "a build",
        "runs it",
        "cmakelists.txt cmakepresets.json cmakeuserpresets.json *.cmake meson.build meson.options meson_options.txt \
         build.zig build.zig.zon package.swift mix.exs rebar.config rebar.config.script gemfile *.gemspec extconf.rb \
         .rspec composer.json phpunit.xml phpunit.xml.dist makefile.pl build.pl cpanfile dune dune-project \
         dune-workspace *.opam stack.yaml cabal.project cabal.project.local *.cabal setup.hs pubspec.yaml podfile \
         cartfile *.podspec *.nimble *.rockspec shard.yml build.bazel workspace.bazel module.bazel *.bzl .bazelrc \
         .bazeliskrc .bazelversion tools/bazel .buckconfig pants.toml go.mod go.work .goreleaser.yml .goreleaser.yaml \
         .air.toml *.csproj *.fsproj *.vbproj *.vcxproj *.sln directory.build.props directory.build.targets \
         directory.build.rsp global.json *.pbxproj *.xcconfig xmake.lua premake5.lua pkgbuild debian/rules build.ninja \
         build.cake latexmkrc .latexmkrc lakefile.lean lakefile.toml foundry.toml hardhat.config.*",
    ),
];
