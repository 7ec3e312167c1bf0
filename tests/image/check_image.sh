#!/usr/bin/env bash
# Test a running container of the image from outside: check_image.sh CONTAINER HOST:PORT DEMO CLIENT...
#
# DEMO is a folder that make-demo-modules wrote and whose modules the server serves; CLIENT... is the command that runs
# attention-client. Stops the container at the end, since a graceful stop is part of what is tested.
set -euo pipefail

container=$1 target=$2 demo=$3
client=("${@:4}")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly golden=$here/../golden

# shellcheck source=tests/image/checks.sh
. "$here/checks.sh"

serves() { call health; }

demo_modules() { basename --multiple --suffix=.safetensors "$demo"/modules/*.safetensors; }

lists_demo_modules() {
  local listing name
  listing=$(call modules list)
  for name in $(demo_modules); do
    grep -qF -- "$name" <<<"$listing" || { echo "no $name in: $listing" && return 1; }
  done
}

# The answer and its attention weights must be what PyTorch recorded for the same module and input.
check_forward() {
  call forward "$1" --inputs "$demo/inputs/$1.safetensors" --need-weights --expect "$golden/$1.safetensors"
}

runs_unprivileged() {
  local uid
  uid=$(docker exec "$container" id -u)
  [ "$uid" -ne 0 ] && [ "$(docker inspect --format '{{.Config.User}}' "$container")" != "" ]
}

# Even root inside cannot change the image's files.
has_read_only_root() {
  ! docker exec --user 0 "$container" touch /usr/local/bin/probe
}

has_no_toolchain() {
  local found
  # shellcheck disable=SC2016  # expands in the container
  found=$(docker exec "$container" sh -c '
    for tool in cc c++ gcc g++ clang cpp as ld make cmake ninja git python3; do command -v "$tool"; done
    find /usr/include /usr/local/include /opt -name "*.h" 2>/dev/null | head -n 3
    true')
  [ -z "$found" ] || { echo "found: $found" && return 1; }
}

# label NAME prints the value of one of the image's standard labels.
label() { inspect "{{index .Config.Labels \"org.opencontainers.image.$1\"}}"; }

# Title, description, licence and version are the ones of what is inside; the revision may be unknown.
has_labels() {
  local name value
  for name in title description licenses version created revision; do
    value=$(label "$name")
    echo "$name: $value"
    case $name in
      title) [ "$value" = attention-server ] ;;
      description) [ -n "$value" ] ;;
      licenses) [ "$value" = Apache-2.0 ] ;;
      version) [ "attention-server $value" = "$(docker exec "$container" attention-server --version | sed -n 1p)" ] ;;
      created) [[ $value =~ ^20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-9:]{8}Z$ ]] ;;
      revision) [[ $value =~ ^([0-9a-f]{40})?$ ]] ;;
    esac || return 1
  done
}

# Ours, and those of the libraries.
has_licences() {
  docker exec "$container" cat /usr/local/share/doc/attention-server/LICENSE | diff - "$here/../../LICENSE" &&
    docker exec "$container" sh -c 'set -- /usr/share/doc/libgrpc*/copyright; [ -s "$1" ]'
}

# The image has no client for HTTP but bash.
serves_metrics() {
  # shellcheck disable=SC2016  # expands in the container
  docker exec "$container" bash -c '
    exec 3<>/dev/tcp/127.0.0.1/9464
    printf "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" >&3
    cat <&3' | grep '^attention_build_info{version="'
}

stops_gracefully() {
  docker stop --time 40 "$container"
  local code
  code=$(inspect '{{.State.ExitCode}}')
  [ "$code" -eq 0 ] || { echo "exit code $code" && return 1; }
}

print_size() {
  local image bytes
  image=$(inspect '{{.Image}}')
  bytes=$(docker image inspect --format '{{.Size}}' "$image")
  printf '  size  %d MB\n' "$((bytes / 1000000))"
}

check "the container becomes healthy" becomes_healthy
check "a client outside is told SERVING" serves
check "every demo module is listed" lists_demo_modules
for name in $(demo_modules); do
  check "$name gives PyTorch's answer" check_forward "$name"
done
check "metrics are served to other containers" serves_metrics
check "the server is not root" runs_unprivileged
check "the root filesystem is read-only" has_read_only_root
check "no compiler, build tool or header is inside" has_no_toolchain
check "the labels tell what it is" has_labels
check "the licences are inside" has_licences
print_size
check "SIGTERM ends it with exit code 0" stops_gracefully
