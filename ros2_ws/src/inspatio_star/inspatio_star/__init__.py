"""The core of inspatio_sim: worlds, motion, sessions. It imports no ROS."""

import os

# Sums over the channels of a pixel become one instruction; numba leaves that off.
os.environ.setdefault('NUMBA_SLP_VECTORIZE', '1')
