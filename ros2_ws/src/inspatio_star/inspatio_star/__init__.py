"""The core of inspatio_sim: worlds, motion, sessions. It imports no ROS."""
