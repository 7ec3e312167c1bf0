#!/usr/bin/env bash
# Show the service at work: run_demo.sh BIN_DIR
#
# Starts attention-server on a free loopback port with the modules that make-demo-modules writes, calls it with
# attention-client, compares every answer with what PyTorch gave for the same weights and inputs
# (tests/golden), and stops the server. Exits 0 only if all of that held. Needs no PyTorch.
set -euo pipefail

if [ $# -ne 1 ] || [ ! -d "$1" ]; then
  echo "usage: run_demo.sh BIN_DIR (the folder of attention-server, attention-client and make-demo-modules)" >&2
  exit 2
fi
bin=$(cd "$1" && pwd)
golden=$(cd "$(dirname "${BASH_SOURCE[0]}")/../golden" && pwd)
scratch=$(mktemp --directory)
readonly bin golden scratch
readonly answer_differs=3 # attention-client's exit code
server=

clean_up() {
  if [ -n "$server" ]; then
    kill -KILL "$server" 2>/dev/null || true
  fi
  rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

bold='' plain=''
if [ -t 1 ]; then
  bold=$'\033[1m' plain=$'\033[0m'
fi
readonly bold plain

title() { printf '\n%s== %s%s\n' "$bold" "$1" "$plain"; }

fail() {
  printf '\nThe demo FAILED: %s\n' "$1" >&2
  if [ -s "$scratch/server.log" ]; then
    printf 'The last lines of the server log:\n' >&2
    tail -n 20 "$scratch/server.log" >&2
  fi
  exit 1
}

# recorded_version prints the PyTorch release that recorded the answers, from the metadata of one.
recorded_version() { grep --text --only-matching --max-count=1 '"torch":"[^"]*"' "$golden/first_steps.safetensors" | cut -d '"' -f 4; }

call() { "$bin/attention-client" "$@" --target "$address"; }

start_server() {
  local line
  mkfifo "$scratch/pipe"
  "$bin/attention-server" --listen 127.0.0.1:0 --modules "$scratch/modules" --load all >"$scratch/pipe" 2>&1 &
  server=$!
  exec 3<"$scratch/pipe"
  while read -r line <&3; do
    printf '%s\n' "$line" >>"$scratch/server.log"
    if [[ $line =~ listening\ on\ (127\.0\.0\.1:[0-9]+) ]]; then
      address=${BASH_REMATCH[1]}
      cat <&3 >>"$scratch/server.log" &
      return
    fi
  done
  fail "the server ended before it listened."
}

stop_server() {
  local code=0
  kill -TERM "$server"
  wait "$server" || code=$?
  server=
  [ "$code" -eq 0 ] || fail "the server exited with $code after SIGTERM."
}

# show_forward NAME TEXT [OPTION...] calls one module and compares its answer with PyTorch's.
show_forward() {
  local name=$1
  title "$2"
  call forward "$name" --inputs "$scratch/inputs/$name.safetensors" --need-weights \
    --expect "$golden/$name.safetensors" "${@:3}" || fail "$name did not give PyTorch's answer."
}

# show_difference NAME TEXT calls a module without the masks its recorded answer was given with, and must be told so.
show_difference() {
  local name=$1 code=0
  title "$2"
  call forward "$name" --query "$scratch/inputs/$name.safetensors" --need-weights \
    --expect "$golden/$name.safetensors" || code=$?
  [ "$code" -eq "$answer_differs" ] || fail "a wrong answer for $name was not noticed (exit code $code)."
}

title "Five modules with weights, as torch.nn.MultiheadAttention would save them"
"$bin/make-demo-modules" "$scratch" || fail "the modules could not be written."
du --apparent-size -h "$scratch"/modules/*.safetensors | sed "s|$scratch/||"

title "A server of its own on a free loopback port"
start_server
echo "attention-server listens on $address, process $server"
call health || fail "the server is not healthy."
call modules list || fail "the modules could not be listed."

show_forward first_steps "MultiheadAttention(4, 2): 3 positions, sequence first"
show_forward cross_attention "MultiheadAttention(512, 8): separate query, key and value of shape (4, 100, 512)"
show_forward self_attention "MultiheadAttention(256, 4): self-attention on (2, 50, 256)"
show_forward causal_attention "MultiheadAttention(128, 4): the upper-triangular mask hides the future" --weights
show_forward batch_first "MultiheadAttention(64, 2, batch_first=True): who attends to whom" --weights

show_difference causal_attention "The same module without its mask: the answer must differ from the recorded one"

title "Graceful stop"
stop_server
echo "The server drained and exited with 0 after SIGTERM."

printf '\nAll five answers, and their attention weights, equal those recorded from PyTorch %s\n' \
  "$(recorded_version) within torch.testing's default tolerance. The demo succeeded."
