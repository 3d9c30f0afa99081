# What every build and every shell starts with: first come the packages, in their order, where they have commands.
# The hooks are those of other packages, and PATH begins as nothing.
# shellcheck shell=bash disable=SC1091,SC2123
PATH=
for input in ${nativeBuildInputs:-}; do
  if [ -d "$input/bin" ]; then PATH=${PATH:+$PATH:}$input/bin; fi
done
export PATH=${PATH:+$PATH:}/usr/bin:/bin
for input in ${nativeBuildInputs:-}; do
  if [ -e "$input/nix-support/setup-hook" ]; then . "$input/nix-support/setup-hook"; fi
done
