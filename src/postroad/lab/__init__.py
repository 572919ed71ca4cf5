"""The workshop: simulated providers, load, simulation."""
