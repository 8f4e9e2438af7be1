"""A page and an HTTP API that score uploads: `serve` starts them."""
