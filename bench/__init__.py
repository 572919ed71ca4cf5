"""Benchmarks: each prints what it measured, in which durability mode, beside the raw limit of the same run."""
