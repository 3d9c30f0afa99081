# shellcheck shell=bash
# What both lists of stages have: each stage's minutes are a line of the file `$MINUTES`, and the first that fails is the end.
stage() {
  local name=$1 began=$SECONDS code=0
  shift
  echo "== $name: $*"
  "$@" || code=$?
  local spent=$((SECONDS - began))
  printf '%-10s %3d:%02d  %s\n' "$name" $((spent / 60)) $((spent % 60)) \
    "$([ $code = 0 ] && echo passed || echo "failed ($code)")" >>"$MINUTES"
  [ $code = 0 ] || exit $code
}
