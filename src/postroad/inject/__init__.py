"""1 Inject: SMTP in."""
