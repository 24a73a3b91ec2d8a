"""A run folder as a run leaves it: French continued from English, three seeds, two protocols."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from medlingua.languages.lineage import Lineage, LineageStep
from medlingua.reports.page import write_report
from medlingua.reports.read import append_row
from medlingua.reports.rows import (
    CorporaRow,
    CorpusRow,
    CostRow,
    EvalRow,
    OverlapRow,
    PlanRow,
    Score,
    TrainRow,
    VocabularyRow,
)

RUN_TOML = """
strategy = "continue"
lang = "fr"
base = "models/english-clinical-mini"
allow = ["non-commercial"]

[adapt]
vocabulary = "replace"
head = "keep"

[train]
tokens = 400_000
lr = 5e-4
seed = 0

[[phases]]
name = "broad"
tokens = 250_000
mask_rate = 0.3

[[phases]]
name = "clinical"
tokens = 150_000
mask_rate = 0.15
"""


def score(model: str, seed: int | None, value: float, **changes: object) -> Score:
    fields = {
        "model": model,
        "task": "morfitt",
        "language": "fr",
        "split": "test",
        "metric": "micro-f1",
        "protocol": "multilabel/v1",
        "value": value,
        "seed": seed,
        "examples": 1088,
        "gold": 1560,
    }
    return Score.model_validate(fields | changes)


def training_rows(steps: int = 120) -> list[TrainRow]:
    return [
        TrainRow(
            phase=0 if step < 75 else 1,
            step=step,
            tokens=step * 3_400,
            loss=3.1 + 4.2 * math.exp(-step / 30) + 0.08 * math.sin(step * 1.7),
            lr=5e-4 * min(1, step / 12) * (1 if step < 90 else 1 - math.sqrt((step - 90) / 30)),
            grad_norm=1.2,
            tokens_per_second=2_100,
            seconds=step * 1.6,
        )
        for step in range(1, steps + 1)
    ]


def evaluation_row(model: str, step: int, bits: float) -> EvalRow:
    return EvalRow(
        model=model,
        phase=0,
        step=step,
        tokens=step * 3_400,
        eval_loss=bits * 1.9,
        words_recovered=0.5 - bits / 10,
        bits_per_byte=bits,
        masked_pieces=5_120,
        masked_bytes=19_873,
        unknown_bytes=41 if model == "base" else 0,
        documents=64,
    )


def corpus_row(name: str, **changes: object) -> CorpusRow:
    fields = {
        "name": name,
        "path": f"corpora/fr/{name}.jsonl.zst",
        "licence": "CC BY 4.0",
        "licence_source": "licence field of each record",
        "non_commercial": False,
        "synthetic": False,
        "documents_read": 758,
        "filtered": 0,
        "duplicates": 12,
        "overlapping": 3,
        "held_out": 40,
        "documents": 703,
        "tokens": 312_450,
        "repeat": 1.0,
    }
    return CorpusRow.model_validate(fields | changes)


DOCUMENTS = {"morfitt": 1_088, "fracco_sample": 28}
RATES = {
    ("base", "morfitt"): 0.50, ("trained", "morfitt"): 0.56,
    ("base", "fracco_sample"): 0.61, ("trained", "fracco_sample"): 0.63,
}  # fmt: skip


def tallies_of(model: str, task: str, seed: int) -> list[list[int]]:
    """Correct, predicted and gold by document: about RATES of the gold items are found. Gold is that of the task."""
    gold = np.random.default_rng(len(task)).integers(1, 4, DOCUMENTS[task])
    difficulty = np.random.default_rng(len(task) + seed)
    correct = (difficulty.random((DOCUMENTS[task], 3)) < RATES[model, task]) & (np.arange(3) < gold[:, None])
    return np.stack([correct.sum(axis=1), gold, gold], axis=1).tolist()


def scores() -> list[Score]:
    """Three seeds of two models on two tasks, whose documents are those of `write_predictions`, and a baseline."""
    rows = []
    for model, task in RATES:
        for seed in range(3):
            correct, predicted, gold = np.sum(tallies_of(model, task, seed), axis=0).tolist()
            fields = {"task": task, "examples": DOCUMENTS[task], "gold": gold}
            if task == "fracco_sample":
                fields |= {"metric": "entity-f1", "protocol": "ner-strict/v1"}
            rows.append(score(model, seed, 2 * correct / (predicted + gold), **fields))
    gold = next(row.gold for row in rows if row.task == "morfitt")
    return [*rows, score("majority", None, 0.121, gold=gold, note="the most frequent label, always")]


def write_predictions(folder: Path, rows: list[Score]) -> None:
    (folder / "predictions").mkdir(exist_ok=True)
    for row in rows:
        if row.seed is None:
            continue
        head = row.model_dump(include={"task", "language", "model", "seed", "protocol", "metric"})
        lines = [json.dumps(head | {"tally": "micro-F1"})]
        for number, tally in enumerate(tallies_of(row.model, row.task, row.seed)):
            lines.append(json.dumps({"id": f"d{number}", "words": 200, "predicted": [], "tally": tally}))
        path = folder / "predictions" / f"{row.task}-{row.model}-{row.seed}.jsonl"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_run(folder: Path, scored: list[Score] | None = None) -> Path:
    """All files of a finished run."""
    model = folder / "model"
    model.mkdir(parents=True)
    (folder / "run.toml").write_text(RUN_TOML, encoding="utf-8")
    for training in training_rows():
        append_row(folder / "metrics.jsonl", training)
    bits = [("base", 0, 3.412), ("start", 0, 4.105), ("trained", 40, 2.713), ("trained", 80, 2.406)]
    for name, step, value in [*bits, ("trained", 120, 2.288)]:
        append_row(folder / "metrics.jsonl", evaluation_row(name, step, value))
    for row in scores() if scored is None else scored:
        append_row(folder / "results.jsonl", row)
    if scored is None:
        write_predictions(folder, scores())
    corpora = CorporaRow(
        corpora=(
            corpus_row("e3c_pamj_fr"),
            corpus_row(
                "e3c_leaflets_fr",
                licence="CC BY-NC 4.0",
                licence_source="README of hltfbk/E3C-Corpus",
                non_commercial=True,
                documents_read=337,
                duplicates=0,
                overlapping=0,
                held_out=24,
                documents=313,
                tokens=1_740_220,
                repeat=0.5,
            ),
        ),
        overlap=(OverlapRow(task="morfitt", test_documents=1_088, overlapping=3),),
        unchecked=("cas", "quaero"),
        vocabulary_size=30_522,
        seconds=8.2,
    )
    documents = {
        "corpora.json": corpora,
        "plan.json": PlanRow(
            machine="2 cores, 8 GiB",
            device="cpu",
            threads=2,
            precision="bf16",
            precision_reason="the CPU has bf16 matrix units",
            attention="sdpa",
            attention_reason="no CUDA device",
            parameters=22_713_000,
            tokens=408_000,
            steps=120,
            memory_bytes=1_400_000_000,
            seconds=190,
        ),
        "cost.json": CostRow(
            seconds=431.7,
            train_seconds=194.4,
            tokens=408_000,
            tokens_per_second=2_098.8,
            peak_memory_bytes=1_513_975_808,
            energy_joules=None,
            resumed=1,
        ),
        "vocabulary.json": VocabularyRow(
            action="replace",
            kind="WordPiece",
            old_size=30_522,
            new_size=16_000,
            shared=4_211,
            averaged=11_702,
            fallback=87,
            pieces_per_word_old=2.41,
            pieces_per_word_new=1.38,
        ),
        "model/lineage.json": Lineage(
            base="sentence-transformers/all-MiniLM-L6-v2",
            base_licence="Apache-2.0",
            steps=(
                LineageStep(
                    strategy="continue",
                    language="fr",
                    base="models/english-clinical-mini",
                    settings_digest="9f2c51aa08b1d7e3",
                    corpora=("e3c_pamj_fr", "e3c_leaflets_fr"),
                    licences=("CC BY 4.0", "CC BY-NC 4.0"),
                    tokens=408_000,
                    synthetic=False,
                    date="2026-11-21",
                    version="0.1.0",
                ),
            ),
        ),
    }
    for name, document in documents.items():
        (folder / name).write_text(document.model_dump_json(), encoding="utf-8")
    config = {"model_type": "bert", "architectures": ["BertForMaskedLM"], "max_position_embeddings": 512}
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "fr-demo")


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with its report, for tests that read it alone."""
    folder = write_run(tmp_path_factory.mktemp("reported") / "fr-demo")
    write_report(folder)
    return folder
