#!/usr/bin/env bash
# Run a command in a directory tree: enter_tree.sh TREE PATH... -- COMMAND...
#
# Each PATH of the host that exists appears at the same place in the tree. To be called in a mount namespace of its
# own (unshare --mount): the mounts end with the last process in it.
set -euo pipefail

tree=$1
shift

share() {
  local path=$1
  if [ -d "$path" ]; then
    mkdir -p "$tree$path"
  elif [ -e "$path" ]; then
    mkdir -p "$tree$(dirname "$path")"
    [ -e "$tree$path" ] || : >"$tree$path"
  else
    return 0
  fi
  mount --rbind "$path" "$tree$path"
}

while [ "$1" != -- ]; do
  share "$1"
  shift
done
shift

exec chroot "$tree" "$@"
