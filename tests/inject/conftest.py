"""Settings for hypothesis: a busy machine must not fail a test, so no example has a deadline."""

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
