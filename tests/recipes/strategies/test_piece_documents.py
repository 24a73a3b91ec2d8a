"""adapt.piece_documents counts documents, however long they are."""

from collections.abc import Callable
from pathlib import Path

from medlingua.languages.pack import load_pack
from medlingua.recipes.settings import Run
from medlingua.recipes.strategies.start import starting_encoder
from medlingua.recipes.text.inputs import Inputs
from medlingua.recipes.text.sources import select
from medlingua.recipes.text.task_set import TaskSet

from ..conftest import cases, write_jsonl

EXTEND = ("adapt.vocabulary=extend", "adapt.new_pieces=40", "adapt.piece_documents=3", "data.held_out=0")


def pieces(make_run: Callable[..., Run], base: Path, texts: list[str], folder: Path) -> set[str]:
    folder.mkdir()
    run = make_run(*EXTEND, data={"paths": [str(write_jsonl(folder / "n.jsonl", texts))]})
    pack = load_pack("fr")
    inputs = Inputs(run, pack, select(run, pack), TaskSet((), {}, (), ()))
    return {piece.removeprefix("##") for piece in starting_encoder(inputs, str(base), folder).tokenizer.get_vocab()}


def test_a_word_of_one_long_document_is_no_piece(make_run: Callable[..., Run], base: Path, tmp_path: Path) -> None:
    """A book is one document, though it is tokenized in several stretches."""
    word = "glumbodrine"
    chapter = " ".join(f"{text} Encore de la {word}." for text in cases(150, seed=6))
    assert len(chapter) > 60_000
    texts = cases(60)
    assert word not in pieces(make_run, base, [*texts, chapter], tmp_path / "book")
    spread = [f"{text} Encore de la {word}." * 3 for text in cases(40, seed=6)]
    assert word in pieces(make_run, base, [*texts, *spread], tmp_path / "spread")
