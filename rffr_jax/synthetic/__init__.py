"""Images that the program makes: procedural faces, their capture, and manipulations."""
