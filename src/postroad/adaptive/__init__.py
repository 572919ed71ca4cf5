"""8 Adapt: learn each receiver's limits."""
