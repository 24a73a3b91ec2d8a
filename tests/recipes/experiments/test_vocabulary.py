"""The tables of adapt vocabulary as files."""

import gzip
from pathlib import Path

import pandas as pd
import pytest
from medlingua.recipes.experiments.vocabulary import Texts, study

from ..conftest import cases, new_tokenizer, write_jsonl

TERMS = "en\tlang\ttranslation\torigin\nCough\tfr\tToux\thpo:1\nFever\tfr\tFièvre jaune\thpo:2\n"


@pytest.mark.parametrize("folders", [("x/model", "y/model"), ("a/b/model", "a_b/model"), ("ward A", "ward_A")])
def test_tokenizers_whose_folders_end_alike_have_a_table_each(
    folders: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    terms = Path("root/terms/dictionary_en_fr_es_de.tsv.gz")
    terms.parent.mkdir(parents=True)
    terms.write_bytes(gzip.compress(TERMS.encode()))
    notes = write_jsonl(Path("notes.jsonl"), cases(4))
    tokenizer = new_tokenizer(cases(4), 300)
    for folder in folders:
        tokenizer.save_pretrained(folder)
    study(folders, "fr", Texts(Path("root"), (str(notes),)), Path("out"))
    files = sorted(Path("out").iterdir())
    assert all(file.suffix == ".csv" for file in files)
    broken = [pd.read_csv(file) for file in files if file.name.startswith("most_broken_medical_words")]
    assert len(broken) == 2
    assert broken[0].equals(broken[1])
    assert not broken[0].empty
