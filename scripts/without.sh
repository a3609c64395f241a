#!/bin/sh
# Run a command as on a machine that lacks some programs: sh scripts/without.sh "nginx go" COMMAND…
#
# Its PATH is one folder of links to every program of the present PATH but the named ones, so that
# a test asks for them and finds them absent. Nothing is removed.
set -eu
[ $# -ge 2 ] || { echo 'usage: sh scripts/without.sh "PROGRAM…" COMMAND [WORD…]' >&2; exit 2; }
absent=$1
shift

links=$(mktemp -d)
trap 'rm -rf "$links"' EXIT
trap 'exit 1' HUP INT TERM
IFS=:
for folder in $PATH; do
    [ -d "$folder" ] || continue
    # What stands earlier in PATH wins: a link that is there already stays.
    ln -s "$folder"/* "$links"/ 2>/dev/null || true
done
unset IFS
for program in $absent; do
    rm -f "$links/$program"
done
PATH=$links "$@"
