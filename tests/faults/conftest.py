from ..end_to_end.conftest import base, command, corpus, finished, small_runs  # noqa: F401
