"""3 Policy: hook phases, binding choice, validation."""
