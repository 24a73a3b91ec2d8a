"""Windows of a text that is longer than a model: each token has one owner."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from medlingua.recipes.evaluation.reading import _owners


@given(tokens=st.integers(0, 600), room=st.integers(4, 80))
def test_V5_the_owner_of_a_token_is_the_window_with_most_context(tokens: int, room: int) -> None:
    """Against all windows compared with all tokens, which takes memory by the square of the length."""
    overlap = room // 4
    count = -(-(tokens - overlap) // (room - overlap)) if tokens > room else 1
    size = -(-(tokens + (count - 1) * overlap) // count)
    starts = np.linspace(0, max(0, tokens - size), count).astype(np.int64)
    ends = np.minimum(starts + size, tokens)
    expected = []
    for token in range(tokens):
        margins = []
        for start, end in zip(starts, ends, strict=True):
            left = tokens if start == 0 else token - start
            right = tokens if end == tokens else end - 1 - token
            margins.append(min(left, right) if start <= token < end else -1)
        expected.append(int(np.argmax(margins)))
    assert _owners(tokens, starts, ends).tolist() == expected
