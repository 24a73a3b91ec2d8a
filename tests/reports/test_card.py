from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from medlingua.languages.errors import InputError
from medlingua.reports.card import write_card
from medlingua.reports.licences import strictest

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
    found = {(result.dataset_name, result.metric_type): result for result in data.eval_results}
    f1 = found["morfitt", "micro-f1"]
    assert f1.metric_name == "micro-f1 (multilabel/v1, mean of 3 seeds)"
    assert f1.metric_value == pytest.approx(0.5567)
    assert found["held-out text", "bits_per_byte"].metric_value == 2.288


def test_the_card_tells_text_licences_results_and_limits(run_folder: Path) -> None:
    text = write_card(run_folder).read_text(encoding="utf-8")
    for told in ("CC BY-NC 4.0", "408\u202f000", "0.557 ± 0.017", "Non-commercial material", "## Limits"):
        assert told in text
    assert "from_pretrained" in text


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
        (["Apache-2.0", ""], False, ("other", "unclear-see-corpora")),
        (["Apache-2.0", "ask us"], False, ("other", "unclear-see-corpora")),
        (["GPL-3.0", "CC BY-SA 4.0"], False, ("other", "mixed-share-alike")),
        (["GPL-3.0-or-later"], False, ("gpl-3.0", None)),
        (["not stated", "MIT"], False, ("other", "unclear-see-corpora")),
        (["public domain (amtliche Werke)", "CC BY 4.0"], False, ("cc-by-4.0", None)),
        (["public domain"], False, ("other", "public-domain")),
        ([], False, ("other", "unclear-see-corpora")),
    ],
)
def test_the_strictest_licence_wins(
    licences: list[str], non_commercial: bool, expected: tuple[str, str | None]
) -> None:
    assert strictest(licences, non_commercial) == expected
