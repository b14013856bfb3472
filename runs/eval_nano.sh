#!/usr/bin/env bash
# How well star-nano imagines, with its cache, with the memory of fills alone, and without either,
# against true novel views: the Motorcycle pair and, if DATA is given, held-out clips with exact
# geometry (a folder of shards), each at its own size.  Other arguments go to the command: with
# `-- --session warp` it measures geometry in place of star-nano, with
# `-- --against star:star-nano,weights=FILE` others beside it.  The last line is one JSON document.
#
#     runs/eval_nano.sh [DATA] [-- ARGUMENT...]
set -euo pipefail
data=()
if [ $# -gt 0 ] && [ "$1" != -- ]; then
    data=(--clips "$(realpath "$1")")
    shift
fi
if [ $# -gt 0 ] && [ "$1" != -- ]; then
    echo "eval_nano.sh: wanted [DATA] [-- ARGUMENT...], got $1" >&2
    exit 2
fi
shift $(($# > 0))
cd "$(dirname "$0")/.."
# shellcheck source=/dev/null
source ros2_ws/activate.sh
exec inspatio-star eval --session star --preset star-nano --against star:star-nano,cache=fills \
    --against star:star-nano,cache=off --resolution native --out out/eval_nano --force "${data[@]}" "$@"
