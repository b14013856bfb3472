"""Pixels to latents and back, as streams: the Wan2.1 VAE and TAEHV."""
