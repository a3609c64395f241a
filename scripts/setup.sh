#!/bin/sh
# Make .venv hold exactly what requirements-dev.lock says, and Tocsin itself, ready to run.
#
# Every target of the Makefile calls this first. It is safe to run at any moment: it does nothing
# while the stamp in .venv matches, and begins anew when the lock file, this file, the Python or
# the folder changed. A bare Debian has Python without pip and without the means to make a virtual
# environment; what is missing is fetched with apt, as root or as an ordinary user, and only if
# that fails too the one command to type is printed.
set -eu
cd "$(dirname "$0")/.."

venv=.venv
lock=requirements-dev.lock
stamp=$venv/tocsin-setup.stamp
tools=$venv/bootstrap

say() { printf '%s\n' "setup: $*" >&2; }

give_up() {
    say "$1"
    say "Type this once, then run make again:"
    printf '\n    %s\n\n' "$2" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        printf 'apt-get update && apt-get install -y %s' "$1"
    elif command -v sudo >/dev/null 2>&1; then
        printf 'sudo sh -c "apt-get update && apt-get install -y %s"' "$1"
    else
        printf 'su -c "apt-get update && apt-get install -y %s"' "$1"
    fi
}

find_python() {
    for name in ${PYTHON:-} python3 python3.11 python3.12 python3.13 python3.14; do
        path=$(command -v "$name" 2>/dev/null) || continue
        if "$path" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            # A launcher that only forwards would be a poor home for a virtual environment.
            "$path" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    give_up "no Python 3.11 or newer was found." "$(as_root 'python3 python3-venv')"
}

# The ways to a working pip inside .venv, best first. Each answers true when it worked.

with_ensurepip() {
    "$python" -c 'import ensurepip' 2>/dev/null || return 1
    "$python" -m venv --clear "$venv" >&2 && venv_pip="$venv/bin/python -m pip"
}

with_apt_as_root() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || return 1
    say "this Python cannot make virtual environments; installing python3-venv with apt"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq python3-venv >/dev/null 2>&1 ||
        { apt-get update -qq >/dev/null 2>&1 &&
            apt-get install -y -qq python3-venv >/dev/null 2>&1; } || return 1
    with_ensurepip
}

with_system_pip() {
    "$python" -m pip --python "$python" --version >/dev/null 2>&1 || return 1
    say "this Python cannot make virtual environments with pip; using the system's pip"
    "$python" -m venv --clear --without-pip "$venv" &&
        venv_pip="$python -m pip --python $venv/bin/python"
}

# Debian keeps pip as a wheel in a package that anybody may download and unpack without root.
with_downloaded_pip() {
    command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1 || return 1
    say "this Python has no pip; fetching Debian's own pip package into $tools"
    "$python" -m venv --clear --without-pip "$venv" || return 1
    mkdir -p "$tools/lists/partial" "$tools/cache/archives/partial"
    (
        cd "$tools"
        own_lists="-o Dir::State::Lists=$PWD/lists -o Dir::Cache=$PWD/cache"
        apt-get download -qq python3-pip-whl >/dev/null 2>&1 || {
            # No package lists on this machine yet: fetch them into our own folder.
            # shellcheck disable=SC2086
            apt-get $own_lists update -qq >/dev/null 2>&1
            # shellcheck disable=SC2086
            apt-get $own_lists download -qq python3-pip-whl >/dev/null 2>&1
        }
        for package in python3-pip-whl_*.deb; do dpkg-deb -x "$package" unpacked; done
    ) 2>/dev/null || return 1
    wheel=$(find "$PWD/$tools/unpacked/usr/share/python-wheels" -name 'pip-*.whl' | head -n 1)
    [ -n "$wheel" ] || return 1
    venv_pip="$venv/bin/python $wheel/pip"
}

with_sudo() {
    command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null || return 1
    say "installing python3-venv with sudo apt-get"
    sudo -n sh -c 'apt-get update -qq && apt-get install -y -qq python3-venv' \
        >/dev/null 2>&1 || return 1
    with_ensurepip
}

install() {
    # shellcheck disable=SC2086
    $venv_pip --isolated --version >/dev/null 2>&1 || return 1
    # Wheels only: a compiler is not asked for, and nothing runs code of its own while installing.
    # shellcheck disable=SC2086
    $venv_pip install --quiet --disable-pip-version-check --no-input --no-warn-script-location \
        --only-binary :all: --require-hashes -r "$lock" &&
        $venv_pip install --quiet --disable-pip-version-check --no-input \
            --no-warn-script-location --no-deps --no-build-isolation --editable .
}

python=$(find_python) || exit 1
state=$({ cat "$lock" pyproject.toml scripts/setup.sh && "$python" -VV && pwd; } |
    sha256sum | cut -d ' ' -f 1)
if [ -x "$venv/bin/tocsin" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$state" ]; then
    exit 0
fi

say "preparing .venv with $("$python" -V) (once; a minute or so)"
venv_pip=
with_ensurepip || with_apt_as_root || with_system_pip || with_downloaded_pip || with_sudo ||
    give_up "this Python cannot make virtual environments and nothing here could help." "$(as_root python3-venv)"
say "installing the locked packages"
install || give_up "the locked packages could not be installed (see above); is there a network?" \
    "make setup"
rm -rf "$tools"
printf '%s\n' "$state" >"$stamp"
say "done"
