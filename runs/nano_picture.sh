#!/usr/bin/env bash
# The picture of star-nano in README.md: the bundled pair's left photograph moved to the right camera,
# geometry alone, filled by OpenCV, by star-nano, and what the right camera saw.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=/dev/null
source ros2_ws/activate.sh
python - "${1:-docs/pictures/nano.jpg}" <<'PYTHON'
import sys

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from inspatio_star.eval.metrics import psnr_db
from inspatio_star.eval.rollout import filled, rollout
from inspatio_star.eval.takes import motorcycle_takes
from inspatio_star.nano_session import NanoSession, load_nano
from inspatio_star.presets import NANO
from inspatio_star.warp_session import WarpSession
from inspatio_star.weights import trained_file

WIDTH, BAR = 640, 34
take = next(take for take in motorcycle_takes() if take.name == 'motorcycle-21')
frame = len(take.path) - 1
geometry = rollout(WarpSession(take.world), take.path)
ours = rollout(NanoSession(take.world, load_nano(trained_file(NANO))), take.path)
truth = take.truth_at(frame, take.world.height, take.world.width)
columns, known = truth.shape[1], geometry.known[frame]
cells = {
    'geometry alone': geometry.rgb[frame],
    'filled by OpenCV (Telea)': filled(geometry, frame, 'telea'),
    'star-nano': ours.rgb[frame],
    'photograph from there': truth,
}
font = ImageFont.load_default(20)
panels = []
for name, rgb in cells.items():
    rgb = np.ascontiguousarray(rgb[:, :columns])
    if name != 'photograph from there':
        hole = ~known[:, :columns]
        name += f': {psnr_db(rgb, truth):.1f} dB, unseen {psnr_db(rgb, truth, hole):.1f} dB'
    height = round(rgb.shape[0] * WIDTH / columns)
    panel = Image.new('RGB', (WIDTH, height + BAR), 'white')
    panel.paste(Image.fromarray(cv2.resize(rgb, (WIDTH, height), interpolation=cv2.INTER_AREA)),
                (0, BAR))
    ImageDraw.Draw(panel).text((8, 5), name, fill='black', font=font)
    panels.append(np.asarray(panel))
    print(name)
rows = [np.hstack(panels[k:k + 2]) for k in (0, 2)]
Image.fromarray(np.vstack(rows)).save(sys.argv[1], quality=85, optimize=True)
PYTHON
