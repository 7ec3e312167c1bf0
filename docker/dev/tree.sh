# shellcheck shell=bash
# A Debian 13 tree under the user's cache folder, for root on a Debian-like host of another release. Sourced by ./dev.
#
#   $CACHE/base-trixie-<arch>.tar   a bare system; also the base image where no registry answers
#   $CACHE/trixie-<arch>            the tree; var/lib/attention/<set> in it holds the hash of each installed list
#   $CACHE/work                     HOME and compiler cache of what runs in the tree
#
# A command in the tree runs by mount namespace and chroot, with no process in between: signals reach it, so Ctrl-C and
# SIGTERM drain the server. It shares the host's network, /dev, /proc, /sys, /tmp and the directory it is called from.

TREE=$CACHE/trixie-$(architecture)
TREE_HOME=$CACHE/work
TREE_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
BASE_TARBALL=$CACHE/base-trixie-$(architecture).tar

tree_stamp() { printf '%s/var/lib/attention/%s' "$TREE" "$1"; }

list_hash() { sha256sum <"$ROOT/docker/packages/$1.txt"; }

tree_has_sets() {
  local set
  for set in "$@"; do
    [ "$(cat "$(tree_stamp "$set")" 2>/dev/null)" = "$(list_hash "$set")" ] || return 1
  done
}

ensure_base_tarball() {
  [ ! -e "$BASE_TARBALL" ] || return 0
  install_host_packages debootstrap=debootstrap unshare=util-linux
  find_archives
  step "Making a bare Debian 13" unshare --mount "$ROOT/docker/dev/make_base.sh" "$BASE_TARBALL"
}

unpack_tree() {
  local new=$TREE.new
  rm -rf --one-file-system "$new"
  mkdir -p "$new"
  tar -C "$new" --numeric-owner -xf "$BASE_TARBALL"
  mkdir -p "$new/var/lib/attention"
  # Packages must not start services: the tree shares the host's network.
  printf '#!/bin/sh\nexit 101\n' >"$new/usr/sbin/policy-rc.d"
  chmod +x "$new/usr/sbin/policy-rc.d"
  mv "$new" "$TREE"
}

# in_tree_with PATH... -- COMMAND... starts a process in the tree that sees these paths and the kernel's.
in_tree_with() {
  unshare --mount "$ROOT/docker/dev/enter_tree.sh" "$TREE" /dev /proc /sys /etc/resolv.conf /etc/hosts "$@"
}

install_in_tree() {
  local certificates set
  certificates=$(host_certificates)
  if [ -n "$certificates" ]; then
    cp "$certificates" "$TREE/run/host-certificates.pem"
    APT_OPTIONS="${APT_OPTIONS:-}
Acquire::https::CAInfo \"/run/host-certificates.pem\";"
  fi
  in_tree_with "$ROOT/docker/packages" -- \
    env PATH="$TREE_PATH" "$ROOT/docker/packages/install.sh" "$@"
  for set in "$@"; do list_hash "$set" >"$(tree_stamp "$set")"; done
}

# dpkg can finish most interrupted installations by itself; what it cannot, --audit reports.
tree_is_sound() {
  # shellcheck disable=SC2016  # expands in the tree
  in_tree_with -- env PATH="$TREE_PATH" sh -c 'dpkg --configure -a && [ -z "$(dpkg --audit)" ]' >/dev/null 2>&1
}

discard_damaged_tree() {
  if [ -e "$1" ] && ! tree_is_sound; then
    say "An interrupted installation damaged the tree: making it anew."
    rm -rf --one-file-system "$TREE"
  fi
}

bring_tree_up_to_date() {
  ! tree_has_sets "$@" || return 0
  local unfinished=$TREE/var/lib/attention/unfinished
  discard_damaged_tree "$unfinished"
  if [ ! -d "$TREE" ]; then
    ensure_base_tarball
    step "Unpacking the Debian 13 tree" unpack_tree
  fi
  find_archives
  : >"$unfinished"
  step "Installing the package sets: $*" install_in_tree "$@"
  rm "$unfinished"
}

# The repository may be a worktree or a submodule whose objects lie elsewhere.
git_directory() {
  git -C "$ROOT" -c safe.directory="$ROOT" rev-parse --path-format=absolute --git-common-dir 2>/dev/null || true
}

# exec_in_tree SETS COMMAND... replaces this process.
exec_in_tree() {
  local sets=$1 directory objects
  shift
  # shellcheck disable=SC2086  # a list of words
  tree_has_sets $sets || with_lock "$CACHE/tree.lock" bring_tree_up_to_date $sets
  mkdir -p "$TREE_HOME/ccache"
  objects=$(git_directory)
  directory=$(working_directory)
  exec unshare --mount "$ROOT/docker/dev/enter_tree.sh" "$TREE" "$directory" \
    /dev /proc /sys /tmp /etc/resolv.conf /etc/hosts "$TREE_HOME" ${objects:+"$objects"} "$ROOT" -- \
    env --chdir="$directory" --unset=CC --unset=CXX --unset=LD_PRELOAD --unset=LD_LIBRARY_PATH --unset=PYTHONPATH \
    --unset=PYTHONHOME --unset=LC_ALL LANG=C.UTF-8 PATH="$TREE_PATH" HOME="$TREE_HOME" \
    CCACHE_DIR="$TREE_HOME/ccache" ATTENTION_DEV_INSIDE=1 "$@"
}
