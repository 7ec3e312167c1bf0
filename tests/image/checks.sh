# shellcheck shell=bash disable=SC2154
# How a container is looked at from outside. Sourced where `container`, `target` and `client`, the command that runs
# attention-client, are set.

passed() { printf '  ok    %s\n' "$1"; }

fail() {
  printf '  FAIL  %s\n' "$1" >&2
  docker logs --tail 30 "$container" >&2 || true
  exit 1
}

inspect() { docker inspect --format "$1" "$container"; }

# check TEXT COMMAND... shows what the command said only if it failed.
check() {
  local text=$1 output
  shift
  output=$("$@" 2>&1) || fail "$text"$'\n'"$output"
  passed "$text"
}

becomes_healthy() {
  local deadline=$((SECONDS + 90))
  until [ "$(inspect '{{.State.Health.Status}}')" = healthy ]; do
    [ "$(inspect '{{.State.Running}}')" = true ] && [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.5
  done
}

call() { "${client[@]}" "$@" --target "$target"; }
