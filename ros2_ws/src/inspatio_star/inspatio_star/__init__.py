"""The core of inspatio_sim: worlds, motion, sessions. It imports no ROS."""

from numba import config

# Sums over the channels of a pixel are one instruction; numba leaves that off.
config.SLP_VECTORIZE = 1
