#!/usr/bin/env bash
# How well geometry alone predicts a real photograph: the Motorcycle world is rendered where the
# right camera stood, and compared with what that camera saw, over the pixels that the mask calls
# known.  The last line is one JSON document; the status is 1 below the bar.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=/dev/null
source ros2_ws/activate.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

inspatio-star world bundled -o "$work/motorcycle.world" > "$work/world.log"
# Camera 0.193001 m to the right, with the right camera's principal point 311.193 + 31.086.
echo '0 0.193001 0 0 0 0 0 1' > "$work/right.tum"
inspatio-star render --world "$work/motorcycle.world" --path "$work/right.tum" --session warp \
    --resolution native --intrinsics 994.978,994.978,342.279,254.877 --out "$work/out" \
    > "$work/render.log"

python - "$work/out" <<'PYTHON'
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.data import stereo_motorcycle

from inspatio_star.eval.metrics import psnr_db

BAR_DB = 27.0
out = Path(sys.argv[1])
rgb = np.asarray(Image.open(out / 'rgb' / '000000.png'))
known = np.load(out / 'mask.npy', allow_pickle=False)[0]
_, right_rgb, _ = stereo_motorcycle()
result = {
    'psnr_known_db': round(psnr_db(rgb, right_rgb, known), 3),
    'bar_db': BAR_DB,
    'known_share': round(float(known.mean()), 4),
}
print(json.dumps(result))
sys.exit(0 if result['psnr_known_db'] >= BAR_DB else 1)
PYTHON
