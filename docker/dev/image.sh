# shellcheck shell=bash
# ./dev image: build the image, run it by the compose file and test it from outside. Sourced by ./dev.

IMAGE_PROJECT=attention-image-test
IMAGE_SCRATCH=
RUN_OPTIONS=()

image_compose() {
  compose --project-name "$IMAGE_PROJECT" --file "$IMAGE_SCRATCH/compose.yaml" "$@"
}

leave_image_test() {
  local status=$?
  trap - EXIT
  if [ -n "$IMAGE_SCRATCH" ]; then
    [ ! -e "$IMAGE_SCRATCH/compose.yaml" ] || image_compose down --volumes >"$CACHE/log/compose-down.log" 2>&1 || true
    remove_run || true
    rm -rf "$IMAGE_SCRATCH"
  fi
  stop_engine
  exit "$status"
}

# An engine of ours has no images yet, and the only network promised is Debian's archive. Elsewhere the registry is
# asked first.
ensure_base_image() {
  local base=debian:trixie-slim
  if docker image inspect "$base" >/dev/null 2>&1; then return; fi
  if [ -z "$ENGINE_PID" ] && timeout 120 docker pull --quiet "$base" >/dev/null 2>&1; then return; fi
  with_lock "$CACHE/tree.lock" ensure_base_tarball
  step "Importing it as $base" docker import "$BASE_TARBALL" "$base"
}

# label_arguments adds what the image's labels say to BUILD_ARGUMENTS. Without git, or with changes that no commit has,
# there is no revision.
label_arguments() {
  local revision
  BUILD_ARGUMENTS+=(--build-arg "VERSION=$(project_version)"
    --build-arg "CREATED=$(date --utc +%Y-%m-%dT%H:%M:%SZ)")
  if revision=$(committed_revision); then BUILD_ARGUMENTS+=(--build-arg "REVISION=$revision"); fi
}

project_version() { sed -n 's/^project(attention-server VERSION \([0-9.]*\).*/\1/p' "$ROOT/CMakeLists.txt"; }

committed_revision() {
  local git=(git -C "$ROOT" -c "safe.directory=$ROOT")
  has git && [ -z "$("${git[@]}" status --porcelain 2>/dev/null)" ] && "${git[@]}" rev-parse HEAD 2>/dev/null
}

build_image() {
  find_archives
  use_available_builder
  build_arguments
  label_arguments
  step "Building the image" docker build "${BUILD_ARGUMENTS[@]}" --tag attention-server \
    --file "$ROOT/docker/Dockerfile" "$ROOT"
}

free_port() {
  local port
  for port in {50051..50099}; do
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "$port"
      return
    fi
  done
  die "no free port between 50051 and 50099."
}

# Where the kernel has no bridges, containers share the host's network: publishing is what cannot be tested then. An
# engine of ours has no bridge that `docker run` would take by itself.
adapt_to_networks() {
  local file=$IMAGE_SCRATCH/compose.yaml
  sed "s|context: \.\.|context: $ROOT|" "$ROOT/docker/compose.yaml" >"$file"
  if docker network create "$IMAGE_PROJECT-run" >/dev/null 2>&1; then
    RUN_OPTIONS=(--network "$IMAGE_PROJECT-run")
    return
  fi
  say "This kernel has no bridge networks: the container uses the host's, on port 50051."
  ATTENTION_PORT=50051
  RUN_OPTIONS=(--network host)
  sed -i -e 's|^    ports:|    network_mode: host|' -e '/127\.0\.0\.1:.*:[0-9]*"$/d' \
    -e 's|0\.0\.0\.0:9464|127.0.0.1:9464|' "$file"
}

# The container must exist before its volume can be filled, and be filled before the server looks for modules.
start_container() {
  # Left by a run that was killed.
  image_compose down --volumes
  image_compose up --no-start
  docker cp "$IMAGE_SCRATCH/demo/modules/." "$(image_container):/modules"
  image_compose start
}

image_container() { image_compose ps --all --quiet server; }

# What tests/image/check_run.sh makes, now or in a run that was killed.
remove_run() {
  docker rm --force "$IMAGE_PROJECT-run"
  docker volume rm --force "$IMAGE_PROJECT-run"
  docker network rm "$IMAGE_PROJECT-run"
} >/dev/null 2>&1

test_image() {
  local client=("$ROOT/dev" shell "$ROOT/build/release/bin/attention-client")
  # Readable by the container's user and by a client in any environment.
  IMAGE_SCRATCH=$(mktemp --directory /tmp/attention-image.XXXXXX)
  chmod 755 "$IMAGE_SCRATCH"
  "$ROOT/dev" shell "$ROOT/build/release/bin/make-demo-modules" "$IMAGE_SCRATCH/demo"
  ATTENTION_PORT=$(free_port)
  export ATTENTION_PORT
  remove_run || true
  adapt_to_networks
  step "Starting the container" start_container
  "$ROOT/tests/image/check_image.sh" "$(image_container)" "127.0.0.1:$ATTENTION_PORT" "$IMAGE_SCRATCH/demo" \
    "${client[@]}"
  image_compose down >/dev/null 2>&1
  "$ROOT/tests/image/check_run.sh" "$IMAGE_PROJECT-run" "127.0.0.1:$ATTENTION_PORT" "$IMAGE_SCRATCH/demo" \
    "${RUN_OPTIONS[@]}" -- "${client[@]}"
}

make_image() {
  trap leave_image_test EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  "$ROOT/dev" build --preset release --target attention-client --target make-demo-modules
  engine_answers || start_engine
  ensure_compose
  ensure_base_image
  build_image
  test_image
}
