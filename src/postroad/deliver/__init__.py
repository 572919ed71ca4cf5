"""7 Deliver: to the receivers' hosts."""
