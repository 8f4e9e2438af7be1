"""Pixels and geometry: decoding, image formats, alignment, landmarks, corruptions; no datasets."""
