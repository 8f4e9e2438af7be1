"""Experiments: several trainings and evaluations that make one table."""
