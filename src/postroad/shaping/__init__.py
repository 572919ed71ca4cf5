"""6 Shape: how fast each path may go."""
