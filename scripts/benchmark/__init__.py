"""How fast the method runs, beside the same work in PyTorch: `python -m scripts.benchmark`."""
