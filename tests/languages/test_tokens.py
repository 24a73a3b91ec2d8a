"""Tokens with one tag each, in columns."""

from pathlib import Path

import pytest
from medlingua.languages.annotations import Example
from medlingua.languages.errors import InputError
from medlingua.languages.pack import TaskSpec
from medlingua.languages.readers.tokens import read_tokens
from medlingua.languages.tasks import read_task
from pydantic import ValidationError

CONLLU = """# sent_id = 1
# text = Il va au lit.
1\tIl\til\tPRON
2\tva\taller\tVERB
3-4\tau\t_\t_
3\tà\tà\tADP
4\tle\tle\tDET
5\tlit\tlit\tNOUN
5.1\tdormi\tdormir\tVERB

# sent_id = 2
1\t#\t#\tSYM
"""


def tagged(example: Example) -> list[tuple[str, str]]:
    assert isinstance(example.gold, tuple)
    return [(span.surface(example.document.text), span.label) for span in example.gold]


def test_conllu_has_a_word_and_a_tag_in_columns_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "a.conllu"
    file.write_text(CONLLU, encoding="utf-8")
    first, second = read_tokens(file, source="s", word_column=2, label_column=4)
    assert first.document.text == "Il va à le lit"
    assert tagged(first) == [("Il", "PRON"), ("va", "VERB"), ("à", "ADP"), ("le", "DET"), ("lit", "NOUN")]
    assert tagged(second) == [("#", "SYM")]
    assert (first.id, second.id) == ("a.conllu:3", "a.conllu:12")


def test_blank_lines_end_documents_unless_borders_do(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("Toux O\n\npas CUE\nde SCOPE\n", encoding="utf-8")
    assert [e.document.text for e in read_tokens(file, source="s")] == ["Toux", "pas de"]
    file.write_text("-DOCSTART- X\n\nToux O\n\npas CUE\n-DOCSTART- X\n\n# O\n", encoding="utf-8")
    first, second = read_tokens(file, source="s")
    assert (first.document.text, second.document.text) == ("Toux\npas", "#")
    assert tagged(first) == [("Toux", "O"), ("pas", "CUE")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Toux O\nseul\n", r"a\.txt, line 2: 1 columns"),
        ("Toux\tO\nfort\t\n", r"a\.txt, line 2: an empty token or tag"),
        ("\n\n", "no tokens in it"),
    ],
)
def test_a_line_without_a_tag_is_named(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        list(read_tokens(file, source="s"))


def test_a_tagging_task_needs_tags_for_every_token() -> None:
    with pytest.raises(ValidationError, match="reader that gives every token its tag: tokens, tag_lists, cues"):
        TaskSpec(name="t", kind="tagging", path=".", reader="conll")
    with pytest.raises(ValidationError, match="reader tokens is for kind tagging"):
        TaskSpec(name="t", kind="ner", path=".", reader="tokens")


def test_a_tagging_task_is_divided_and_keeps_tags_that_test_alone_has(tmp_path: Path) -> None:
    for part, tag in (("train", "NOUN"), ("dev", "NOUN"), ("test", "ADV")):
        (tmp_path / f"{part}.txt").write_text(f"{part} {tag}\n\nnon ADJ\n", encoding="utf-8")
    splits = {part: f"{part}.txt" for part in ("train", "dev", "test")}
    task = read_task(TaskSpec(name="t", kind="tagging", path=".", reader="tokens", splits=splits), tmp_path, "fr")
    assert task.labels == ("ADJ", "NOUN")
    assert dict(task.unseen) == {"ADV": 1}
