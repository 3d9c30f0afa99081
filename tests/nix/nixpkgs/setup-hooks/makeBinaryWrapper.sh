# As scripts. The real wrapper is a program: `wrapProgram` keeps the name that it is called by, which a script cannot,
# so here the program stays as it is and only the arguments are read.
# shellcheck shell=bash
wrapProgram() {
  local program=$1
  shift
  wrapper_lines "$@" > /dev/null
  test -x "$program"
}
makeBinaryWrapper() {
  local program=$1 wrapper=$2 argv0=
  shift 2
  test -x "$program"
  if [ "$1" = --argv0 ]; then argv0=$2; shift 2; fi
  { echo '#!/bin/bash'; wrapper_lines "$@"; printf 'exec -a %q %q "$@"\n' "${argv0:-$program}" "$program"; } > "$wrapper"
  chmod +x "$wrapper"
}
wrapper_lines() {
  while [ $# -gt 0 ]; do
    case $1 in
      --set-default) printf 'export %s=${%s-%q}\n' "$2" "$2" "$3"; shift 3 ;;
      --prefix) printf 'export %s=%q${%s:+%q$%s}\n' "$2" "$4" "$2" "$3" "$2"; shift 4 ;;
      --suffix) printf 'export %s=${%s:+$%s%q}%q\n' "$2" "$2" "$2" "$3" "$4"; shift 4 ;;
      *) echo "makeBinaryWrapper: unknown argument $1" >&2; return 1 ;;
    esac
  done
}
