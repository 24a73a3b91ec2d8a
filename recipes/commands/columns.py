"""Tables on a terminal."""


def aligned(rows: list[dict[str, str]]) -> list[str]:
    """Rows with the same keys as lines of text, the keys above them."""
    widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in rows[0]}
    table = ({key: key for key in widths}, *rows)
    return ["  ".join(row[key].ljust(width) for key, width in widths.items()).rstrip() for row in table]
