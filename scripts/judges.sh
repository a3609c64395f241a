#!/bin/sh
# Put other people's senders into .venv/judges, for the tests that hold the sandbox against them.
#
# They are locked (tests/judges/) and apart from .venv itself: the service never sees them. Nothing
# here may fail: where Node or the network is absent, the tests say so and are skipped. It does
# nothing while the stamps match.
set -u
cd "$(dirname "$0")/.."

judges=$PWD/.venv/judges
mkdir -p "$judges"

say() { printf '%s\n' "judges: $*" >&2; }

state_of() { cat scripts/judges.sh "$@" | sha256sum | cut -d ' ' -f 1; }

python_judges() {
    rm -rf "$judges/python"
    .venv/bin/python -m venv --without-pip "$judges/python" || return 1
    pip=
    for one in .venv/bin/python python3; do
        "$one" -m pip --version >/dev/null 2>&1 && pip="$one -m pip" && break
    done
    [ -n "$pip" ] || return 1
    # http-ece alone has no wheel: it is built here, with the locked setuptools.
    awk '/^[^ ]/ { is_it = /^setuptools==/ } is_it' tests/judges/requirements.lock \
        >"$judges/setuptools.lock"
    for lock in "$judges/setuptools.lock" tests/judges/requirements.lock; do
        # shellcheck disable=SC2086
        $pip --python "$judges/python/bin/python" install --quiet --disable-pip-version-check \
            --no-input --no-compile --only-binary :all: --no-binary http-ece --no-build-isolation \
            --require-hashes -r "$lock" || return 1
    done
}

node_judges() {
    command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1 || return 1
    rm -rf "$judges/node"
    mkdir -p "$judges/node"
    cp tests/judges/node/package.json tests/judges/node/package-lock.json "$judges/node/"
    # No script of a package runs while it is installed.
    (cd "$judges/node" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null)
}

ready() {
    stamp=$judges/$1.stamp
    state=$(state_of $2)
    [ "$(cat "$stamp" 2>/dev/null)" = "$state" ] && return
    say "fetching other people's senders for $1 (once; half a minute or so)"
    rm -f "$stamp"
    if "$1_judges"; then
        printf '%s\n' "$state" >"$stamp"
    else
        say "$1's could not be installed; their tests will be skipped"
    fi
}

ready python tests/judges/requirements.lock &
ready node "tests/judges/node/package.json tests/judges/node/package-lock.json"
wait
exit 0
