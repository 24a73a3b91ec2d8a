"""Numbers and paths in a readable form."""

import re
from pathlib import PurePath

THIN = "\u202f"  # narrow no-break space: 1 234 567 reads the same in all languages


def count(number: float) -> str:
    return f"{number:,.0f}".replace(",", THIN)


def thin(text: str) -> str:
    """A sentence with the numbers of a log, 1,234,567, as `count` writes them."""
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", THIN, text)


def times(number: float) -> str:
    """Once, 3 times, 0.4 times."""
    text = f"{number:.2g}"
    return "once" if text == "1" else f"{text} times"


def short(number: float) -> str:
    """1.2 million instead of 1 203 417, for sentences and axes."""
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:.3g} {word}"
    return count(number)


def signed(number: float, digits: int = 3) -> str:
    """With its sign; what rounds to zero has none."""
    text = f"{number:+.{digits}f}".replace("-", "−")
    return text if text.strip("+−0.") else text[1:]


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}{THIN}%" if whole else "–"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def memory(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def energy(joules: float) -> str:
    return f"{joules / 3.6e6:.2f} kWh" if joules >= 3.6e5 else f"{joules / 3600:.1f} Wh"


def short_path(name: str) -> str:
    """A path or hub id without the folders of the machine, to be published.

    A run's `model` folder keeps the name of its run: "model" alone identifies nothing.
    """
    path = PurePath(name)
    if not path.is_absolute():
        return name
    return f"{path.parent.name}/{path.name}" if path.name == "model" and path.parent.name else path.name
