from ..end_to_end.conftest import base, command, corpus, finished, small_reports  # noqa: F401
