"""5 Queue: who is due when."""
