#!/bin/sh
# Cross compilers, emulators and a browser for the tests: `make toolchain`.
#
# Installs what is missing with apt-get, as root or through a sudo that asks for no password. What
# cannot be had is named, and its tests are skipped; with CI=true nothing may be skipped.
set -u

have() { command -v "$1" >/dev/null 2>&1; }

# An absolute path that exists: a compiler prints back the bare name of what it does not have.
found() {
    path=$("$1" "-print-file-name=$2" 2>/dev/null) && case $path in /*) [ -e "$path" ] ;; *) false ;; esac
}

fuzzes() {
    echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' |
        clang -fsanitize=fuzzer -x c - -o /dev/null >/dev/null 2>&1
}

# The packages of Debian bookworm; some parts have packages of their own in later releases.
missing() {
    have arm-none-eabi-gcc || echo gcc-arm-none-eabi
    found arm-none-eabi-gcc nano.specs || echo libnewlib-arm-none-eabi
    have riscv64-unknown-elf-gcc || echo gcc-riscv64-unknown-elf
    found riscv64-unknown-elf-gcc picolibc.specs || echo picolibc-riscv64-unknown-elf
    have qemu-system-arm && have qemu-system-aarch64 || echo qemu-system-arm
    have qemu-system-riscv32 || echo "qemu-system-misc qemu-system-riscv?"
    have qemu-aarch64-static || echo qemu-user-static
    have clang || echo clang
    have cmake || echo cmake
    have chromium || echo chromium
    have ninja || echo ninja-build
    have arduino-builder || echo "arduino-builder?"
    fuzzes || echo "libclang-rt-dev?"
    have aarch64-linux-gnu-gcc || echo gcc-aarch64-linux-gnu
    found aarch64-linux-gnu-gcc libc.a || echo libc6-dev-arm64-cross
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

install_missing() {
    wanted=""
    for package in $(missing); do
        # With a question mark: not in every release.
        case $package in
            *\?) apt-cache show "${package%?}" >/dev/null 2>&1 && wanted="$wanted ${package%?}" ;;
            *) wanted="$wanted $package" ;;
        esac
    done
    echo "installing$wanted"
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $wanted
}

if [ -n "$(missing)" ] && have apt-get && as_root true 2>/dev/null; then
    log=$(mktemp)
    if ! { as_root apt-get update -q && install_missing; } >"$log" 2>&1; then
        tail -n 5 "$log" >&2
    fi
    rm -f "$log"
fi

left=$(missing | tr '\n' ' ' | tr -d '?')
if [ -n "$left" ]; then
    if [ "${CI:-}" = true ]; then
        echo "missing, and CI may skip nothing: ${left% }" >&2
        exit 1
    fi
    echo "skipped: what needs ${left% } (not installed)"
fi
