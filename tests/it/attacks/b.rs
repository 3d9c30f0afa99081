//! Section B: what is written inside and executed on the host later, by an innocent command.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use super::case::{Action, CASE, Case, EVERYWHERE, ONE, OWNER, Open, Verdict};
use super::scene::{Scene, absent_or_named, below, files, home_untouched, no_claim, no_marker};
use super::stage::{Stage, run};
use super::world::{World, become_user};
use crate::sandbox::too_long;

/// What somebody types after a session without a second thought.
const INNOCENT: &[&[&str]] = &[
    &["git", "status"],
    &["git", "diff"],
    &["git", "log", "-1", "-p"],
    &["git", "add", "-A"],
    &["git", "commit", "-qm", "work"],
    &["git", "checkout", "-q", "-b", "x"],
];

macro_rules! planted {
    ($id:literal, $tries:literal, $script:expr) => {
        Case {
            id: $id,
            tries: $tries,
            prepare: repository,
            action: Action::Then($script, INNOCENT),
            columns: OWNER,
            ..CASE
        }
    };
}

pub const CASES: &[Case] = &[
    planted!(
        "B1",
        "hooks of the repository",
        "for h in post-checkout pre-commit post-commit prepare-commit-msg post-index-change reference-transaction; do
            printf '#!/bin/sh\\ntouch %s/%s\\n' $MARK $h > .git/hooks/$h; chmod +x .git/hooks/$h; done"
    ),
    planted!(
        "B2",
        "settings of the repository that are commands",
        "printf '#!/bin/sh\\ntouch %s/setting\\n' $MARK > ev.sh; chmod +x ev.sh; mkdir -p hooks; cp ev.sh hooks/post-checkout
        git config core.fsmonitor ./ev.sh; git config core.hooksPath hooks; git config diff.external ./ev.sh
        git config filter.x.clean ./ev.sh; git config filter.x.smudge ./ev.sh; echo '* filter=x' > .gitattributes
        git config gpg.program ./ev.sh; git config commit.gpgSign true; git config core.editor ./ev.sh
        git config include.path ../evil-config; git config core.sshCommand ./ev.sh; git config credential.helper ./ev.sh
        printf '[core]\\n\\tfsmonitor = ./ev.sh\\n' > evil-config; printf '[core]\\n\\tfsmonitor = ./ev.sh\\n' >> .git/config
        echo changed >> src/main.c"
    ),
    planted!(
        "B2.worktree-config",
        "settings of the repository in other files",
        "printf '#!/bin/sh\\ntouch %s/worktree\\n' $MARK > ev.sh; chmod +x ev.sh
        git config extensions.worktreeConfig true; printf '[core]\\n\\tfsmonitor = ./ev.sh\\n' > .git/config.worktree
        mkdir -p .git/info; echo '* filter=x' > .git/info/attributes"
    ),
    planted!(
        "B2.commondir",
        "another repository in place of this one",
        "printf '#!/bin/sh\\ntouch %s/commondir\\n' $MARK > ev.sh; chmod +x ev.sh
        cp -r .git evil; printf '[core]\\n\\tfsmonitor = ./ev.sh\\n' >> evil/config; echo ../evil > .git/commondir"
    ),
    planted!(
        "B3",
        "a repository moved away and replaced",
        "printf '#!/bin/sh\\ntouch %s/replaced\\n' $MARK > ev.sh; chmod +x ev.sh
        mv .git .g && cp -r .g .git; rm -rf .git; cp -r .g .git || git init -q .
        printf '[core]\\n\\tfsmonitor = ./ev.sh\\n' >> .git/config"
    ),
    planted!(
        "B3.file",
        "a file that names another repository",
        "printf '#!/bin/sh\\ntouch %s/file\\n' $MARK > ev.sh; chmod +x ev.sh
        cp -r .git evil; printf '[core]\\n\\tfsmonitor = ./ev.sh\\n' >> evil/config
        rm -rf .git; echo 'gitdir: evil' > .git"
    ),
    planted!(
        "B6",
        "a repository within, staged as a submodule",
        "printf '#!/bin/sh\\ntouch %s/nested\\n' $MARK > ev.sh; chmod +x ev.sh; cp ev.sh /tmp
        git init -q sub; cp ev.sh sub; cd sub; git config user.name x; git config user.email x@x
        git commit -q --allow-empty -m x; git config core.fsmonitor ./ev.sh; cd ..; git add sub; git commit -qm sub"
    ),
    Case {
        prepare: |world| {
            repository(world);
            world.write_project(".gitmodules", "[submodule \"m\"]\n\tpath = m\n\turl = ./m\n");
            fs_err::create_dir_all(world.project().join(".git/modules")).unwrap();
            git(world, &["init", "-q", ".git/modules/m", "--bare"]);
            git(world, &["config", "-f", ".git/modules/m/config", "core.worktree", "../../../m"]);
            git(world, &["config", "-f", ".git/modules/m/config", "core.bare", "false"]);
            world.write_project("m/.git", "gitdir: ../.git/modules/m\n");
            git(world, &["-C", "m", "commit", "-q", "--allow-empty", "-m", "x"]);
            git(world, &["add", "-A"]);
            git(world, &["commit", "-qm", "module"]);
        },
        ..planted!(
            "B6.modules",
            "settings of a submodule",
            "printf '#!/bin/sh\\ntouch %s/modules\\n' $MARK > m/ev.sh; chmod +x m/ev.sh
            git config -f .git/modules/m/config core.fsmonitor ./ev.sh
            cp -r .git/modules/m evil; printf '[core]\\n\\tfsmonitor = ./ev.sh\\n\\tworktree = ../m\\n' >> evil/config
            echo 'gitdir: ../evil' > m/.git || { rm -f m/.git; echo 'gitdir: ../evil' > m/.git; }"
        )
    },
    Case {
        id: "B6.enter",
        tries: "repositories and bare layouts that somebody enters",
        prepare: repository,
        action: Action::Script(
            "git init -q sub; mkdir -p tree bare/objects bare/refs; echo 'ref: refs/heads/main' > bare/HEAD
            printf '[core]\\n\\tfsmonitor = ./ev.sh\\n\\tbare = false\\n\\tworktree = .\\n' > bare/config
            echo 'gitdir: ../bare' > tree/.git",
            |scene| absent_or_named(scene, &["sub/.git", "tree/.git", "bare"]),
        ),
        ..CASE
    },
    Case {
        id: "B8",
        tries: "new settings of agents",
        action: Action::Script(
            "mkdir -p .claude/commands .codex .cursor .gemini .agents; for f in .claude/settings.json \
                .claude/settings.local.json .mcp.json .cursor/mcp.json .gemini/settings.json; do
                echo '{\"hooks\":{}}' > $f; done; echo x > .claude/commands/x.md; echo 'x = 1' > .codex/config.toml
            echo x > AGENTS.md; echo x > CLAUDE.md",
            |scene| {
                absent_or_named(
                    scene,
                    &[
                        ".claude/settings.json",
                        ".claude/settings.local.json",
                        ".claude/commands/x.md",
                        ".mcp.json",
                        ".codex/config.toml",
                        ".cursor/mcp.json",
                        ".gemini/settings.json",
                        "AGENTS.md",
                        "CLAUDE.md",
                    ],
                )
            },
        ),
        ..CASE
    },
    Case {
        id: "B8.changed",
        tries: "settings that are there already",
        prepare: |world| PROTECTED.iter().for_each(|name| world.write_project(name, "{}\n")),
        action: Action::Script(
            "for f in .claude/settings.json .mcp.json .codex/config.toml .cursor/mcp.json .vscode/tasks.json .envrc \
                .cargo/config.toml .npmrc .husky/pre-commit .pre-commit-config.yaml .gitmodules; do
                echo evil > $f; echo evil > x; mv -f x $f; cp --remove-destination x $f; rm -f $f; done",
            |scene| {
                let root = scene.stage.world.project();
                let changed: Vec<&str> = PROTECTED
                    .iter()
                    .filter(|name| std::fs::read_to_string(root.join(name)).ok().as_deref() != Some("{}\n"))
                    .copied()
                    .collect();
                scene.did_run().and(|| Verdict::open_if(!changed.is_empty(), format!("changed: {}", changed.join(" "))))
            },
        ),
        ..CASE
    },
    Case {
        id: "B9",
        tries: "new tasks of editors and containers",
        action: Action::Script(
            "mkdir -p .vscode .idea .devcontainer; for f in .vscode/tasks.json .vscode/settings.json .idea/workspace.xml \
                .devcontainer/devcontainer.json x.code-workspace; do echo '{}' > $f; done",
            |scene| {
                absent_or_named(
                    scene,
                    &[
                        ".vscode/tasks.json",
                        ".vscode/settings.json",
                        ".idea/workspace.xml",
                        ".devcontainer/devcontainer.json",
                        "x.code-workspace",
                    ],
                )
            },
        ),
        ..CASE
    },
    Case {
        id: "B10",
        tries: "new environments that a shell enters by itself",
        action: Action::Script(
            "for f in .envrc .mise.toml .tool-versions flake.nix devenv.nix shell.nix .nvmrc; do echo x > $f; done",
            |scene| {
                absent_or_named(
                    scene,
                    &[".envrc", ".mise.toml", ".tool-versions", "flake.nix", "devenv.nix", "shell.nix", ".nvmrc"],
                )
            },
        ),
        ..CASE
    },
    Case {
        id: "B11",
        tries: "new settings of build tools",
        action: Action::Script(
            "mkdir -p .cargo .husky; for f in .cargo/config.toml .npmrc .yarnrc.yml pip.conf .pre-commit-config.yaml \
                .husky/pre-commit; do echo x > $f; done",
            |scene| {
                absent_or_named(
                    scene,
                    &[
                        ".cargo/config.toml",
                        ".npmrc",
                        ".yarnrc.yml",
                        "pip.conf",
                        ".pre-commit-config.yaml",
                        ".husky/pre-commit",
                    ],
                )
            },
        ),
        ..CASE
    },
    Case {
        id: "B11.build",
        tries: "new build files",
        action: Action::Script(
            "echo '{\"scripts\":{\"preinstall\":\"x\"}}' > package.json
            for f in Makefile setup.cfg setup.py conftest.py build.rs; do echo x > $f; done",
            |scene| {
                absent_or_named(
                    scene,
                    &["package.json", "Makefile", "setup.cfg", "setup.py", "conftest.py", "build.rs"],
                )
            },
        ),
        ..CASE
    },
    Case { id: "B12", tries: "programs in the way of pier's own", prepare: repository, action: Action::Steps(search_path), ..CASE },
    Case {
        id: "B13",
        tries: "files of the home that shells and desktops obey",
        action: Action::Script(
            "for h in ~ $HOST_HOME; do for f in .bashrc .profile .zshrc .config/fish/config.fish \
                .config/systemd/user/x.service .config/autostart/x.desktop .local/bin/ls .ssh/authorized_keys \
                .gitconfig .config/git/config; do mkdir -p $(dirname $h/$f); echo evil >> $h/$f; done; done 2>/dev/null",
            home_untouched,
        ),
        columns: EVERYWHERE,
        ..CASE
    },
    Case {
        id: "B14",
        tries: "the history of the shell",
        action: Action::Script(
            "for h in ~ $HOST_HOME; do HISTFILE=$h/.bash_history; echo evil >> $HISTFILE; set -o history
                history -s 'evil command'; history -a; done 2>/dev/null",
            |scene| {
                let world = &scene.stage.world;
                let text = std::fs::read_to_string(world.home().join(".bash_history")).unwrap();
                scene.did_run().and(|| Verdict::open_if(text.trim() != world.canary, "the history was written"))
            },
        ),
        columns: OWNER,
        ..CASE
    },
    Case {
        id: "B15",
        tries: "names that are commands to a terminal or a shell",
        prepare: repository,
        action: Action::Steps(names),
        columns: EVERYWHERE,
        ..CASE
    },
    Case {
        id: "B16",
        tries: "a program of the owner's with the setuid bit",
        action: Action::Script(
            "cp /usr/bin/env s; chmod 4755 s; cp s t; chmod u+s,g+s t; install -m 4755 s u
            mkdir d; chmod 2777 d; perl -e 'chmod 04755, \"s\"; open F, \">\", \"v\"; chmod 06755, F'
            cp --preserve=mode s w; tar c s | tar xp -C /tmp; mv /tmp/s x",
            |scene| {
                let root = scene.stage.world.project();
                let bits = |path: &std::path::PathBuf| {
                    path.symlink_metadata().is_ok_and(|meta| meta.permissions().mode() & 0o6000 != 0)
                };
                let set: Vec<String> = files(&root).iter().filter(|path| bits(path)).map(|path| below(path, &root)).collect();
                scene.did_run().and(|| Verdict::open_if(!set.is_empty(), format!("on the host: {}", set.join(" "))))
            },
        ),
        ..CASE
    },
    Case { id: "B17", tries: "pipes, sockets and devices where files are read", action: Action::Steps(pipes), columns: OWNER, ..CASE },
    Case {
        id: "B18",
        tries: "very many, very deep and very odd names",
        prepare: repository,
        action: Action::Steps(bulk),
        columns: ONE,
        open: Open::Not("a bound on pier's own time and memory: nothing of pier runs without it"),
        ..CASE
    },
];

const PROTECTED: &[&str] = &[
    ".claude/settings.json",
    ".mcp.json",
    ".codex/config.toml",
    ".cursor/mcp.json",
    ".vscode/tasks.json",
    ".envrc",
    ".cargo/config.toml",
    ".npmrc",
    ".husky/pre-commit",
    ".pre-commit-config.yaml",
    ".gitmodules",
];

/// Makes the project a repository with one commit.
pub fn repository(world: &World) {
    git(world, &["init", "-q", "-b", "main"]);
    git(world, &["config", "user.name", "Owner"]);
    git(world, &["config", "user.email", "owner@localhost"]);
    git(world, &["add", "src", "pier.kdl"]);
    git(world, &["commit", "-qm", "first"]);
}

/// Runs git on the host while the world is made.
pub fn git(world: &World, args: &[&str]) {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=Owner", "-c", "user.email=owner@localhost"]).args(args);
    command.current_dir(world.project()).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
    let ran = run(command.env("HOME", world.home()).env("GIT_CONFIG_NOSYSTEM", "1"));
    assert_eq!(ran.code, Some(0), "git {args:?}: {}", ran.short());
}

/// Programs in the project with names that pier or git look for, and a search path that finds them first.
fn search_path(stage: &Stage) -> Verdict {
    let ran = stage.bash(
        "mkdir -p bin node_modules/.bin; for n in bwrap git bash sh node newuidmap pier systemd-run; do
            printf '#!/bin/sh\\ntouch %s/%s\\n' $MARK $n > bin/$n; chmod +x bin/$n; cp bin/$n node_modules/.bin; done",
    );
    let root = stage.world.project();
    let path = format!("./bin:{0}/bin:{0}/node_modules/.bin:/usr/local/bin:/usr/bin:/bin", root.display());
    if stage.sandboxed() {
        for words in [&["exec", "--", "true"][..], &["plan"], &["doctor"]] {
            run(stage.call_pier(words).env("PATH", &path));
        }
    } else {
        let mut command = Command::new("bash");
        command.args(["-c", "git status"]).env_clear().env("PATH", &path).current_dir(&root);
        run(become_user(&mut command, stage.world.uid));
    }
    no_marker(&Scene { stage, ran })
}

/// Whatever pier prints of the project's names has no control character in it.
fn names(stage: &Stage) -> Verdict {
    let ran = stage.bash(
        "n=$'\\e]0;pwned\\a'; for d in \"$n\" $'a\\nb' '$(touch '$MARK'/name)' '`touch '$MARK'/name`' -- -rf $'\\xff\\xfe'; do
            mkdir -p -- \"$d\"; echo x > \"./$d/.envrc\"; git init -q -- \"./$d/r\" 2>/dev/null; ln -s / \"./$d/link\"; done
        touch -- \"$n.code-workspace\"; [ -n \"$OPEN\" ] && ls; true",
    );
    let mut said = format!("{}{}", ran.out, ran.err);
    if stage.sandboxed() {
        for words in [&["exec", "--", "true"][..], &["plan"], &["validate"]] {
            let next = stage.pier(words);
            said.push_str(&next.out);
            said.push_str(&next.err);
        }
    }
    let scene = Scene { stage, ran };
    no_marker(&scene).and(|| Verdict::open_if(said.contains("\u{1b}]0;"), "a name was printed as it is"))
}

/// What pier reads of a project at its next start may be a pipe by then.
fn pipes(stage: &Stage) -> Verdict {
    let ran = stage.bash(
        "mkdir -p .cargo .vscode; for f in build.log pier.local.kdl pier.lock .envrc .gitmodules .cargo/config.toml \
            .vscode/tasks.json; do rm -f $f; mkfifo $f; done
        mknod device c 1 3 2>/dev/null && echo 'OPEN: a device'; mknod disk b 7 0 2>/dev/null && echo 'OPEN: a disk'
        perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => \"package.json\", Listen => 1)'",
    );
    let ended = ran.code.is_some();
    let begin = Instant::now();
    let next = if stage.sandboxed() {
        stage.pier(&["exec", "--", "true"])
    } else {
        stage.host(&["timeout", "1", "cat", "pier.local.kdl"])
    };
    let hung = !ended
        || next.code.is_none()
        || next.code == Some(124)
        || too_long(begin.elapsed(), Duration::from_secs(10));
    no_claim(&Scene { stage, ran })
        .and(|| Verdict::open_if(hung, format!("a reader hangs: {}", next.short())))
}

/// The end of a session and the start of the next stay short.
fn bulk(stage: &Stage) -> Verdict {
    let ran = stage.bash(
        "mkdir many; cd many; seq 8000 | xargs touch; cd ..; mkdir deep; cd deep
        d=$(printf 'd/%.0s' $(seq 400)); mkdir -p $d; cd $d && mkdir -p $d && cd $d && mkdir -p $d && cd $d && echo x > .envrc
        cd $W; perl -e 'for (1..200) { open F, \">\", \"\\xff\" x 250 . sprintf(\"%04d\", $_) }'; echo done",
    );
    let begin = Instant::now();
    let next = stage.pier(&["exec", "--", "true"]);
    let took = begin.elapsed();
    Verdict::open_if(!ran.said("done"), format!("did not run: {}", ran.short()))
        .and(|| Verdict::open_if(next.code != Some(0), next.short()))
        .and(|| {
            Verdict::open_if(
                too_long(took, Duration::from_secs(8)),
                format!("the next session took {took:?}"),
            )
        })
}
