"""Tables as CSV: a word of a corpus opens in a spreadsheet as a word."""

import pandas as pd
from medlingua.recipes.experiments.vocabulary import harmless


def test_no_cell_begins_a_formula_and_all_others_are_as_they_were() -> None:
    words = ["=HYPERLINK(1)", "+1", "-ite", "@SUM(A1)", "\tx", "fièvre", "a=b", ""]
    frame = harmless(pd.DataFrame({"word": words, "count": [-1, 2, 3, 4, 5, 6, 7, 8], "share": [-0.5] * 8}))
    assert list(frame["word"]) == ["'=HYPERLINK(1)", "'+1", "'-ite", "'@SUM(A1)", "'\tx", "fièvre", "a=b", ""]
    assert list(frame["count"]) == [-1, 2, 3, 4, 5, 6, 7, 8]
    assert set(frame["share"]) == {-0.5}
