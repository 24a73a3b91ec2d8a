"""The guide of this room: its script and its snippets run as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

import medlingua
import pytest
from transformers import AutoTokenizer

GUIDE = Path(__file__).parents[2] / "adapters" / "README.md"
SCRIPT, *SNIPPETS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


def run(program: str, folder: Path) -> str:
    environment = {**os.environ, "HF_HOME": str(folder / "cache"), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_script_converts_a_bert_trains_it_and_opens_it_again(folder: Path) -> None:
    assert len([line for line in SCRIPT.splitlines() if line.strip()]) <= 20
    assert run(SCRIPT, folder).splitlines()[-1] == "LongformerForMaskedLM"
    trained = medlingua.load_model(folder / "clinical-longformer")
    untrained = medlingua.convert_to_longformer(medlingua.load_model(folder / "clinical-bert"), 512, 64)
    moved = (trained.model.get_input_embeddings().weight - untrained.model.get_input_embeddings().weight).abs().max()
    assert moved > 0
    assert AutoTokenizer.from_pretrained(folder / "clinical-longformer").model_max_length == 512


@pytest.mark.slow
def test_the_snippets_run_one_after_another(folder: Path) -> None:
    output = run("\n".join(SNIPPETS), folder)
    assert "synthetic_outcome" in output
    assert (folder / "runs" / "first" / "report.html").exists()


def test_every_public_name_is_in_the_guide() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    absent = [n for n in medlingua.__all__ if n not in text and n not in ("Pack", "__version__", "known_languages")]
    assert absent == []
