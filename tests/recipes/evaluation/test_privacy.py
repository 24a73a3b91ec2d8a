"""Planted numbers: known by heart they are exposed, never seen they are at chance; and pieces like identifiers."""

import json
import math
from pathlib import Path

import pytest
import torch
from medlingua.adapters.encoder import Encoder, save
from medlingua.languages.errors import InputError
from medlingua.languages.pack import known_languages
from medlingua.languages.vocabulary import lookalikes
from medlingua.recipes.evaluation.privacy import (
    Canaries,
    audit,
    draw,
    exposure_rows,
    exposures,
    nats,
    plant,
    read_canaries,
)
from medlingua.reports.page import write_report
from medlingua.reports.privacy import CHANCE
from tokenizers import Tokenizer, models

from ..conftest import call

FRAME = "Numéro de dossier : {}."
CANDIDATES = 400


def by_heart(encoder: Encoder, canaries: Canaries, steps: int = 150) -> None:
    """Train on the planted sentences alone until they are known."""
    optimizer = torch.optim.Adam(encoder.model.parameters(), lr=1e-2)
    encoder.model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        nats(encoder, canaries.frame, canaries.planted).sum().backward()
        optimizer.step()
    encoder.model.eval()


def test_numbers_known_by_heart_are_exposed_and_others_are_at_chance(encoder: Encoder) -> None:
    canaries = draw(FRAME, count=4, repeats=1, candidates=CANDIDATES, seed=1)
    assert not set(canaries.planted) & set(canaries.absent)
    by_heart(encoder, canaries)
    bits = exposures(encoder, canaries)
    planted, absent = exposure_rows("tiny", bits, canaries)
    assert planted.mean > math.log2(CANDIDATES) - 3  # four of them share the first ranks
    # The mean over 50 has a standard error of 1.44 / sqrt(50) = 0.2 bits.
    assert abs(absent.mean - CHANCE) < 1
    assert planted.low is not None
    assert absent.high is not None
    assert planted.low > absent.high


def test_the_exposures_of_all_candidates_are_those_of_all_ranks(encoder: Encoder) -> None:
    canaries = draw(FRAME, count=4, repeats=1, candidates=CANDIDATES, seed=2)
    bits = exposures(encoder, canaries)
    assert len(bits) == CANDIDATES
    expected = sum(math.log2(CANDIDATES / rank) for rank in range(1, CANDIDATES + 1)) / CANDIDATES
    assert sum(bits.values()) / CANDIDATES == pytest.approx(expected, abs=0.02)
    assert expected == pytest.approx(CHANCE, abs=0.02)


def test_the_likeliest_number_has_all_bits_and_scores_do_not_depend_on_company(encoder: Encoder) -> None:
    canaries = draw(FRAME, count=2, repeats=1, candidates=CANDIDATES, seed=3)
    bits = exposures(encoder, canaries)
    first = max(bits, key=bits.__getitem__)
    alone = {number: float(nats(encoder, FRAME, [number]).detach()) for number in (first, *canaries.planted)}
    assert min(alone, key=alone.__getitem__) == first
    together = nats(encoder, FRAME, list(alone))
    assert torch.allclose(together, torch.tensor(list(alone.values())), atol=1e-4)


@pytest.mark.parametrize("code", known_languages())
def test_a_record_number_is_planted_in_every_language(code: str, tmp_path: Path) -> None:
    file = plant(code, count=1, repeats=1, candidates=200, seed=0, folder=tmp_path)
    (number,) = read_canaries(tmp_path / "canaries.json").planted
    assert json.loads(file.read_text(encoding="utf-8"))["text"].count(number) == 1


def test_a_pack_without_the_sentence_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pack.toml").write_text('code = "xx"\nname = "X"\nspacy = "xx"\n', encoding="utf-8")
    with pytest.raises(InputError, match="pack of xx has no record_number"):
        plant(str(tmp_path / "pack.toml"), 1, 1, 200, 0, tmp_path)


def test_what_is_planted_are_different_documents_that_each_hold_a_number(tmp_path: Path) -> None:
    file = plant("fr", count=3, repeats=4, candidates=200, seed=0, folder=tmp_path)
    texts = [json.loads(line)["text"] for line in file.read_text(encoding="utf-8").splitlines()]
    canaries = read_canaries(tmp_path / "canaries.json")
    assert len(set(texts)) == 12
    assert [sum(number in text for text in texts) for number in canaries.planted] == [4, 4, 4]
    assert not any(number in text for number in canaries.absent for text in texts)


@pytest.mark.parametrize("raw", ["{", "[]", '{"frame": "x"}'])
def test_a_file_that_is_no_canaries_is_one_line(raw: str, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(raw)
    with pytest.raises(InputError, match=r"c\.json: not what adapt canaries wrote"):
        read_canaries(tmp_path / "c.json")


def test_both_commands(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    planted = ["canaries", "--lang", "fr", "--count", "2", "--candidates", "120", "--out", str(tmp_path)]
    assert call(monkeypatch, planted) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "canaries.jsonl")
    assert call(monkeypatch, ["privacy", str(base), "--canaries", str(tmp_path / "canaries.json")]) == 0
    stdout = capsys.readouterr().out
    assert "pieces that look like identifiers" in stdout
    assert "planted 8 times, and of others, among 120 (by chance 1.44, at most 6.91)" in stdout
    assert call(monkeypatch, ["canaries", "--lang", "fr", "--candidates", "20"]) == 2
    assert "candidates: 20; give 140 to 500000" in capsys.readouterr().err


def test_a_runs_report_says_what_its_model_gives_away_and_no_piece(encoder: Encoder, tmp_path: Path) -> None:
    run, canaries = tmp_path / "run", draw(FRAME, count=4, repeats=1, candidates=CANDIDATES, seed=1)
    run.mkdir()
    (run / "run.toml").write_text('strategy = "continue"\nlang = "fr"\n')
    (tmp_path / "canaries.json").write_text(canaries.model_dump_json())
    by_heart(encoder, canaries)
    save(encoder, run / "model")
    page = write_report(run).read_text(encoding="utf-8")
    assert f"adapt privacy {run / 'model'}" in page
    audit([str(run / "model")], tmp_path / "canaries.json", ())
    for page in ((run / name).read_text(encoding="utf-8") for name in ("report.html", "report.md")):
        assert "memorized planted numbers" in page
        assert "4 planted" in page
        assert "50 not planted" in page
        assert not [number for number in (*canaries.planted, *canaries.absent) if number in page]


def test_pieces_that_look_like_identifiers_are_listed_by_kind() -> None:
    pieces = [
        "jean.dupont@chu-lille", "12/03/1948", "2021-04-01", "06 12 34 56 78", "dupont63", "2840775", "1998", "hepat",
        "120/80", "[unused12]", "##1234567", "B12", "toux",
    ]  # fmt: skip
    tokenizer = Tokenizer(
        models.WordPiece({piece: id for id, piece in enumerate(["[UNK]", *pieces])}, unk_token="[UNK]")
    )
    listed = {(row.kind, row.piece) for row in lookalikes(tokenizer).itertuples()}
    assert listed == {
        ("e-mail", "jean.dupont@chu-lille"), ("date", "12/03/1948"), ("date", "2021-04-01"),
        ("telephone", "06 12 34 56 78"), ("letters and digits", "dupont63"), ("number", "2840775"),
        ("number", "1234567"), ("number", "120/80"),
    }  # fmt: skip
