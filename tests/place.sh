# shellcheck shell=bash
# Root runs some tests as user 1000, who has to reach the program that is tested: not below `/root`.
if [ "$(id -u)" = 0 ] && ! setpriv --reuid 1000 --regid 1000 --clear-groups test -x "$PWD"; then
  export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-/var/tmp/pier-target}
fi
