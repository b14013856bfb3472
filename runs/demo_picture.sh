#!/usr/bin/env bash
# The picture in README.md, from what `make demo` drew last.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=/dev/null
source ros2_ws/activate.sh
python - "${1:-out/demo/sheet.png}" docs/pictures/demo.jpg <<'PYTHON'
import sys

from PIL import Image

WIDTH = 1600
sheet = Image.open(sys.argv[1]).convert('RGB')
height = round(sheet.height * WIDTH / sheet.width)
sheet.resize((WIDTH, height), Image.Resampling.LANCZOS).save(sys.argv[2], quality=80, optimize=True)
PYTHON
