"""What all tests share."""

from hypothesis import settings

# No test judges by the clock: a busy machine must not fail a property.
settings.register_profile("minibroker", deadline=None)
settings.load_profile("minibroker")
