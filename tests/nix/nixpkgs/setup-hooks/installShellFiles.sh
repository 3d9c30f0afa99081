# Nix sets `out`.
# shellcheck shell=bash disable=SC2154
installManPage() {
  local page
  for page; do mkdir -p "$out/share/man/man${page##*.}"; cp "$page" "$out/share/man/man${page##*.}"; done
}
installShellCompletion() {
  [ "$1 $2 $3 $5 $7" = "--cmd pier --bash --fish --zsh" ]
  mkdir -p "$out/share/bash-completion/completions" "$out/share/fish/vendor_completions.d" "$out/share/zsh/site-functions"
  cp "$4" "$out/share/bash-completion/completions/pier"
  cp "$6" "$out/share/fish/vendor_completions.d/pier.fish"
  cp "$8" "$out/share/zsh/site-functions/_pier"
}
