"""Videos and photographs in, aligned face crops in records out."""
