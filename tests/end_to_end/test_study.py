"""adapt study: arms of one budget, from a file to one page."""

import json
from pathlib import Path

import pytest
from medlingua.adapters.encoder import load
from medlingua.languages.cases import synthetic_tasks
from medlingua.languages.pack import load_pack
from medlingua.recipes.evaluation import cache as cells
from medlingua.recipes.experiments.study import _run, fitting, read_study, with_tasks
from medlingua.recipes.settings import Eval

from ..recipes.conftest import call, small_tasks, write_base  # noqa: F401 -- a fixture

SETTINGS = """
tokens = 3_000
[settings]
train = {{ precision = "fp32", lr = 3e-3, batch_tokens = 256 }}
data = {{ held_out = 0.2, paths = ["{corpus}"] }}
eval = {{ tasks = ["synthetic_outcome"], seeds = 2, epochs = 1, min_steps = 0 }}
"""
ARMS = """
[[arms]]
name = "trained on"
strategy = "continue"
base = "{base}"
[[arms]]
name = "long"
strategy = "convert"
base = "arm:trained on"
settings = {{ adapt = {{ length = 700, window = 16 }} }}
[[arms]]
name = "control"
model = "{base}"
"""


@pytest.fixture
def file(base: Path, corpus: Path, tmp_path: Path) -> Path:
    path = tmp_path / "study.toml"
    path.write_text((SETTINGS + ARMS).format(base=base, corpus=corpus), encoding="utf-8")
    return path


def test_a_study_without_tasks_ends_with_what_the_arms_learnt(
    base: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, control = ARMS.split('[[arms]]\nname = "long"')[0], ARMS[ARMS.index('[[arms]]\nname = "control"') :]
    (tmp_path / "study.toml").write_text(
        (SETTINGS + one + control).format(base=base, corpus=corpus), encoding="utf-8"
    )
    line = ["study", str(tmp_path / "study.toml"), "--lang", "fr", "--out", str(tmp_path / "study")]
    assert call(monkeypatch, [*line, "--tokens", "600", "--set", "eval.tasks=none"]) == 0
    output = capsys.readouterr()
    assert output.out.strip() == str(tmp_path / "study" / "arms.json")
    assert "trained on: bits per byte " in output.err


@pytest.mark.usefixtures("small_tasks")
def test_a_study_trains_scores_and_compares_and_then_does_nothing_twice(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["study", str(file), "--lang", "fr", "--out", str(tmp_path / "study")]
    assert call(monkeypatch, line) == 0
    page = Path(capsys.readouterr().out.strip().splitlines()[-1])
    text = page.read_text(encoding="utf-8")
    for part in (
        "trained on",
        "long",
        "control",
        "as it is",
        "synthetic_outcome",
        "Variants of the study",
        "Difference to the best",
    ):
        assert part in text
    arms = {row["name"]: row for row in json.loads((tmp_path / "study" / "arms.json").read_text())["arms"]}
    assert arms["trained on"]["bits_after"] < arms["trained on"]["bits_before"]
    assert 3_000 <= arms["long"]["tokens"] < 4_500
    scores = [json.loads(row) for row in (tmp_path / "study" / "results.jsonl").read_text().splitlines()]
    assert {(s["model"], s["seed"]) for s in scores} >= {(n, s) for n in arms for s in (0, 1)}

    def never(*given: object, **named: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("medlingua.recipes.evaluation.evaluate.fit", never)
    monkeypatch.setattr("medlingua.recipes.walk.train", never)
    assert call(monkeypatch, line) == 0
    again = [json.loads(row) for row in (tmp_path / "study" / "results.jsonl").read_text().splitlines()]
    assert again == scores
    # Under another name it is the same model; with another setting it is another cell.
    renamed = file.read_text().replace('"control"', '"as it came"')
    file.write_text(renamed)
    assert call(monkeypatch, line) == 0
    file.write_text(renamed.replace("epochs = 1", "epochs = 2"))
    with pytest.raises(AssertionError, match="trained again"):
        call(monkeypatch, line)


def test_a_cell_is_named_by_all_that_it_depends_on(base: Path) -> None:
    encoder = load(str(base))
    task, other, _ = synthetic_tasks(load_pack("fr"), 7, (4, 2, 2), (40, 60))
    model, same = cells.digest_of_model(encoder), cells.digest_of_model(load(str(base)))
    assert model == same
    first = cells.name_of(model, cells.digest_of_task(task), "p/1", Eval(), 0, "fp32")
    elsewhere = Eval(tasks="none", seeds=9)
    assert first == cells.name_of(same, cells.digest_of_task(task), "p/1", elsewhere, 0, "fp32")
    changed = [
        cells.name_of(model, cells.digest_of_task(other), "p/1", Eval(), 0, "fp32"),
        cells.name_of(model, cells.digest_of_task(task), "p/2", Eval(), 0, "fp32"),
        cells.name_of(model, cells.digest_of_task(task), "p/1", Eval(lr=1e-3), 0, "fp32"),
        cells.name_of(model, cells.digest_of_task(task), "p/1", Eval(), 1, "fp32"),
        cells.name_of(model, cells.digest_of_task(task), "p/1", Eval(), 0, "bf16"),
    ]
    next(encoder.model.parameters()).data[0, 0] += 1
    changed.append(
        cells.name_of(cells.digest_of_model(encoder), cells.digest_of_task(task), "p/1", Eval(), 0, "fp32")
    )
    assert len({first, *changed}) == 7


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('name = "long"', 'name = "trained on"', "two arms are called 'trained on'"),
        ('name = "long"', 'name = "trained_on"', "arms 'trained on' and 'trained_on' would have one folder"),
        ("arm:trained on", "arm:traind on", "did you mean 'trained on'"),
        ('strategy = "convert"', 'strategy = "konvert"', "arms.1.strategy"),
        (
            'name = "control"\n',
            'name = "control"\nstrategy = "scratch"\n',
            "needs a strategy to train by, or a model",
        ),
        ("tokens = 3_000", "tokens = 0", "tokens: expected greater than 0, given 0"),
        ("tokens = 3_000", "", "tokens: not given; add it"),
        ('name = "long"', "name = 3", "arms.1.name: expected text, given 3"),
        ("batch_tokens = 256", "batch_tokns = 256", "did you mean 'train.batch_tokens'"),
        ("synthetic_outcome", "synthetic_outcom", "did you mean 'synthetic_outcome'"),
        ("[settings]", "tokns = 1\n[settings]", "unknown key 'tokns'; known: arms"),
        ('model = "', 'modl = "', "unknown key 'arms.2.modl'; known: base, model"),
        ('strategy = "convert"', 'strategy = "konvert"', "did you mean 'convert'"),
        ('model = "', 'model = "base:shrt', "no base 'shrt"),
        ("adapt = {", "adapt = { lenght = 3, ", "arm 'long': unknown setting 'adapt.lenght'"),
    ],
)
def test_an_invalid_study_is_refused_before_anything_is_trained(
    before: str, after: str, message: str, file: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    file.write_text(file.read_text().replace(before, after, 1))
    assert call(monkeypatch, ["study", str(file), "--lang", "fr", "--out", str(tmp_path / "study")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


TINY = [
    "train.lr=3e-3",
    "train.batch_tokens=256",
    "train.micro_tokens=256",
    "train.precision='fp32'",
    "adapt.new_pieces=400",
    "adapt.head_tokens=0",
    "data.held_out=0.2",
    "data.synthetic_documents=80",
    "eval.seeds=1",
    "eval.epochs=1",
    "eval.min_steps=0",
]


@pytest.mark.usefixtures("small_tasks")
def test_the_three_strategies_run_from_a_name_with_controls_on_short_and_long_tasks_and_once(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "study"
    line = ["study", "strategies", "--lang", "fr", "--base", str(base), "--tokens", "2000", "--out", str(out)]
    line += ["--corpus", "synthetic"]
    line += [word for item in TINY for word in ("--set", item)]
    line += ["--set", 'eval.tasks=["synthetic_outcome", "synthetic_long_outcome"]']
    assert call(monkeypatch, line) == 0
    arms = {row["name"]: row for row in json.loads((out / "arms.json").read_text())["arms"]}
    trained = {name: row["tokens"] for name, row in arms.items() if row["strategy"] != "as it is"}
    assert {arms[name]["strategy"] for name in trained} == {"convert", "continue", "scratch"}
    assert len(trained) == 4
    assert all(2_000 <= tokens < 3_500 for tokens in trained.values())
    # One model is given for both bases: it is scored once, and that is said.
    assert len(arms) == 5
    assert "the same model as short base as it is" in capsys.readouterr().err
    page = (out / "report.html").read_text(encoding="utf-8")
    overall = (out / "report.md").read_text().partition("Over all tasks")[2]
    (row,) = [line for line in overall.splitlines() if line.startswith("| scratch |")][:1]
    assert "Long tasks" in page
    assert "–" not in row  # both a short and a long mean
    scores = (out / "results.jsonl").read_text()

    def never(*given: object, **named: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("medlingua.recipes.evaluation.evaluate.fit", never)
    monkeypatch.setattr("medlingua.recipes.walk.train", never)
    assert call(monkeypatch, line) == 0
    assert (out / "results.jsonl").read_text() == scores


def test_a_study_takes_the_tasks_of_its_language_and_says_where_it_names_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = read_study("strategies")
    assert with_tasks(given, load_pack("de"), None)["eval"]["tasks"] == list(given.tasks["de"])
    generated = given.model_copy(update={"settings": {"data": {"paths": ["synthetic"]}}})
    assert with_tasks(generated, load_pack("de"), None)["eval"]["tasks"] == list(given.tasks["synthetic"])
    assert capsys.readouterr().err == ""
    settings = with_tasks(given, load_pack("en"), None)
    assert "tasks" not in settings["eval"]
    assert "fr, es, de, synthetic and none for en" in capsys.readouterr().err
    own = given.model_copy(update={"settings": {"eval": {"tasks": ["mantra_fr"]}}})
    assert with_tasks(own, load_pack("en"), None) == own.settings
    assert capsys.readouterr().err == ""


def test_a_study_names_those_of_its_tasks_that_are_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tasks" / "mantra_gsc" / "de").mkdir(parents=True)
    settings = with_tasks(read_study("strategies"), load_pack("de"), str(tmp_path))
    assert settings["eval"]["tasks"] == ["mantra_de", "synthetic_long_outcome"]
    assert f"germediq are not under {tmp_path}" in capsys.readouterr().err


def test_a_base_that_cannot_write_the_language_gets_its_vocabulary_or_leaves_its_control_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_base(tmp_path / "uncased")
    settings = json.loads((folder / "tokenizer.json").read_text())
    settings["normalizer"] = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                              "strip_accents": True, "lowercase": True}  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(settings))
    given = read_study("strategies", (str(folder),))
    by_name = {arm.name: arm for arm in given.arms}
    converted = fitting(by_name["convert"], "fr", ())
    assert converted is not None
    assert converted.settings["adapt"]["vocabulary"] == "replace"
    assert converted.settings["adapt"]["length"] == by_name["convert"].settings["adapt"]["length"]
    assert fitting(by_name["continue, own vocabulary"], "fr", ()) is None
    stderr = capsys.readouterr().err
    assert "continue, own vocabulary: the base's tokenizer loses" in stderr
    assert "it is left out" in stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["strategis"], "did you mean 'strategies'"),
        (["nowhere.toml"], "nowhere.toml does not exist"),
        (["strategies", "--base", "shrt=x"], "did you mean 'short'"),
        (["strategies", "--set", "train.lrr=1"], "did you mean 'train.lr'"),
    ],
)
def test_a_study_with_an_unknown_name_or_setting_is_refused(
    line: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, ["study", *line, "--lang", "fr", "--out", str(tmp_path / "study")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("lang", ["fr", "es", "de"])
def test_the_arms_of_the_recipes_are_runs(lang: str, base: Path) -> None:
    """What each arm changes is what its name says; all have the same budget."""
    plan = read_study("recipes", (str(base),), 50_000)
    runs = {arm.name: _run(plan, arm, lang, None, (), Path("study")) for arm in plan.arms if arm.strategy}
    assert {run.tokens for run in runs.values()} == {50_000}
    assert [phase.kind for phase in runs["causal detour"].phases] == ["clm", "mlm"]
    assert runs["30 to 15 % masked"].phases[0].mask_rate_end == 0.15
    assert {runs[name].train.optimizer for name in ("StableAdamW", "Muon")} == {"stableadamw", "muon"}
    weights = {name: [m.weight for m in run.phases[0].mixture] for name, run in runs.items()}
    assert weights["20 % from a terminology"] == [80, 20]
    assert weights["AdamW, 30 % masked"] == [1]
    assert len({run.digest for run in runs.values()}) == len(runs)
