"""Scores of text: what they count, labels that say how sure they are."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from medlingua.adapters.encoder import Encoder
from medlingua.languages.cases import generate_cases
from medlingua.languages.documents import Document
from medlingua.languages.errors import InputError
from medlingua.languages.pack import load_pack
from medlingua.recipes.commands.select import learn, scored
from medlingua.recipes.evaluation.tasks import dictionary
from medlingua.recipes.text.near_duplicates import NearDuplicates

from ..conftest import call, cases, write_jsonl

TERMS = dictionary.of(["fièvre jaune", "toux", "jaune"], "fr")


def columns_of(text: str) -> dict[str, object]:
    return scored(Document("a", text, "test"), "fr", TERMS, NearDuplicates(0.8)).columns


def test_what_the_columns_count() -> None:
    columns = columns_of("Fièvre jaune, toux. Il va bien.")
    assert columns["words"] == 9
    assert columns["sentence_words"] == 4.5
    assert columns["letters"] == 23 / 26
    assert columns["term_density"] == 3 / 9
    assert columns["duplicate_of"] == ""


def test_without_terms_there_is_no_density() -> None:
    row = scored(Document("a", "toux", "test"), "fr", dictionary.of([], "fr"), NearDuplicates(0.8))
    assert "term_density" not in row.columns


def seeds(path: Path, count: int = 12) -> Path:
    rows = [{"text": text, "label": "clinical"} for text in cases(count, seed=9)]
    rows += [{"text": f"Article {i} : la loi fixe les conditions. " * 10, "label": "law"} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_labels_are_predicted_better_than_by_their_shares(encoder: Encoder, tmp_path: Path) -> None:
    classifier = learn(encoder, seeds(tmp_path / "seeds.jsonl"))
    assert classifier.labels == ("clinical", "law")
    assert classifier.examples == 24
    assert classifier.accuracy > 0.9
    assert classifier.log_loss < classifier.chance == pytest.approx(np.log(2))


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ([{"text": "a", "label": "x"}] * 8, "all 8 examples are 'x'"),
        ([{"text": "a", "label": "x"}] * 8 + [{"text": "b", "label": "y"}] * 3, "'y' has 3 examples"),
        ([{"text": "a", "label": "x"}, {"text": "b"}], "has no label"),
        ([{"text": "a", "label": ""}], "has no label"),
    ],
)
def test_a_seed_set_that_teaches_nothing_is_refused(
    rows: list[dict[str, str]], named: str, encoder: Encoder, tmp_path: Path
) -> None:
    path = tmp_path / "seeds.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(InputError) as raised:
        learn(encoder, path)
    assert named in str(raised.value)
    assert "seeds.jsonl" in str(raised.value)


def test_scored_text_is_filtered_by_its_columns_in_a_run(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A corpus of a pack's name too: with its scores it is another one."""
    texts = cases(30, seed=3)
    corpus = write_jsonl(tmp_path / "e3c_pamj_fr.jsonl", [*texts, texts[0] + " Suite.", "Article 3 : la loi. " * 20])
    line = ["select", "--lang", "fr", "--corpus", str(corpus), "--out", str(tmp_path / "scored")]
    assert call(monkeypatch, [*line, "--seed-set", str(seeds(tmp_path / "seeds.jsonl"))]) == 2
    assert "--base" in capsys.readouterr().err
    line += ["--seed-set", str(seeds(tmp_path / "seeds.jsonl")), "--base", str(base)]
    assert call(monkeypatch, line) == 0
    captured = capsys.readouterr()
    assert "no term list is at hand" in captured.err
    assert "label shares alone" in captured.err
    assert "near duplicates" in captured.out
    (file,) = (tmp_path / "scored").glob("*_scored.parquet")
    table = pd.read_parquet(file)
    assert len(table) == 32
    assert (table["duplicate_of"] != "").sum() == 1
    assert table["label"].iloc[-1] == "law"
    assert (table["confidence"] >= 0.5).all()
    config = tmp_path / "mixture.toml"
    filtered = "duplicate_of == '' and label == 'clinical'"
    config.write_text(f'[[data.mixture]]\ncorpus = "{file.stem}"\nfilter = "{filtered}"\n', encoding="utf-8")
    run = ["--strategy", "continue", "--lang", "fr", "--base", str(base), "--corpus", str(file)]
    run += ["--config", str(config), "--out", str(tmp_path / "run")]
    for setting in ("train.tokens=0", "eval.tasks='none'", "train.precision='fp32'"):
        run += ["--set", setting]
    assert call(monkeypatch, run) == 0
    selected = int(((table["duplicate_of"] == "") & (table["label"] == "clinical")).sum())
    (row,) = json.loads((tmp_path / "run" / "corpora.json").read_text(encoding="utf-8"))["corpora"]
    assert row["filtered"] == 32 - selected > 1


@pytest.mark.parametrize("below", ["", "scored"])
def test_a_file_in_the_place_of_the_output_is_seen_before_anything_is_read(
    below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    line = ["select", "--lang", "fr", "--corpus", "nowhere.txt", "--out", str(tmp_path / "file" / below)]
    assert call(monkeypatch, line) == 2
    assert f"{tmp_path / 'file'} is a file: give another --out" in capsys.readouterr().err


def test_paragraphs_are_scored_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = write_jsonl(tmp_path / "notes.jsonl", ["Un.\n\nDeux mots.\n \n\n", "Trois."])
    line = ["select", "--lang", "fr", "--corpus", str(corpus), "--paragraphs", "--out", str(tmp_path / "scored")]
    assert call(monkeypatch, line) == 0
    table = pd.read_parquet(tmp_path / "scored" / "notes_scored.parquet")
    assert table["text"].tolist() == ["Un.", "Deux mots.", "Trois."]
    assert table["id"].is_unique


def test_scored_text_stays_under_the_terms_of_its_corpus(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under another file name too: given back with --corpus it is not the lab's own, nor real if it was synthetic."""
    corpus = next(c for c in load_pack("en").corpora if c.non_commercial and c.path is not None)
    folder = tmp_path / "root" / str(corpus.path)
    folder.mkdir(parents=True)
    for number, text in enumerate(cases(20, seed=1)):
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    monkeypatch.setattr(
        "medlingua.recipes.text.sources.generate_cases", lambda pack, _, *more: generate_cases(pack, 40, *more)
    )
    for read in (["--data", str(tmp_path / "root"), "--allow", "non-commercial"], ["--corpus", "synthetic"]):
        assert call(monkeypatch, ["select", "--lang", "en", *read, "--out", str(tmp_path / "scored")]) == 0
    scored = {path.name: path for path in (tmp_path / "scored").iterdir()}
    assert set(scored) == {f"{corpus.name}_scored.parquet", "synthetic_en_scored.parquet"}
    restricted, synthetic = tmp_path / "ours.parquet", tmp_path / "cases.parquet"
    scored[f"{corpus.name}_scored.parquet"].rename(restricted)
    scored["synthetic_en_scored.parquet"].rename(synthetic)

    run = ["--strategy", "continue", "--lang", "en", "--base", str(base), "--out", str(tmp_path / "run")]
    for path in (restricted, synthetic):
        run += ["--corpus", str(path)]
    for setting in ("train.tokens=0", "eval.tasks='none'", "train.precision='fp32'"):
        run += ["--set", setting]
    assert call(monkeypatch, run) == 0
    rows = json.loads((tmp_path / "run" / "corpora.json").read_text(encoding="utf-8"))["corpora"]
    terms = {row["name"]: (row["licence"], row["non_commercial"], row["synthetic"]) for row in rows}
    assert terms == {"ours": (corpus.licence, True, False), "cases": ("Apache-2.0", False, True)}

    for noted in (b"[]", b"{", b'{"licence": "MIT"}', b'{"licence": 1}'):
        table = pq.read_table(restricted)
        pq.write_table(table.replace_schema_metadata({b"medlingua.terms": noted}), tmp_path / "bad.parquet")
        capsys.readouterr()
        assert call(monkeypatch, [*run[:-1], "train.tokens=1", "--corpus", str(tmp_path / "bad.parquet")]) == 2
        assert "bad.parquet" in capsys.readouterr().err
