"""adapt --strategy convert, from a short model to a certified, trained and reported long one."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from medlingua.adapters.encoder import load
from transformers import AutoModelForMaskedLM, AutoTokenizer, JinaEmbeddingsV3ForMaskedLM, LongformerForMaskedLM

from .conftest import give, same_weights, started

LENGTH = 700
TARGETS = {"longformer": LongformerForMaskedLM, "rope": JinaEmbeddingsV3ForMaskedLM}


def line_of(command: list[str], target: str, *sets: str) -> list[str]:
    line = [*command]
    line[line.index("continue")] = "convert"
    window = ["adapt.window=16"] if target == "longformer" else []
    for key in (f"adapt.target={target}", f"adapt.length={LENGTH}", *window, *sets):
        line += ["--set", key]
    return line


@pytest.fixture(scope="module", params=sorted(TARGETS))
def converted(request: pytest.FixtureRequest, command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / request.param
    done = give(line_of(command, request.param), out)
    assert done.returncode == 0, done.stderr
    return out


def test_the_model_is_a_stock_class_that_reads_the_new_length(converted: Path) -> None:
    model = AutoModelForMaskedLM.from_pretrained(converted / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(converted / "model")
    assert type(model) is TARGETS[converted.name]
    assert tokenizer.model_max_length == LENGTH
    ids = tokenizer("fièvre " * 1000, truncation=True, return_tensors="pt")["input_ids"]
    assert ids.shape[1] == LENGTH
    with torch.no_grad():
        assert torch.isfinite(model(input_ids=ids).logits).all()


def test_the_certificate_is_saved_and_shown(converted: Path) -> None:
    row = json.loads((converted / "certificate.json").read_text())
    assert row["target"] == TARGETS[converted.name].config_class.model_type
    assert row["checks"]
    assert all(check["passed"] for check in row["checks"])
    assert {p["model"] for p in row["positions"]} == {"base", "start", "trained"}
    assert "trained" in {p["model"] for p in row["contexts"]}
    assert max(p["tokens"] for p in row["probes"] if p["model"] == "trained") > 64
    page = (converted / "report.html").read_text()
    for words in (
        "Certificate of the conversion",
        "max_position_embeddings",
        "loss by position",
        "converted",
        "Use of distant facts",
    ):
        assert words in page
    assert "logits" in (converted / "report.md").read_text()


def test_held_out_text_is_measured_before_between_and_after(converted: Path) -> None:
    rows = [json.loads(line) for line in (converted / "metrics.jsonl").read_text().splitlines()]
    seen = {row["model"]: row["bits_per_byte"] for row in rows if row["kind"] == "eval"}
    assert set(seen) == {"base", "start", "trained"}
    assert seen["trained"] < seen["start"]


def test_C7_global_projections_follow_the_trained_ones(converted: Path) -> None:
    if converted.name != "longformer":
        pytest.skip("rotary models have no global projections")
    state = AutoModelForMaskedLM.from_pretrained(converted / "model").state_dict()
    start = AutoModelForMaskedLM.from_pretrained(converted / "start").state_dict()
    for name, tensor in state.items():
        if "_global." in name:
            assert torch.equal(tensor, state[name.replace("_global.", ".")])
            # A bias of keys shifts all scores of a query alike: nothing trains it.
            assert "key" in name or not torch.equal(tensor, start[name]), name


@pytest.mark.parametrize("chosen", ["first", "['[SEP]', '.']"])
def test_C7_training_with_global_tokens_trains_their_projections(
    chosen: str, command: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    done = give(line_of(command, "longformer", f"train.global_tokens={chosen}", "train.tokens=3_000"), out)
    assert done.returncode == 0, done.stderr
    state = AutoModelForMaskedLM.from_pretrained(out / "model").state_dict()
    start = AutoModelForMaskedLM.from_pretrained(out / "start").state_dict()
    values = [name for name in state if "value_global.weight" in name]
    assert not any(torch.equal(state[name], start[name]) for name in values)
    followed = [name for name in values if torch.equal(state[name], state[name.replace("_global.", ".")])]
    # Nobody predicts [CLS], so nobody asks what it comes to in the last layer; a full stop may be predicted.
    assert followed == (values[-1:] if chosen == "first" else [])
    encoder = load(str(out / "model"))
    pieces = encoder.tokenizer.convert_ids_to_tokens(list(encoder.global_ids))
    assert pieces == (["[CLS]"] if chosen == "first" else ["[SEP]", "."])


@pytest.mark.parametrize("start", ["gradual", "once", "distil"])
def test_O16_every_start_of_new_rotations_resumes_to_the_same_weights(
    start: str, command: list[str], tmp_path: Path
) -> None:
    line = line_of(command, "rope", f"adapt.start={start}", "adapt.start_share=0.5", "train.tokens=5_000")
    whole = give(line, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    stopped = started(line, tmp_path / "stopped")
    stopped.send_signal(signal.SIGTERM)
    _, stderr = stopped.communicate(timeout=100)
    assert stopped.returncode == 130, stderr
    again = give(line, tmp_path / "stopped")
    assert again.returncode == 0, again.stderr
    assert "resuming at step" in again.stderr + again.stdout
    same_weights(tmp_path / "whole", tmp_path / "stopped")
    rows = [json.loads(text) for text in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    phases = {row["phase"] for row in rows if row["kind"] == "train"}
    assert phases == ({0, 1} if start == "distil" else {0})
    bits = {row["model"]: row["bits_per_byte"] for row in rows if row["kind"] == "eval"}
    assert bits["trained"] < bits["start"]


def test_train_tokens_zero_converts_and_certifies_alone(command: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = give(line_of(command, "longformer", "train.tokens=0"), out)
    assert done.returncode == 0, done.stderr
    assert "certificate: logits inside one window" in done.stderr
    assert (out / "certificate.json").exists()
    model, start = (AutoModelForMaskedLM.from_pretrained(out / name).state_dict() for name in ("model", "start"))
    for name, tensor in model.items():
        assert torch.equal(tensor, start[name]), name


@pytest.mark.parametrize(("target", "vocabulary"), [("longformer", "prune"), ("rope", "extend")])
def test_a_vocabulary_changes_on_the_way_and_the_certificate_tells_the_conversion_alone(
    target: str, vocabulary: str, command: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    sets = [f"adapt.vocabulary={vocabulary}", "train.tokens=2_000", "eval.tasks='none'"]
    if vocabulary == "extend":
        sets += ["adapt.new_pieces=30", "adapt.piece_documents=2"]
    done = give(line_of(command, target, *sets), out)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    bits = {row["model"]: row["bits_per_byte"] for row in rows if row["kind"] == "eval"}
    assert list(bits) == ["base", "vocabulary", "start", "trained"]
    models = {name: AutoModelForMaskedLM.from_pretrained(out / name) for name in ("vocabulary", "start", "model")}
    sizes = {name: model.config.vocab_size for name, model in models.items()}
    assert len(set(sizes.values())) == 1
    assert sizes["model"] == len(AutoTokenizer.from_pretrained(out / "model"))
    tables = [models[name].get_input_embeddings().weight for name in ("vocabulary", "start")]
    assert torch.equal(*tables)
    assert all(check["passed"] for check in json.loads((out / "certificate.json").read_text())["checks"])
    page = (out / "report.html").read_text()
    assert vocabulary in page
    assert "Certificate of the conversion" in page


@pytest.mark.parametrize(
    ("target", "sets", "named"),
    [
        ("longformer", ("adapt.length=20",), "adapt.length 20 is shorter than the source's"),
        ("longformer", ("adapt.window=15",), "adapt.window 15"),
        ("longformer", ("adapt.window=800",), "adapt.window 800 is larger than adapt.length 700"),
        ("rope", ("adapt.theta=0",), "adapt.theta 0"),
        ("rope", ("train.global_tokens=first",), "jina_embeddings_v3 model has no global attention"),
        (
            "longformer",
            ("train.global_tokens=['fievre']",),
            "train.global_tokens: 'fievre' is no piece of the vocabulary",
        ),
        ("longformer", ("objective.kind=distil",), "adapt.target = 'rope' alone"),
        ("longfromer", (), "did you mean 'longformer'"),
    ],
)
def test_a_conversion_that_cannot_be_is_one_clear_error(
    target: str, sets: tuple[str, ...], named: str, command: list[str], tmp_path: Path
) -> None:
    done = give(line_of(command, target, *sets), tmp_path / "run")
    assert done.returncode == 2, done.stderr
    assert named in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_converted_model_opens_without_this_package(converted: Path) -> None:
    """In an interpreter that cannot import medlingua."""
    code = (
        "import sys; sys.modules['medlingua'] = None\n"
        "from transformers import pipeline\n"
        f"fill = pipeline('fill-mask', model={str(converted / 'model')!r})\n"
        "print(len(fill('Le patient a de la ' + fill.tokenizer.mask_token + '.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "5"
