# A store of its own, the flake as it would be published, and a nixpkgs that needs no network. To be sourced, with
# `pier` set to the program that packages are made of.
# What is set here and not used is for the cases.
# shellcheck shell=bash disable=SC2154,SC2034
set -euo pipefail
nix=$(command -v nix)
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
world=$(mktemp -d)
trap 'chmod -R u+w "$world"; rm -rf "$world"' EXIT
mkdir "$world/home" "$world/conf" "$world/flake"
cat > "$world/conf/nix.conf" <<'CONF'
experimental-features = nix-command flakes
flake-registry =
substitute = false
sandbox = false
build-users-group =
allow-import-from-derivation = false
accept-flake-config = false
warn-dirty = false
download-attempts = 1
CONF
clean=(HOME="$world/home" PATH=/usr/bin:/bin LANG=C.UTF-8 NIX_CONF_DIR="$world/conf" NIX_STORE_DIR="$world/store"
  NIX_STATE_DIR="$world/state" NIX_LOG_DIR="$world/log" TMPDIR=/tmp)

cd "$repository"
cp -r flake.nix flake.lock nix src extensions .cargo Cargo.toml Cargo.lock rustfmt.toml "$world/flake"
cp -r tests/nix/nixpkgs tests/nix/flake-utils "$world"
printf %s "$pier" > "$world/nixpkgs/program"
stand_ins=(--override-input nixpkgs "path:$world/nixpkgs" --override-input flake-utils "path:$world/flake-utils"
  --no-write-lock-file)
system=$(env -i "${clean[@]}" "$nix" eval --raw --impure --expr builtins.currentSystem)

fail() {
  echo "$*" >&2
  exit 1
}
# Nix with nothing of the caller's environment; variables in front, as for `env`.
call() {
  env -i "${clean[@]}" "$@"
}
# A command of Nix on an attribute of the flake.
of_flake() {
  local command attribute=$2
  read -ra command <<< "$1"
  shift 2
  call "$nix" "${command[@]}" "path:$world/flake$attribute" "${stand_ins[@]}" "$@"
}
# An expression in which `lib` is the flake's and `pkgs` the stand-in: its value, or the path that it builds.
expression() {
  echo "
    let
      pkgs = (builtins.getFlake \"path:$world/nixpkgs\").legacyPackages.\${builtins.currentSystem};
      lib = import $world/flake/nix/lib.nix;
    in $1"
}
evaluate() {
  call "$nix" eval --impure "${@:2}" --expr "$(expression "$1")"
}
build() {
  local made
  made=$(call "$nix" build --impure --no-link --json --expr "$(expression "$1")" 2> "$world/said") \
    || fail "$(cat "$world/said")"
  made=${made##*'"out":"'}
  echo "${made%%'"'*}"
}
is() {
  [ "$1" = "$2" ] || fail "expected: $2"$'\n'"found: $1"
}
has() {
  case $1 in *"$2"*) ;; *) fail "not found: $2"$'\n'"in: $1" ;; esac
}
has_not() {
  case $1 in *"$2"*) fail "found: $2"$'\n'"in: $1" ;; esac
}
