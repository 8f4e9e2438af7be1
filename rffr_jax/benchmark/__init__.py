"""How fast the method runs, beside the same work in PyTorch: `scripts/benchmark.py`."""
