"""Benchmarks: how far each job is from the least that it could take, measured in one run."""
