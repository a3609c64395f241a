#!/bin/sh
# Write the lock files anew: two from pyproject.toml, and those of the tests' foreign senders.
# Needs `uv` (any recent version) on the PATH.
#
# The files name versions and hashes and nothing else: where packages come from is the business of
# the machine that installs them.
set -eu
cd "$(dirname "$0")/.."

lock() {
    output=$1
    from=$2
    shift 2
    uv pip compile "$from" "$@" --output-file "$output" --quiet --universal \
        --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
        --no-emit-find-links --no-annotate
}

lock requirements.lock pyproject.toml "$@"
lock requirements-dev.lock pyproject.toml --extra dev --extra bench "$@"
lock tests/judges/requirements.lock tests/judges/requirements.in "$@"

# Those of Node, where it is present: npm raises versions only where it is told to (`npm update`).
if command -v npm >/dev/null 2>&1; then
    (cd tests/judges/node && npm install --package-lock-only --ignore-scripts --no-audit \
        --no-fund --omit-lockfile-registry-resolved --loglevel=error)
fi
