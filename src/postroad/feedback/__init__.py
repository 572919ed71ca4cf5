"""9 Hear back: bounces, complaints, inbound relay."""
