#!/usr/bin/env bash
# Installs what commands of the Makefile need and this machine lacks: `install-tools.sh
# run|test|lint|fuzz|prove|bench|advisories…`.
#
# It looks at commands and files alone, so that a machine with nothing missing pays a few
# milliseconds and apt is never called. What it is about to install, and why, is said first. Rust's
# own toolchain is the one thing that it expects.
set -euo pipefail

missing_packages=()
missing_tools=()

say() { printf 'install: %s\n' "$*" >&2; }

die() {
  say "$*"
  exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# need PACKAGE WHY CHECK...: notes a Debian package where the check fails.
need() {
  local package=$1 why=$2
  shift 2
  [[ " ${missing_packages[*]} " == *" $package "* ]] && return
  "$@" >/dev/null 2>&1 && return
  missing_packages+=("$package")
  say "missing: $package ($why)"
}

# need_cargo_tool TOOL WHY: notes a subcommand of cargo that is missing.
need_cargo_tool() {
  has "$1" && return
  missing_tools+=("$1")
  say "missing: $1 ($2)"
}

need_compilers() {
  need gcc "links every program, compiles the C in dependencies" has gcc
  need g++ "compiles the C++ in dependencies" has g++
  need make "runs the Makefile, builds OpenSSL" has make
  need cmake "builds zlib-ng for Pingora" has cmake
  # Debian's minimal system has perl without the modules that OpenSSL's build asks for.
  need perl "configures OpenSSL, which is linked statically" perl -MIPC::Cmd -MFile::Compare -e 1
  need pkg-config "finds system libraries for build scripts" has pkg-config
}

need_servers() {
  need postgresql "the database server, version 15 or later, started privately" compgen -G '/usr/lib/postgresql/1[5-9]/bin/postgres'
  need redis-server "the server between the planes, started privately" has redis-server
  need ca-certificates "the roots that an upstream's certificate is checked against" test -s /etc/ssl/certs/ca-certificates.crt
  need curl "to try what was started" has curl
}

need_browser() {
  need chromium "the browser of the end-to-end tests" has chromium
  need chromium-driver "drives that browser" has chromedriver
  need fonts-dejavu-core "lets that browser show text" test -d /usr/share/fonts/truetype/dejavu
}

need_authority() {
  need pebble "the ACME authority of the end-to-end tests" has pebble
}

need_wrong_clocks() {
  need faketime "gives an edge a wrong clock" compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1'
}

need_rivals() {
  local nginx=/usr/lib/nginx/modules/ngx_http
  need nginx "the proxy that the edge is measured against, and what answers it, started privately" has_nginx
  need libnginx-mod-http-lua "lets nginx look tokens up, as a gateway made of it does" test -e "${nginx}_lua_module.so"
  need lua-nginx-redis "asks Redis for them" test -e /usr/share/lua/5.1/nginx/redis.lua
  need haproxy "the other proxy that the edge is measured against, started privately" has_haproxy
  need wrk "loads them by HTTP/1.1" has wrk
  need nghttp2-client "loads the edge by HTTP/2" has h2load
}

# Debian puts it where only root's PATH looks.
has_nginx() { has nginx || [ -x /usr/sbin/nginx ]; }
has_haproxy() { has haproxy || [ -x /usr/sbin/haproxy ]; }

# Runs a command as root, by sudo where this is somebody else.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif has sudo; then
    sudo "$@"
  else
    die "root is needed and sudo is not here; as root, run: apt-get install ${missing_packages[*]}"
  fi
}

# Installs the missing packages. Debian starts a server when it is installed and at every boot;
# these are only wanted as programs, so that ports 80, 5432 and 6379 stay free: the start is
# forbidden meanwhile, and what came anew is switched off.
install_packages() {
  [ ${#missing_packages[@]} -gt 0 ] || return 0
  has apt-get || die "this script installs Debian packages only; install by hand: ${missing_packages[*]}"
  say "installing ${#missing_packages[@]} Debian package(s): ${missing_packages[*]}"
  as_root env DEBIAN_FRONTEND=noninteractive bash -euo pipefail -c '
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
      trap "rm -f $policy" EXIT
      printf "#!/bin/sh\nexit 101\n" >"$policy"
      chmod +x "$policy"
    fi
    apt-get update -q
    apt-get install -q -y --no-install-recommends "$@"
    for package in "$@"; do
      case $package in
        haproxy | nginx | postgresql | redis-server) update-rc.d "$package" disable ;;
      esac
    done
  ' install "${missing_packages[@]}" </dev/null
}

# Schemathesis has an environment of its own, beside what is built; `deploy/schemathesis.txt` names
# its version and those of all beneath it.
install_schemathesis() {
  local environment=${CARGO_TARGET_DIR:-target}/tools/schemathesis
  cmp --quiet deploy/schemathesis.txt "$environment/installed.txt" && return
  say "installing Schemathesis from PyPI, once"
  python3 -m venv --clear "$environment"
  "$environment/bin/pip" install --quiet --disable-pip-version-check --requirement deploy/schemathesis.txt </dev/null
  cp deploy/schemathesis.txt "$environment/installed.txt"
}

# axe-core (MPL-2.0) is fetched for the tests alone and is no part of the programs; its version and
# what npm publishes as its integrity stand here.
AXE_VERSION=4.11.1
AXE_SHA512=BASOg+YwO2C+346x3LZOeoovTIoTrRqEsqMa6fmfAV0P+U9mFr9NsyOEpiYvFjbc64NMrSswhV50WdXzdb/Z5A==

install_axe() {
  local folder=${CARGO_TARGET_DIR:-target}/tools/axe-core
  local published
  published=$(printf '%s' "$AXE_SHA512" | base64 -d | od -An -v -tx1 | tr -d ' \n')
  [ "$(cat "$folder/installed.txt" 2>/dev/null)" = "$published" ] && [ -s "$folder/axe.min.js" ] && return
  say "fetching axe-core $AXE_VERSION from npm, once"
  # Where npm is here, it knows which registry is used.
  local registry=${npm_config_registry:-https://registry.npmjs.org/}
  ! has npm || registry=$(npm config get registry)
  mkdir -p "$folder"
  curl --fail --silent --show-error --location --retry 3 --output "$folder/axe-core.tgz" \
    "${registry%/}/axe-core/-/axe-core-$AXE_VERSION.tgz"
  printf '%s  %s\n' "$published" "$folder/axe-core.tgz" | sha512sum --check --quiet --strict ||
    die "what npm gave is not axe-core $AXE_VERSION as it was published"
  tar --extract --gzip --file "$folder/axe-core.tgz" --directory "$folder" --strip-components 1 package/axe.min.js package/LICENSE
  rm "$folder/axe-core.tgz"
  printf '%s' "$published" >"$folder/installed.txt"
}

# Builds the missing subcommands of cargo from crates.io, in a folder of their own: their
# dependencies have no place among the project's.
install_tools() {
  [ ${#missing_tools[@]} -gt 0 ] || return 0
  say "building from crates.io, once, which takes minutes: ${missing_tools[*]}"
  build=$(mktemp -d)
  trap 'rm -rf "$build"' EXIT
  CARGO_TARGET_DIR=$build cargo install --locked "${missing_tools[@]}" </dev/null
}

export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
has cargo || die "Rust's toolchain is missing; install it as https://rustup.rs says, then try again"
cd "$(dirname "$0")/.."

for command in "${@:-none}"; do
  case $command in
    run | prove)
      need_compilers
      need_servers
      ;;
    test)
      need_compilers
      need_servers
      need_browser
      need_wrong_clocks
      need_authority
      need python3-venv "holds Schemathesis, which tries the API by its document" python3 -c 'import ensurepip, venv'
      wants_schemathesis=1
      wants_axe=1
      need_cargo_tool cargo-nextest "runs the tests"
      ;;
    bench)
      need_compilers
      need_servers
      need_rivals
      ;;
    fuzz) need_compilers ;;
    lint | advisories)
      need_compilers
      need_cargo_tool cargo-deny "checks the dependencies' licences and sources"
      ;;
    *) die "usage: install-tools.sh run|test|lint|fuzz|prove|bench|advisories…" ;;
  esac
done
install_packages
install_tools
[ -z "${wants_schemathesis:-}" ] || install_schemathesis
[ -z "${wants_axe:-}" ] || install_axe
