"""`adapt plan`: what a run will cost on this machine, measured before it starts."""

from medlingua.recipes.settings import Run


def plan(run: Run) -> str:
    """What a run will cost here, in words, from its own text and steps measured on this machine."""
    from medlingua.recipes.walk import plan as measured

    return "\n".join(measured(run))
