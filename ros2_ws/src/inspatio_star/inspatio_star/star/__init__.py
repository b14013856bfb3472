"""The spatiotemporal autoregressive generator: latents of a chunk from noise and conditions."""
