"""Metrics, protocols, plots and reports."""
