from ..end_to_end.conftest import base, command, corpus, finished  # noqa: F401
