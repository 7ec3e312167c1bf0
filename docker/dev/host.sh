# shellcheck shell=bash
# Facts about this host: what it is, and where its own configuration says Debian packages come from. Sourced by ./dev.

is_root() { [ "$(id -u)" -eq 0 ]; }

has() { command -v "$1" >/dev/null 2>&1; }

has_apt() { has apt-get && has dpkg; }

# Debian 13 or newer; testing and unstable carry no VERSION_ID.
is_debian_13() {
  [ -r /etc/os-release ] || return 1
  (
    # shellcheck source=/dev/null
    . /etc/os-release
    [ "${ID:-}" = debian ] && [ "${VERSION_ID:-99}" -ge 13 ]
  )
}

# architecture in Debian's spelling; hosts without dpkg only need it to name files.
architecture() {
  if has dpkg; then dpkg --print-architecture; else uname -m; fi
}

# install_host_packages COMMAND=PACKAGE... installs the package of every command this host lacks.
install_host_packages() {
  local pair missing=()
  for pair in "$@"; do
    has "${pair%%=*}" || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  is_root || die "needs ${missing[*]}: install with apt-get, or run as root."
  step "Installing ${missing[*]} on this host" apt_install_on_host "${missing[@]}"
}

# A foreign repository of the host may be unreachable while the ones we need answer, hence no stop at a failed update.
apt_install_on_host() {
  local options=(-y --no-install-recommends -o DPkg::Lock::Timeout=300)
  export DEBIAN_FRONTEND=noninteractive
  apt-get update || true
  apt-get install "${options[@]}" "$@"
}

# host_archive LABEL PATH prints the URI of the Debian archive with this label that apt uses here. apt knows an
# archive's label once its lists are downloaded; without lists the last part of the path decides.
host_archive() {
  has_apt || return 0
  # shellcheck disable=SC2016  # apt fills these fields in
  apt-get indextargets --format '$(ORIGIN)/$(LABEL) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    awk -v label="Debian/$1" -v path="/$2/?$" '
      $2 !~ /^(http|https|ftp):/ { next }
      $1 == label && !named { named = $2 }
      $2 ~ path && !guessed { guessed = $2 }
      END { print named ? named : guessed }' | sed 's:/*$::'
}

# Lines of apt.conf that decide how archives are reached. Files and programs they might name do not exist elsewhere.
host_apt_options() {
  has_apt || return 0
  apt-config dump | grep -E '^Acquire::(Check-|Max-|Retries|ForceIPv|http::|https::|ftp::)' |
    grep -viE 'auto-detect|::(CA|Ssl|CRL|Issuer)' || true
}

# use_host_proxy gives programs that know only the environment (wget, docker build) the proxy apt has been given.
use_host_proxy() {
  has_apt || return 0
  local scheme value
  for scheme in http https; do
    local variable=${scheme}_proxy
    [ -z "${!variable:-}" ] || continue
    eval "$(apt-config shell value "Acquire::$scheme::Proxy")"
    case ${value:-} in
      http://* | https://* | socks5h://*) export "$variable=$value" ;;
    esac
    value=
  done
}

# The certificates this host trusts, in one file; prints nothing where there is none.
host_certificates() {
  local file
  for file in "${SSL_CERT_FILE:-}" "${CURL_CA_BUNDLE:-}" /etc/ssl/certs/ca-certificates.crt; do
    if [ -n "$file" ] && [ -r "$file" ]; then
      readlink -f "$file"
      return
    fi
  done
}

serves_trixie() {
  wget --quiet --spider --timeout=20 --tries=2 "$1/dists/$2/InRelease"
}

# find_archives sets APT_MIRROR, APT_SECURITY_MIRROR and APT_OPTIONS from the host's configuration. An archive that
# does not have trixie (a host pinned to an old snapshot, say) is left out, and the default one is used.
find_archives() {
  APT_MIRROR=$(host_archive Debian debian)
  APT_SECURITY_MIRROR=$(host_archive Debian-Security debian-security)
  APT_OPTIONS=$(host_apt_options)
  use_host_proxy
  if [ -n "$APT_MIRROR" ] && ! serves_trixie "$APT_MIRROR" trixie; then APT_MIRROR=; fi
  if [ -n "$APT_SECURITY_MIRROR" ] && ! serves_trixie "$APT_SECURITY_MIRROR" trixie-security; then
    APT_SECURITY_MIRROR=
  fi
  export APT_MIRROR APT_SECURITY_MIRROR APT_OPTIONS
}
