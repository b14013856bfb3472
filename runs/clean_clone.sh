#!/usr/bin/env bash
# What a newcomer waits for: set-up, demo and tests in a fresh clone of the last commit, each timed.
# The last line is one JSON document; the status is 1 beyond a bar.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone --quiet "$root" "$work/clone"
cd "$work/clone"

begin=$SECONDS
make setup >&2
set_up=$((SECONDS - begin))
make demo >&2
demo=$((SECONDS - begin))
echo "set-up $set_up s, with the demo $demo s" >&2
begin=$SECONDS
make test >&2
tests=$((SECONDS - begin))
du_mb=$(du -sm .venv | cut -f1)

printf '{"setup_s": %d, "setup_and_demo_s": %d, "bar_s": 360, "test_s": %d, "test_bar_s": 900, "venv_mb": %d}\n' \
    "$set_up" "$demo" "$tests" "$du_mb"
[ "$demo" -lt 360 ] && [ "$tests" -lt 900 ]
