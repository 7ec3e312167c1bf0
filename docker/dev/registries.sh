# shellcheck shell=bash
# PyPI and npm, or what this host's configuration has in their place. Sourced by ./dev.

# Variables that a container is to get besides its own.
REGISTRY_VARIABLES=()

# use_host_registries exports where pip and npm get packages and whom they trust, as this host has it, from the
# environment or from their configuration. Files that only this host has are copied, or forgotten.
use_host_registries() {
  [ -z "${ATTENTION_DEV_INSIDE:-}" ] || return 0
  # shellcheck disable=SC2034  # used by container.sh
  REGISTRY_VARIABLES=(PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_CERT npm_config_registry NODE_EXTRA_CA_CERTS
    http_proxy https_proxy no_proxy)
  local certificates index registry copy=$ROOT/build/host-certificates.pem
  if has pip && index=$(pip config get global.index-url 2>/dev/null); then
    export PIP_INDEX_URL=${PIP_INDEX_URL:-$index}
  fi
  if has npm && registry=$(npm config get registry 2>/dev/null) && [ "$registry" != undefined ]; then
    export npm_config_registry=${npm_config_registry:-$registry}
  fi
  unset PIP_FIND_LINKS PIP_CONFIG_FILE
  certificates=$(host_certificates)
  if [ -n "$certificates" ] && [ "$certificates" != "$copy" ]; then
    mkdir -p "$ROOT/build"
    cp "$certificates" "$copy"
    export PIP_CERT=$copy NODE_EXTRA_CA_CERTS=$copy SSL_CERT_FILE=$copy CURL_CA_BUNDLE=$copy REQUESTS_CA_BUNDLE=$copy
  fi
}
