"""Benchmarks of the core: `python -m dev.benchmarks.speed`, see README.md."""
