"""The parts of `scripts/gpu_parts.sh` that are no job and no row of the benchmark."""
