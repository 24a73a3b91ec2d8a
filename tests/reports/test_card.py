import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from medlingua.languages.errors import InputError
from medlingua.reports.card import context_length, write_card
from medlingua.reports.licences import strictest

from ..recipes.conftest import write_base
from .conftest import RUN_TOML


def test_the_hub_reads_the_metadata(run_folder: Path) -> None:
    path = write_card(run_folder)
    assert path == run_folder / "model" / "README.md"
    data = ModelCard.load(path).data
    assert data.language == ["fr"]
    assert data.license == "other"
    assert data.license_name == "non-commercial"
    assert data.library_name == "transformers"
    assert data.pipeline_tag == "fill-mask"
    assert data.eval_results is not None
    results = {(result.dataset_name, result.metric_type): result for result in data.eval_results}
    f1 = results["morfitt", "micro-f1"]
    assert f1.metric_name == "micro-f1 (multilabel/v1, mean of 3 seeds)"
    assert 0.54 < f1.metric_value < 0.58
    assert results["held-out text", "bits_per_byte"].metric_value == 2.288


def test_the_card_tells_text_licences_results_and_limits(run_folder: Path) -> None:
    text = write_card(run_folder).read_text(encoding="utf-8")
    for words in ("CC BY-NC 4.0", "408\u202f000", "Non-commercial material", "## Limits"):
        assert words in text
    assert "from_pretrained" in text
    assert "Length: 512 tokens" in text


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"model_type": "longformer", "attention_window": [512, 512], "max_position_embeddings": 4_098},
            ["Length: 4\u202f096 tokens", "Attention window: 512 tokens", "not used in training"],
        ),
        (
            {"model_type": "longformer", "attention_window": [64, 512], "global_token_ids": [5, 7]},
            ["Attention window: 64 to 512 tokens", "ids 5, 7"],
        ),
        (
            {"model_type": "modernbert", "local_attention": 128, "global_attn_every_n_layers": 3},
            ["Length: 4\u202f096 tokens", "Attention window: 128 tokens", "Global attention: every 3 layers"],
        ),
    ],
)
def test_the_card_states_length_window_and_global_attention(
    run_folder: Path, config: dict[str, object], expected: list[str]
) -> None:
    (run_folder / "model" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (run_folder / "model" / "tokenizer_config.json").write_text('{"model_max_length": 4096}', encoding="utf-8")
    text = write_card(run_folder).read_text(encoding="utf-8")
    for words in expected:
        assert words in text


def test_positions_that_start_after_the_padding_are_not_counted(tmp_path: Path) -> None:
    config = {"model_type": "longformer", "max_position_embeddings": 4_098, "pad_token_id": 1}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert context_length(tmp_path) == 4_096
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "bert"}), encoding="utf-8")
    assert context_length(tmp_path) == 4_098


@pytest.mark.parametrize(
    ("chosen", "licence", "name"),
    [("CC-BY-NC-4.0", "cc-by-nc-4.0", None), ("apache-2.0", "apache-2.0", None), ("Ours", "other", "Ours")],
)
def test_a_licence_that_was_chosen_is_that_of_the_card(
    run_folder: Path, chosen: str, licence: str, name: str | None
) -> None:
    (run_folder / "run.toml").write_text(f'licence = "{chosen}"\n{RUN_TOML}', encoding="utf-8")
    data = ModelCard.load(write_card(run_folder)).data
    assert (data.license, data.get("license_name")) == (licence, name)
    text = (run_folder / "model" / "README.md").read_text(encoding="utf-8")
    assert f"The licence {chosen} was chosen" in text
    assert "it would be non-commercial." in text


def test_text_of_the_lab_gives_no_licence_of_the_hub_and_a_sentence_on_what_to_set(run_folder: Path) -> None:
    corpora = run_folder / "corpora.json"
    rows = json.loads(corpora.read_text(encoding="utf-8"))
    for row in rows["corpora"]:
        row |= {"licence": "the lab's own", "non_commercial": False}
    corpora.write_text(json.dumps(rows), encoding="utf-8")
    lineage = run_folder / "model" / "lineage.json"
    lineage.write_text(lineage.read_text(encoding="utf-8").replace("CC BY-NC 4.0", "the lab's own"), encoding="utf-8")
    path = write_card(run_folder)
    assert (ModelCard.load(path).data.license, ModelCard.load(path).data.license_name) == ("other", "not-stated")
    assert "--set licence=" in path.read_text(encoding="utf-8")
    (run_folder / "run.toml").write_text(f'licence = "apache-2.0"\n{RUN_TOML}', encoding="utf-8")
    assert ModelCard.load(write_card(run_folder)).data.license == "apache-2.0"
    assert "--set licence=" not in path.read_text(encoding="utf-8")


def test_only_corpora_of_the_hub_are_datasets(run_folder: Path) -> None:
    assert ModelCard.load(write_card(run_folder)).data.datasets is None, "names of local files are no dataset ids"
    corpora = (run_folder / "corpora.json").read_text(encoding="utf-8")
    corpora = corpora.replace("corpora/fr/e3c_pamj_fr.jsonl.zst", "hub:owner/cases@0123abc")
    (run_folder / "corpora.json").write_text(corpora, encoding="utf-8")
    assert ModelCard.load(write_card(run_folder)).data.datasets == ["owner/cases"]


@pytest.mark.slow
def test_the_code_of_the_card_runs(run_folder: Path, tmp_path: Path) -> None:
    """What loads the model and what fine-tunes it: neither sees a name of the other."""
    shutil.copytree(write_base(tmp_path / "tiny"), run_folder / "model", dirs_exist_ok=True)
    text = write_card(run_folder).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[:2]
    blocks = [block.replace("path/to/this/folder", str(run_folder / "model")) for block in blocks]
    code = f"for block in {blocks!r}: exec(block, {{'__name__': '__main__'}})"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "token_str" in done.stdout
    assert "train_loss" in done.stdout


def test_a_folder_is_not_a_base_of_the_hub(run_folder: Path, tmp_path: Path) -> None:
    settings = RUN_TOML.replace("models/english-clinical-mini", str(tmp_path / "mini"))
    (run_folder / "run.toml").write_text(settings, encoding="utf-8")
    assert ModelCard.load(write_card(run_folder)).data.base_model == "sentence-transformers/all-MiniLM-L6-v2"


@pytest.mark.parametrize("name", ['a"b: [x] #', "- é\u2028 {%", "'", "---", "null", "yes: no", "🙂"])
def test_no_name_breaks_the_yaml(run_folder: Path, name: str) -> None:
    results = (run_folder / "results.jsonl").read_text(encoding="utf-8")
    quoted = name.replace('"', '\\"')
    (run_folder / "results.jsonl").write_text(results.replace("morfitt", quoted), encoding="utf-8")
    head = write_card(run_folder).read_text(encoding="utf-8").split("\n---\n")[0]
    results_read = yaml.safe_load(head)["model-index"][0]["results"]
    assert name in {result["dataset"]["name"] for result in results_read}


def test_a_card_needs_a_model(run_folder: Path) -> None:
    (run_folder / "model").rename(run_folder / "elsewhere")
    with pytest.raises(InputError, match="once the run has saved its model"):
        write_card(run_folder)


@pytest.mark.parametrize(
    ("licences", "non_commercial", "expected"),
    [
        (["Apache-2.0", "CC BY 4.0"], False, ("cc-by-4.0", None)),
        (["CC BY-SA 4.0", "CC BY 4.0", "MIT"], False, ("cc-by-sa-4.0", None)),
        (["Apache-2.0"], True, ("other", "non-commercial")),
        (["CC-BY-NC-SA 4.0", "MIT"], False, ("other", "non-commercial")),
        (["Apache-2.0", ""], False, ("other", "not-stated")),
        (["Apache-2.0", "ask us"], False, ("other", "not-stated")),
        (["GPL-3.0", "CC BY-SA 4.0"], False, ("other", "mixed-share-alike")),
        (["GPL-3.0-or-later"], False, ("gpl-3.0", None)),
        (["not stated", "MIT"], False, ("other", "not-stated")),
        (["public domain (amtliche Werke)", "CC BY 4.0"], False, ("cc-by-4.0", None)),
        (["public domain"], False, ("other", "public-domain")),
        ([], False, ("other", "not-stated")),
    ],
)
def test_the_strictest_licence_wins(
    licences: list[str], non_commercial: bool, expected: tuple[str, str | None]
) -> None:
    assert strictest(licences, non_commercial) == expected
