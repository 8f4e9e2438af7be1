"""Flax modules: transformer layers, ViT, masked autoencoder, two-branch detector."""
