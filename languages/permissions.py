"""What of files from anybody is refused unless a person names it: --allow of the commands, `allow` in Python."""

from typing import Literal, get_args

Permission = Literal["non-commercial", "pickle", "remote-code", "regex", "uncased"]
PERMISSIONS: tuple[Permission, ...] = get_args(Permission)
