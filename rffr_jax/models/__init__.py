"""Flax modules: transformer layers, ViT, masked autoencoder, UNet, two-branch detector."""
