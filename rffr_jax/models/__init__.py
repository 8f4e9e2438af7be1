"""Flax modules: transformer layers, ViT, masked autoencoder, UNet, detector, Xception."""
