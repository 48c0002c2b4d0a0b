"""What a slow defence will cost, said before it begins."""

import sys

NOTICE = 10.0
"""Seconds of work that are worth a word."""


def announce(defense: str, each: float, passes: float) -> bool:
    """Say on standard error how long a defence itself will take, if that is long.

    Args:
        defense: its spec.
        each: seconds for an image and a draw.
        passes: how many of these there will be.

    Returns: whether there was something to say.
    """
    from rain.runtime.forecast import duration_text

    if each * passes < NOTICE:
        return False
    expected = duration_text(each * passes)
    print(f"{defense} itself will take {expected}: {each:.2g} s for an image and a draw", file=sys.stderr)
    return True
