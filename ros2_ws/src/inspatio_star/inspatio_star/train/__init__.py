"""Training: clips, and what learns from them.  Nobody imports it."""
