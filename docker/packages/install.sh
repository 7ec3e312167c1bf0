#!/usr/bin/env bash
# Install package sets on Debian 13, as root: install.sh SET...   (a set is a .txt file beside this script)
#
# Used on a Debian 13 host, in the tree that ./dev makes and in docker/Dockerfile. From the environment:
#   APT_MIRROR, APT_SECURITY_MIRROR  archives to use in this run instead of the configured ones
#   APT_OPTIONS                      further lines of apt.conf for this run
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

write_sources() {
  echo "deb $APT_MIRROR trixie main"
  echo "deb $APT_MIRROR trixie-updates main"
  if [ -n "${APT_SECURITY_MIRROR:-}" ]; then
    echo "deb $APT_SECURITY_MIRROR trixie-security main"
  fi
}

# Everything goes through one temporary apt.conf, so that no mirror, proxy or credential stays behind.
write_configuration() {
  local directory=$1
  echo 'APT::Install-Recommends "false";'
  echo 'APT::Keep-Downloaded-Packages "false";'
  echo 'Acquire::Languages "none";'
  echo 'Acquire::Retries "3";'
  echo 'DPkg::Lock::Timeout "300";'
  echo 'Dpkg::Use-Pty "false";'
  # An interrupted installation is repeated, so syncing every file to disk only costs time.
  echo 'Dpkg::Options { "--force-unsafe-io"; "--force-confold"; };'
  # Slim systems leave out all documentation; whoever passes an image on has to pass on the licences.
  echo 'Dpkg::Options { "--path-include=/usr/share/doc/*/copyright"; };'
  if [ -n "${APT_MIRROR:-}" ]; then
    write_sources >"$directory/sources.list"
    echo "Dir::Etc::SourceList \"$directory/sources.list\";"
    echo 'Dir::Etc::SourceParts "/dev/null";'
  fi
  printf '%s\n' "${APT_OPTIONS:-}"
}

main() {
  local directory packages sets=("${@/%/.txt}")
  directory=$(mktemp -d)
  trap 'rm -rf "'"$directory"'"' EXIT
  chmod 755 "$directory"
  write_configuration "$directory" >"$directory/apt.conf"
  export APT_CONFIG=$directory/apt.conf DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
  mapfile -t packages < <(cd "$here" && grep -hv '^#' "${sets[@]}" | sort -u)

  # Mends what an interrupted run left half done; does nothing otherwise.
  dpkg --configure -a
  apt-get update
  apt-get install -y --fix-broken
  apt-get install -y "${packages[@]}"
}

main "$@"
