#!/usr/bin/env bash
# Run the image by the line that README.md prints: check_run.sh NAME HOST:PORT DEMO OPTION... -- CLIENT...
#
# NAME is that of the container and of its volume, in the place of the printed ones; OPTIONs of `docker run` are what
# this host needs besides. The caller removes both. DEMO and CLIENT... are as for check_image.sh.
set -euo pipefail

container=$1 target=$2 demo=$3
shift 3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
options=()
while [ "$1" != -- ]; do
  options+=("$1")
  shift
done
client=("${@:2}")
readonly module=first_steps

# shellcheck source=tests/image/checks.sh
. "$here/checks.sh"

# start VOLUME [OPTION...] runs the printed line with this volume or folder, and further options before those printed.
start() {
  local line words
  line=$(grep '^docker run ' "$here/../../README.md")
  line=${line/--name attention /--name $container }
  line=${line/127.0.0.1:50051/$target}
  read -ra words <<<"${line/modules:/$1:}"
  docker run --detach "${options[@]}" "${@:2}" "${words[@]:2}"
}

stop() { docker rm --force "$container"; }

upload() { call modules upload "$module" "$demo/modules/$module.safetensors" --persist; }

serves_module() { call modules list | grep "$module .*ready"; }

# README.md's way with a folder of the host: the server runs as its owner.
start_on_folder() {
  install --directory --mode=700 "$demo/own"
  [ "$(id -u)" -ne 0 ] || chown 12345:12345 "$demo/own"
  start "$demo/own" --user "$(stat --format '%u:%g' "$demo/own")"
}

check "the printed line runs it" start "$container"
check "it becomes healthy without modules" becomes_healthy
check "docker exec asks how it is" docker exec "$container" attention-client health
check "an upload is stored in the volume" upload
check "it is removed" stop
check "another one runs on the volume" start "$container"
check "it becomes healthy" becomes_healthy
check "the stored module is served" serves_module
check "it is removed" stop
check "it runs as the owner of a folder of the host" start_on_folder
check "it becomes healthy" becomes_healthy
check "an upload is stored in the folder" upload
check "the module is in the folder" test -s "$demo/own/$module.safetensors"
check "it is removed" stop
