"""What all tests share: no deadline of hypothesis, which a loaded machine would miss."""

from hypothesis import settings

settings.register_profile("without-deadline", deadline=None)
settings.load_profile("without-deadline")
