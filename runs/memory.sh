#!/usr/bin/env bash
# Whether a session of the model grows from chunk to chunk, and how large its saved state is:
# bench/memory.py, which `make bench` runs too; its arguments are taken.  The last line is one JSON
# document; the status is 1 beyond a bar.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=/dev/null
source ros2_ws/activate.sh
if [ ! -e worlds/motorcycle.world ]; then
    inspatio-star world bundled -o worlds/motorcycle.world >&2
fi
exec python bench/memory.py "$@"
