# shellcheck shell=bash
# A development container, where a Docker engine answers. Sourced by ./dev.

engine_answers() {
  has docker && timeout 5 docker version --format '{{.Server.Version}}' >/dev/null 2>&1
}

# build_arguments fills BUILD_ARGUMENTS with what `docker build` needs to reach the archives this host uses. Proxies are
# Docker's predefined arguments, which leave no trace in the image.
build_arguments() {
  local name
  BUILD_ARGUMENTS=(--network host)
  for name in APT_MIRROR APT_SECURITY_MIRROR APT_OPTIONS http_proxy https_proxy no_proxy; do
    [ -z "${!name:-}" ] || BUILD_ARGUMENTS+=(--build-arg "$name=${!name}")
  done
}

# Without the buildx plugin only the classic builder is there.
use_available_builder() {
  docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0
}

# container_image SETS prints a name that changes with the content of the lists.
container_image() {
  local set hash
  # shellcheck disable=SC2086  # a list of words
  hash=$(for set in $1; do cat "$ROOT/docker/packages/$set.txt"; done | sha256sum)
  printf 'attention-dev:%s-%s' "${1// /-}" "${hash:0:12}"
}

build_container_image() {
  find_archives
  use_available_builder
  build_arguments
  step "Building the development container ($1)" docker build "${BUILD_ARGUMENTS[@]}" --target environment \
    --build-arg "PACKAGE_SETS=$1" --tag "$(container_image "$1")" --file "$ROOT/docker/Dockerfile" "$ROOT"
}

# exec_in_container SETS COMMAND... replaces this process. Sanitizers need ptrace and an address space layout of their
# own choice, which the default seccomp profile forbids.
exec_in_container() {
  local sets=$1 image directory terminal=() objects variables
  shift
  image=$(container_image "$sets")
  docker image inspect "$image" >/dev/null 2>&1 || with_lock "$CACHE/container.lock" build_container_image "$sets"
  mkdir -p "$CACHE/container/ccache"
  if [ -t 0 ] && [ -t 1 ]; then terminal=(--tty); fi
  directory=$(working_directory)
  # The server's and the client's options may come from the environment.
  mapfile -t variables < <(compgen -e ATTENTION_)
  objects=$(git_directory)
  exec docker run --rm --init --interactive "${terminal[@]}" --network host \
    --cap-add SYS_PTRACE --security-opt seccomp=unconfined --user "$(id -u):$(id -g)" \
    --volume "$directory:$directory" --volume "$ROOT:$ROOT" --volume "$CACHE/container:$CACHE/container" \
    --volume /tmp:/tmp \
    ${objects:+--volume "$objects:$objects"} --workdir "$directory" \
    --env HOME="$CACHE/container" --env CCACHE_DIR="$CACHE/container/ccache" --env ATTENTION_DEV_INSIDE=1 --env CI \
    --env LANG=C.UTF-8 --env DEV_PRESET "${variables[@]/#/--env=}" "${REGISTRY_VARIABLES[@]/#/--env=}" "$image" "$@"
}
