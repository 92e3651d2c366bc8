#!/usr/bin/env bash
# Brings a Debian or Ubuntu machine to where Throughline builds (`build`) or where all its tests run (`test`, the
# default). Says nothing and changes nothing when all is there; may be run as often as one likes.
set -euo pipefail
cd "$(dirname "$0")/.."

purpose=${1:-test}
case $purpose in
build | test) ;;
*)
    echo "usage: scripts/setup.sh [build|test]" >&2
    exit 2
    ;;
esac

# What the native parts need: librdkafka (lz4, OpenSSL, zlib; zstd is bundled), hwloc (udev behind it), RocksDB (libclang
# reads its header for the bindings).
packages=(build-essential pkg-config libclang-dev libhwloc-dev libudev-dev liblz4-dev libssl-dev zlib1g-dev curl ca-certificates)

# Kafka 4 needs Java 17.
java_major_min=17

say() { echo "setup: $*" >&2; }

fail() {
    say "$*"
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "needs root for: $* (run it as root, then try again)"
    fi
}

installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Prints the first of the packages that the archive offers.
first_available() {
    local package
    for package in "$@"; do
        if apt-cache policy "$package" | grep -q 'Candidate: [0-9]'; then
            echo "$package"
            return
        fi
    done
    fail "none of these packages is offered by apt: $*"
}

java_is_recent() {
    local version
    command -v java >/dev/null || return 1
    version=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${version:-0}" -ge "$java_major_min" ]
}

# The tests start an Apache Kafka of their own, unless they are told of a broker.
needs_broker() {
    [ "$purpose" = test ] && [ -z "${THROUGHLINE_TEST_BROKERS:-}" ]
}

# Whatever the system: what a build looks for is there.
system_is_ready() {
    command -v cc >/dev/null && command -v make >/dev/null && command -v curl >/dev/null &&
        command -v pkg-config >/dev/null && pkg-config --exists hwloc liblz4 openssl zlib libudev
}

system_packages() {
    local missing=() package
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        system_is_ready || fail "not Debian or Ubuntu: please install what these packages hold: ${packages[*]}"
        if needs_broker && ! { java_is_recent && command -v mvn >/dev/null; }; then
            fail "the tests need Java $java_major_min and Maven, or a broker in THROUGHLINE_TEST_BROKERS"
        fi
        return
    fi
    for package in "${packages[@]}"; do
        installed "$package" || missing+=("$package")
    done
    local java=no
    if needs_broker; then
        java_is_recent || java=yes
        command -v mvn >/dev/null || missing+=(maven)
    fi
    [ ${#missing[@]} = 0 ] && [ $java = no ] && return
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    if [ $java = yes ]; then
        missing+=("$(first_available openjdk-17-jre-headless openjdk-21-jre-headless openjdk-25-jre-headless)")
    fi
    say "installing ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
        -o DPkg::Lock::Timeout=300 "${missing[@]}" >/dev/null
    if needs_broker && ! java_is_recent; then
        fail "java on the PATH is older than $java_major_min; select a newer one with update-alternatives --config java"
    fi
}

hwloc_is_recent() {
    pkg-config --atleast-version=2.8.0 hwloc ||
        fail "hwloc $(pkg-config --modversion hwloc) is too old: 2.8 is needed (Debian 12, Ubuntu 24.04, or newer)"
}

toolchain() {
    local pinned
    pinned=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
    export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    if ! command -v cargo >/dev/null; then
        say "installing rustup (https://rustup.rs) for Rust $pinned"
        # From the host that also serves the toolchains: one less that must be reachable.
        curl --proto '=https' --tlsv1.2 -sSf https://static.rust-lang.org/rustup/rustup-init.sh |
            sh -s -- -q -y --no-modify-path --profile minimal --default-toolchain none >/dev/null
    fi
    if command -v rustup >/dev/null; then
        if ! { rustup which cargo && rustup which rustfmt && rustup which cargo-clippy; } >/dev/null 2>&1; then
            say "installing Rust $pinned"
            rustup toolchain install "$pinned" --profile minimal --component rustfmt --component clippy >&2
        fi
    elif [ "$(rustc --version | cut -d' ' -f2)" != "$pinned" ]; then
        fail "this is $(rustc --version), not $pinned; install rustup from https://rustup.rs, it follows rust-toolchain.toml"
    fi
}

system_packages
hwloc_is_recent
toolchain
