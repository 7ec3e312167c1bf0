# shellcheck shell=bash
# A Docker engine of our own, for ./dev image where none answers: its own data folder and socket, no firewall rules,
# started and stopped by process id. Sourced by ./dev.

ENGINE_DATA=$CACHE/engine
ENGINE_PID=
ENGINE_RUN=

# Debian's package starts its daemon upon installation unless this file forbids it.
install_engine_quietly() {
  local policy=/usr/sbin/policy-rc.d saved
  saved=$(mktemp --directory)
  [ ! -e "$policy" ] || mv "$policy" "$saved/"
  # shellcheck disable=SC2064  # the values of now
  trap "rm '$policy'; mv '$saved'/* '$policy' 2>/dev/null; rmdir '$saved'" EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  apt_install_on_host "$@"
}

# From Debian 13 on the docker command is a package of its own.
install_engine() {
  local packages=()
  has dockerd || packages+=(docker.io)
  if ! has docker && apt-cache show docker-cli >/dev/null 2>&1; then packages+=(docker-cli); fi
  [ ${#packages[@]} -gt 0 ] || return 0
  step "Installing ${packages[*]} on this host" install_engine_quietly "${packages[@]}"
}

# The run folder lies under /tmp because a socket's path has at most 107 characters.
launch_engine() {
  mkdir -p "$ENGINE_DATA" "$CACHE/log"
  ENGINE_RUN=$(mktemp --directory /tmp/attention-engine.XXXXXX)
  # The engine ends with this process even if that is killed, does not see the terminal's Ctrl-C before we do, and its
  # mounts end with it.
  setpriv --pdeathsig TERM setsid unshare --mount dockerd \
    --data-root "$ENGINE_DATA" --exec-root "$ENGINE_RUN/exec" --pidfile "$ENGINE_RUN/pid" \
    --host "unix://$ENGINE_RUN/socket" --iptables=false --ip6tables=false --bridge=none \
    >"$CACHE/log/dockerd.log" 2>&1 </dev/null &
  ENGINE_PID=$!
  export DOCKER_HOST=unix://$ENGINE_RUN/socket
}

wait_for_engine() {
  local attempt
  for ((attempt = 0; attempt < 120; attempt++)); do
    if engine_answers; then return; fi
    kill -0 "$ENGINE_PID" 2>/dev/null || break
    sleep 0.25
  done
  tail -n 15 "$CACHE/log/dockerd.log" >&2
  die "the Docker engine did not start; the whole log: $CACHE/log/dockerd.log"
}

start_engine() {
  { is_root && has_apt; } || die "no Docker engine answers; starting one needs root on a Debian-like host."
  install_engine
  say "No Docker engine answers: starting one for this command."
  launch_engine
  wait_for_engine
}

stop_engine() {
  [ -n "$ENGINE_PID" ] || return 0
  kill "$ENGINE_PID" 2>/dev/null || true
  wait "$ENGINE_PID" 2>/dev/null || true
  rm -rf --one-file-system "$ENGINE_RUN"
  ENGINE_PID=
}

# compose ARGUMENT... is Compose v2 where the docker command knows it, else docker-compose.
compose() {
  if docker compose version >/dev/null 2>&1; then
    docker compose "$@"
  else
    docker-compose "$@"
  fi
}

ensure_compose() {
  docker compose version >/dev/null 2>&1 || install_host_packages docker-compose=docker-compose
}
