"""What a model gives away of its text: planted secrets, and pieces of its tokenizer that look like identifiers.

A canary is a record number, drawn at random and planted in the text before training (Carlini et al. 2019, The Secret
Sharer). Its exposure is log2 of the number of candidates less log2 of its rank among them: 1.44 bits (1 / ln 2) on
average for a number that the model never saw, near log2 of the candidates for one that it learnt by heart. The score
is the pseudo-log-likelihood of a masked language model (Salazar et al. 2020): every piece masked in turn.
"""

import json
import math
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from medlingua.adapters import encoder as encoders
from medlingua.adapters.encoder import Encoder, Permission
from medlingua.adapters.packed import hidden_states, pack
from medlingua.languages import vocabulary
from medlingua.languages.cases import generate_cases
from medlingua.languages.errors import InputError
from medlingua.languages.files import parsed_json, read_text
from medlingua.languages.pack import load_pack
from medlingua.recipes.console import progress, say
from medlingua.recipes.settings import Settings
from medlingua.reports.intervals import estimate
from medlingua.reports.page import write_report
from medlingua.reports.privacy import CHANCE
from medlingua.reports.read import write_whole
from medlingua.reports.rows import ExposureRow, IdentifiersRow, PrivacyRow
from pydantic import Field, ValidationError
from torch import Tensor
from torch.nn import functional

_DIGITS = 6
_ROW_TOKENS = 8_192
_SHOWN = 15


class Canaries(Settings):
    """Record numbers in a sentence: planted so many times, never planted, and all that they are ranked among."""

    frame: str = Field(pattern=r"\{\}")
    repeats: int = Field(gt=0)
    planted: tuple[str, ...] = Field(min_length=1)
    absent: tuple[str, ...] = Field(min_length=2)
    candidates: tuple[str, ...] = Field(min_length=4)


def draw(frame: str, count: int, repeats: int, candidates: int, seed: int) -> Canaries:
    """Numbers of six digits, all different. As many are absent as planted, 50 at least: they tell what chance is."""
    absent = max(50, count)
    if not 2 * (count + absent) <= candidates <= 10**_DIGITS // 2:
        raise InputError(f"candidates: {candidates}; give {2 * (count + absent)} to {10**_DIGITS // 2}")
    drawn = np.random.default_rng(seed).choice(10**_DIGITS, size=candidates, replace=False)
    numbers = tuple(f"{number:0{_DIGITS}d}" for number in drawn.tolist())
    return Canaries(
        frame=frame, repeats=repeats, planted=numbers[:count], absent=numbers[count : count + absent],
        candidates=tuple(sorted(numbers)),
    )  # fmt: skip


def plant(lang: str, count: int, repeats: int, candidates: int, seed: int, folder: Path) -> Path:
    """Write canaries.json and, to add to the real text, canaries.jsonl: returns the path of the latter.

    Each planting is a synthetic case of its own with the sentence at its end: the same document twice would be left
    out as a duplicate. InputError for a language without a sentence or cases.
    """
    language = load_pack(lang)
    if language.record_number is None:
        raise InputError(f"the pack of {language.code} has no record_number, a sentence with {{}} for it; write one")
    canaries = draw(language.record_number, count, repeats, candidates, seed)
    cases = generate_cases(language, count * repeats, seed)
    rows = [
        {"id": f"canary-{number}", "text": f"{case.document.text}\n{canaries.frame.format(secret)}"}
        for secret in canaries.planted
        for number, case in enumerate(islice(cases, repeats))
    ]
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "canaries.json", canaries.model_dump_json(indent=2) + "\n")
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return write_whole(folder / "canaries.jsonl", lines)


def read_canaries(path: Path) -> Canaries:
    if not path.is_file():
        raise InputError(f"canaries {path}: no such file; adapt canaries writes one")
    try:
        return Canaries.model_validate(parsed_json(read_text(path), path))
    except (json.JSONDecodeError, ValidationError) as error:
        raise InputError(f"{path}: not what adapt canaries wrote ({str(error).splitlines()[0]})") from error


def exposures(encoder: Encoder, canaries: Canaries) -> dict[str, float]:
    """Bits of exposure of every candidate. Equal scores share the mean of their ranks."""
    losses = []
    with torch.no_grad(), progress("canaries", len(canaries.candidates)) as bar:
        for start in range(0, len(canaries.candidates), 256):
            some = canaries.candidates[start : start + 256]
            losses.append(nats(encoder, canaries.frame, some).cpu().numpy())
            bar.update(start + len(some))
    of_all = np.concatenate(losses)
    ranks = pd.Series(of_all).rank(method="average")  # the likeliest is the first
    bits = np.log2(len(of_all)) - np.log2(ranks.to_numpy())
    return dict(zip(canaries.candidates, bits.tolist(), strict=True))


def nats(encoder: Encoder, frame: str, numbers: Sequence[str]) -> Tensor:
    """(numbers,) negative pseudo-log-likelihood of each number in the sentence."""
    tokenizer = encoder.tokenizer
    rows, places, labels, owners = list[np.ndarray](), list[int](), list[int](), list[int]()
    start = frame.index("{}")
    for owner, number in enumerate(numbers):
        encoding = tokenizer.backend_tokenizer.encode(frame.format(number), add_special_tokens=False)
        ids = np.array([tokenizer.cls_token_id, *encoding.ids, tokenizer.sep_token_id], dtype=np.int64)
        for place, (begin, end) in enumerate(encoding.offsets, 1):
            if begin < start + len(number) and end > start:
                shown = ids.copy()
                shown[place] = tokenizer.mask_token_id
                rows.append(shown)
                places.append(place)
                labels.append(int(ids[place]))
                owners.append(owner)
    parts = []
    transform, decoder = encoder.architecture.head(encoder.model)
    batch = max(1, _ROW_TOKENS // max(len(row) for row in rows))
    for begin in range(0, len(rows), batch):
        some = rows[begin : begin + batch]
        packed = pack(some, encoder.first_position, encoder.global_ids)
        where = packed.cu_seqlens[:-1].numpy() + np.array(places[begin : begin + batch])
        packed = packed.with_labels(np.array(labels[begin : begin + batch]), where).to(encoder.device)
        states = hidden_states(encoder, packed, packed.label_positions)
        logits = decoder(transform(states))[:, : len(tokenizer)].float()
        parts.append(functional.cross_entropy(logits, packed.labels, reduction="none"))
    losses = torch.cat(parts)
    summed = torch.zeros(len(numbers), device=losses.device)
    return summed.index_add(0, torch.tensor(owners, device=losses.device), losses)


def exposure_rows(name: str, bits: dict[str, float], canaries: Canaries) -> list[ExposureRow]:
    """One row for planted and one for absent numbers."""
    rows = []
    kinds: tuple[tuple[Literal["planted", "absent"], tuple[str, ...]], ...] = (
        ("planted", canaries.planted), ("absent", canaries.absent),
    )  # fmt: skip
    for kind, numbers in kinds:
        values = [bits[number] for number in numbers]
        interval = estimate(values)
        rows.append(
            ExposureRow(
                model=name,
                numbers=kind,
                of=len(values),
                mean=interval.value,
                low=interval.low,
                high=interval.high,
                most=max(values),
            )
        )
    return rows


def audit(models: Sequence[str], file: Path | None, allow: tuple[Permission, ...]) -> str:
    """What several models give away, in words; without a file of canaries, of their vocabularies alone.

    A model that lies in a run's folder has the findings, without the pieces, in its run's report too (privacy.json).
    """
    canaries = read_canaries(file) if file is not None else None
    tables = [
        vocabulary.lookalikes(vocabulary.read_tokenizer(model, allow)).assign(tokenizer=model) for model in models
    ]
    listed = pd.concat(tables)[["tokenizer", "kind", "piece"]]
    counted = listed.groupby(["tokenizer", "kind"], sort=False)["piece"]
    shown = counted.agg(pieces="size", first=lambda pieces: ", ".join(pieces.iloc[:_SHOWN])).reset_index()
    exposed = list[ExposureRow]()
    if canaries is not None:
        for model in models:
            bits = exposures(encoders.load(model, allow=allow), canaries)
            exposed += exposure_rows(model, bits, canaries)
    row = PrivacyRow(
        models=tuple(models),
        identifiers=tuple(
            IdentifiersRow(model=row.tokenizer, kind=row.kind, pieces=row.pieces) for row in shown.itertuples()
        ),
        exposures=tuple(exposed),
        repeats=canaries.repeats if canaries is not None else None,
        candidates=len(canaries.candidates) if canaries is not None else None,
    )
    for run in dict.fromkeys(Path(model).resolve().parent for model in models):
        if (run / "run.toml").is_file():
            write_whole(run / "privacy.json", row.model_dump_json(indent=2) + "\n")
            say(f"the findings are in {write_report(run)}")
    parts = ["pieces that look like identifiers\n" + _shown(shown)]
    if canaries is not None:
        most = math.log2(len(canaries.candidates))
        parts.append(
            f"exposure in bits of record numbers planted {canaries.repeats} times, and of others, among "
            f"{len(canaries.candidates):,} (by chance {CHANCE:.2f}, at most {most:.2f})\n"
            + _shown(pd.DataFrame([row.model_dump() for row in exposed]))
        )
    return "\n\n".join(parts)


def _shown(frame: pd.DataFrame) -> str:
    return "none" if frame.empty else frame.to_string(index=False, max_colwidth=80, float_format="{:.2f}".format)
