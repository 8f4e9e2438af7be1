"""What the program draws: procedural faces, their capture, and manipulations."""
