#!/bin/sh
# Write both lock files anew from pyproject.toml. Needs `uv` (any recent version) on the PATH.
#
# The files name versions and hashes and nothing else: where packages come from is the business of
# the machine that installs them.
set -eu
cd "$(dirname "$0")/.."

lock() {
    output=$1
    shift
    uv pip compile pyproject.toml "$@" --output-file "$output" --quiet --universal \
        --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
        --no-emit-find-links --no-annotate
}

lock requirements.lock "$@"
lock requirements-dev.lock --extra dev --extra bench "$@"
