#!/usr/bin/env bash
# Make a tar file of a bare Debian 13 system, as root: make_base.sh TARBALL
#
# APT_MIRROR (may be empty) names the archive. Interrupted at any point it leaves TARBALL as it was. ./dev runs it in a
# mount namespace of its own, so that an interrupted debootstrap leaves no mounts behind either.
set -euo pipefail

tarball=$1
work=$tarball.work

# What the official slim image leaves out, too.
unneeded=(usr/share/doc usr/share/info usr/share/locale usr/share/man)

bootstrap() {
  local scripts=${DEBOOTSTRAP_DIR:-/usr/share/debootstrap}/scripts suite_script=()
  # A debootstrap older than trixie makes it by the rules of sid.
  [ -e "$scripts/trixie" ] || suite_script=("$scripts/sid")
  # An empty archive means debootstrap's default.
  debootstrap --variant=minbase trixie "$work" "${APT_MIRROR:-}" "${suite_script[@]}"
}

slim_down() {
  local path
  for path in "${unneeded[@]}"; do
    echo "path-exclude=/$path/*" >>"$work/etc/dpkg/dpkg.cfg.d/unneeded-paths"
    find "${work:?}/$path" -mindepth 1 -delete
  done
  rm -rf "$work"/var/lib/apt/lists/* "$work"/var/cache/apt/*.bin "$work"/var/cache/apt/archives/*.deb
  # debootstrap copies these from the host.
  : >"$work/etc/resolv.conf"
  rm -f "$work/etc/hostname"
}

rm -rf --one-file-system "$work" "$tarball.new"
bootstrap
slim_down
tar -C "$work" --numeric-owner --one-file-system -cf "$tarball.new" .
mv "$tarball.new" "$tarball"
rm -rf --one-file-system "$work"
