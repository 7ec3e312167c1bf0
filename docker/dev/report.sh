# shellcheck shell=bash
# What ./dev tells its user, and where it keeps its own files. Sourced by ./dev.

: "${HOME:=$(getent passwd "$(id -u)" | cut -d: -f6)}"
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/attention-server

say() { printf '%s\n' "$*" >&2; }

die() {
  say "dev: $*"
  exit 1
}

# fail_usage TEXT ends with the exit code of a wrong command line.
fail_usage() {
  say "dev: $* See ./dev --help"
  exit 2
}

# distance A B prints how many letters have to be added, removed or replaced to make one out of the other.
distance() {
  local a=$1 b=$2 i j corner least row=()
  for ((j = 0; j <= ${#b}; j++)); do row[j]=$j; done
  for ((i = 1; i <= ${#a}; i++)); do
    corner=${row[0]} row[0]=$i
    for ((j = 1; j <= ${#b}; j++)); do
      [ "${a:i-1:1}" = "${b:j-1:1}" ] || corner=$((corner + 1))
      least=$((row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1))
      least=$((corner < least ? corner : least))
      corner=${row[j]} row[j]=$least
    done
  done
  echo "${row[${#b}]}"
}

# did_you_mean WORD reads candidates, one a line, and prints a question naming the nearest, if one is near.
did_you_mean() {
  local candidate letters least=3 nearest=''
  while IFS= read -r candidate; do
    letters=$(distance "$1" "$candidate")
    if [ "$letters" -lt "$least" ]; then least=$letters nearest=$candidate; fi
  done
  [ -z "$nearest" ] || printf " Did you mean '%s'?" "$nearest"
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

# with_lock FILE COMMAND... lets one ./dev at a time do something; the lock ends with this process or the command.
with_lock() {
  local file=$1 lock
  shift
  mkdir -p "$(dirname "$file")"
  exec {lock}>"$file"
  if ! flock --nonblock "$lock"; then
    say "Waiting for another ./dev that holds $file ..."
    flock "$lock"
  fi
  "$@"
  exec {lock}>&-
}
