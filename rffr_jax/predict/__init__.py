"""Photographs and videos in, a verdict with its evidence for every face out."""
