"""The ROS 2 node of inspatio_sim."""
