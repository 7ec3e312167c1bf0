# shellcheck shell=bash
# What ./dev tells its user, and where it keeps its own files. Sourced by ./dev.

: "${HOME:=$(getent passwd "$(id -u)" | cut -d: -f6)}"
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/attention-server

say() { printf '%s\n' "$*" >&2; }

die() {
  say "dev: $*"
  exit 1
}

# step TEXT COMMAND... runs a command quietly and says how long it took. Call it as a statement of its own: inside a
# condition bash would ignore failures within the command.
step() {
  local text=$1 started=$SECONDS log status
  shift
  log=$CACHE/log/$(tr -cs 'A-Za-z0-9\n' - <<<"$text").log
  mkdir -p "$CACHE/log"
  printf '%s ... ' "$text" >&2
  set +e
  (
    set -e
    "$@"
  ) >"$log" 2>&1 </dev/null
  status=$?
  set -e
  if [ "$status" -ne 0 ]; then
    say "failed after $((SECONDS - started)) s; the end of the log:"
    tail -n 15 "$log" >&2
    die "'$text' failed; the whole log: $log"
  fi
  say "$((SECONDS - started)) s"
}

# with_lock NAME COMMAND... lets one ./dev at a time do something; the lock ends with this process or the command.
with_lock() {
  local name=$1 lock
  shift
  mkdir -p "$CACHE"
  exec {lock}>"$CACHE/$name.lock"
  if ! flock --nonblock "$lock"; then
    say "Waiting for another ./dev that holds $CACHE/$name.lock ..."
    flock "$lock"
  fi
  "$@"
  exec {lock}>&-
}
