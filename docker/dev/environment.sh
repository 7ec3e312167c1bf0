# shellcheck shell=bash
# Where ./dev works: decides, prepares and enters. Sourced by ./dev.

# choose_environment prints inside, native, tree or docker.
choose_environment() {
  if [ -n "${ATTENTION_DEV_INSIDE:-}" ]; then
    echo inside
    return
  fi
  case ${DEV_ENV:-} in
    native | tree | docker) echo "$DEV_ENV" && return ;;
    '') ;;
    *) die "DEV_ENV=$DEV_ENV: expected native, tree or docker." ;;
  esac
  if is_debian_13; then
    echo native
  elif is_root && [ -d "$TREE" ]; then
    echo tree
  elif engine_answers; then
    echo docker
  elif is_root && has_apt; then
    echo tree
  else
    die "needs Debian 13, or a Docker engine that answers, or root on a Debian-like host to make a Debian 13 tree."
  fi
}

missing_packages() {
  local sets=("${@/%/.txt}") installed
  installed=$(dpkg-query --show --showformat '${Package} ${db:Status-Status}\n' | awk '$2 == "installed" { print $1 }')
  (cd "$ROOT/docker/packages" && grep -hv '^#' "${sets[@]}" | sort -u) | grep -vxF "$installed" || true
}

ensure_native_packages() {
  local missing
  has_apt || die "DEV_ENV=native: this host has no apt-get."
  missing=$(missing_packages "$@")
  [ -n "$missing" ] || return 0
  is_root || die "needs packages: sudo apt-get install --no-install-recommends $(tr '\n' ' ' <<<"$missing")"
  with_lock "$CACHE/native.lock" step "Installing the package sets: $*" "$ROOT/docker/packages/install.sh" "$@"
}

check_tree_is_possible() {
  is_root || die "a Debian 13 tree needs root: run with sudo, or use a Docker engine."
  [ -d "$TREE" ] || has_apt || die "DEV_ENV=tree: this host has no apt-get to make a Debian 13 tree with."
}

# working_directory prints where a command works in a tree or container: where it is called, which the environment gets
# to see, or in the checkout where the environment has that directory itself.
working_directory() {
  case $PWD/ in
    "$ROOT"/*) echo "$PWD" ;;
    // | /bin/* | /boot/* | /dev/* | /etc/* | /lib*/* | /proc/* | /run/* | /sbin/* | /sys/* | /usr/* | \
      /var/ | /var/cache/* | /var/lib/*)
      say "The environment has a $PWD of its own: working in $ROOT."
      echo "$ROOT"
      ;;
    *) echo "$PWD" ;;
  esac
}

# enter_environment SETS COMMAND... returns, in the environment already, or replaces this process by COMMAND in it. SETS
# is a list of words: the package sets the command needs.
enter_environment() {
  local environment wanted=$1
  shift
  environment=$(choose_environment)
  case $environment in
    inside) ;;
    native)
      # shellcheck disable=SC2086  # a list of words
      ensure_native_packages $wanted
      ;;
    tree)
      check_tree_is_possible
      exec_in_tree "$wanted" "$@"
      ;;
    docker)
      engine_answers || die "DEV_ENV=docker: no Docker engine answers."
      exec_in_container "$wanted" "$@"
      ;;
  esac
}
