#!/bin/sh
# Installs a released pier without a package manager:
#
#     curl -fsSL URL/install.sh | PIER_BASE_URL=URL sh -s -- [--prefix DIR] [--version VERSION] [-- ARGS]
#
# It fetches the archive for this machine and SHA256SUMS from PIER_BASE_URL, compares the digest, and lets the pier in
# it install itself: `pier self install --prefix DIR ARGS`. Nothing is written before the digest was found right.
# The sums come from where the archive comes from: they find a broken download, not a dishonest server.
set -eu

fail() {
  printf 'install.sh: %s\n' "$1" >&2
  exit "${2:-1}"
}

usage() {
  cat <<'END'
Usage: install.sh [--prefix DIR] [--version VERSION] [-- ARGS]

  --prefix DIR       an absolute path; default ~/.local
  --version VERSION  such as 0.1.0; default: what the server has at PIER_BASE_URL itself
  -- ARGS            for `pier self install`, such as --old-names or --force

Variables:
  PIER_BASE_URL      where the releases are, with https; those of a version are below it in v0.1.0/
  PIER_ALLOW_HTTP    1: PIER_BASE_URL may be http, which anybody on the way can change
END
}

# A redirect leads to https alone, unless http was asked for by name: that loopback may be http says nothing of any
# other host.
fetch() { # URL FILE
  redirects='=https'
  case $1 in
    https://*) protocols='=https' ;;
    *)
      protocols='=http,https,file'
      [ "${PIER_ALLOW_HTTP:-}" != 1 ] || redirects='=http,https'
      ;;
  esac
  if command -v curl >/dev/null 2>&1; then
    curl -fsSL --proto "$protocols" --proto-redir "$redirects" --retry 2 -o "$2" "$1" || fail "cannot fetch $1"
  elif command -v wget >/dev/null 2>&1; then
    # It cannot be told to follow a redirect to https alone: `--https-only` is for recursive calls.
    wget -q --max-redirect=0 -O "$2" "$1" ||
      fail "cannot fetch $1 with wget, which follows no redirect here: install curl, or name the last place itself"
  else
    fail 'curl or wget is needed'
  fi
}

is_loopback() { # URL
  printf '%s\n' "$1" | grep -Eq '^http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?(/|$)'
}

sum() { # FILE
  if command -v sha256sum >/dev/null 2>&1; then
    sha256sum <"$1" | cut -d ' ' -f 1
  elif command -v shasum >/dev/null 2>&1; then
    shasum -a 256 <"$1" | cut -d ' ' -f 1
  elif command -v openssl >/dev/null 2>&1; then
    openssl dgst -sha256 -r <"$1" | cut -d ' ' -f 1
  else
    fail 'sha256sum, shasum or openssl is needed'
  fi
}

# All of it is one function, called in a last line that needs its end: a script that was cut off does nothing.
main() {
  prefix=${HOME:+$HOME/.local}
  [ -n "$prefix" ] || no_prefix='HOME is not set: say --prefix DIR'
  version=
  while [ $# -gt 0 ]; do
    case $1 in
      --prefix | --version)
        [ $# -ge 2 ] || fail "$1 needs a value" 2
        case $1 in --prefix) prefix=$2 no_prefix='' ;; *) version=$2 ;; esac
        shift 2
        ;;
      --prefix=*) prefix=${1#*=} no_prefix='' && shift ;;
      --version=*) version=${1#*=} && shift ;;
      -h | --help) usage && exit 0 ;;
      --) shift && break ;;
      *) usage >&2 && fail "there is no option $1" 2 ;;
    esac
  done
  case $prefix in
    '') fail "${no_prefix:-the prefix is empty: say --prefix DIR}" 2 ;;
    /?*) ;;
    *) fail "the prefix is not an absolute path: $prefix" 2 ;;
  esac
  case $version in
    *[!0-9A-Za-z.+-]*) fail "this is no version: $version" 2 ;;
  esac
  base=${PIER_BASE_URL:-}
  [ -n "$base" ] || fail 'PIER_BASE_URL is not set: it says where the releases are' 2
  case $base in
    https://* | file://*) ;;
    http://*)
      is_loopback "$base" || [ "${PIER_ALLOW_HTTP:-}" = 1 ] ||
        fail "PIER_BASE_URL is not https: $base (PIER_ALLOW_HTTP=1 takes it all the same)" 2
      ;;
    *) fail "PIER_BASE_URL is not https: $base" 2 ;;
  esac
  base=${base%/}${version:+/v$version}

  [ "$(uname -s)" = Linux ] || fail 'pier runs on Linux only'
  case $(uname -m) in
    x86_64 | amd64) machine=x86_64 ;;
    aarch64 | arm64) machine=aarch64 ;;
    *) fail "there is no pier for $(uname -m); build it: cargo install --locked --path ." ;;
  esac
  archive=pier-$machine-unknown-linux-musl.tar.gz

  directory=$(mktemp -d) || fail "cannot make a temporary directory below ${TMPDIR:-/tmp}: set TMPDIR to another place"
  case $directory in
    /?*) [ -d "$directory" ] || fail "mktemp did not make $directory" ;;
    *) fail "mktemp made no temporary directory: $directory" ;;
  esac
  trap 'rm -rf "$directory"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  fetch "$base/SHA256SUMS" "$directory/SHA256SUMS"
  fetch "$base/$archive" "$directory/$archive"
  expected=$(awk -v name="$archive" '$2 == name || $2 == "*" name { print $1 }' "$directory/SHA256SUMS") ||
    fail "cannot read SHA256SUMS of $base"
  case $expected in
    '') fail "SHA256SUMS of $base does not name $archive" ;;
    *[!0-9a-f]*) fail "SHA256SUMS of $base names $archive twice, or with no SHA-256" ;;
  esac
  found=$(sum "$directory/$archive") || fail "cannot compute the digest of $archive"
  [ "$found" = "$expected" ] || fail "$archive is not what SHA256SUMS says: $found, not $expected"

  # One file by its name: nothing else in the archive is unpacked.
  tar -xzf "$directory/$archive" -C "$directory" pier || fail "there is no pier in $archive"
  code=0
  "$directory/pier" self install --prefix "$prefix" "$@" || code=$?
  [ "$code" != 126 ] || fail "cannot run what is in $directory: where it is mounted noexec, set TMPDIR to another place"
  return "$code"
}

# No `&&` behind it: that would switch `set -e` off for all of it.
{ main "$@"; exit; }
