"""Dataset specs -> examples -> uint8 batches."""
