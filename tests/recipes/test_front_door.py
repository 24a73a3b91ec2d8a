"""What a newcomer meets: defaults, names, explanations, and messages that say what to run."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from medlingua import __version__
from medlingua.languages.errors import InputError, reason
from medlingua.languages.pack import known_languages, load_pack
from medlingua.recipes.bases import default_base, known_bases, located
from medlingua.recipes.resolve import resolve
from medlingua.recipes.settings import Run, setting_names
from medlingua.recipes.text.inputs import inputs_of
from medlingua.recipes.walk import adapt

from .conftest import call, cases, write_jsonl

ADAPT = str(Path(sys.executable).parent / "adapt")


def out(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, ["--version"]) == 0
    assert out(capsys) == f"medlingua {__version__}\n"


def test_settings_lists_every_setting_with_a_meaning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, ["settings"]) == 0
    lines = out(capsys).splitlines()
    heads = {line.split()[0]: number for number, line in enumerate(lines) if not line.startswith(" ")}
    for name in setting_names():
        assert "default" in lines[heads[name]]
        assert len(lines[heads[name] + 1].strip()) > 5, name


def test_settings_about_a_word(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, ["settings", "checkpoint"]) == 0
    shown = out(capsys)
    assert "train.checkpoint_tokens" in shown
    assert "adapt.window" not in shown
    assert call(monkeypatch, ["settings", "xyzzy"]) == 2
    assert "no setting is about 'xyzzy'" in capsys.readouterr().err


def test_settings_as_a_schema(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, ["settings", "--json"]) == 0
    schema = json.loads(out(capsys))
    assert schema["$defs"]["Train"]["properties"]["lr"]["description"].startswith("Peak learning rate")


@pytest.mark.parametrize("base", ["C:\\tmp\\new", 'C:\\models\\x"y"'])
def test_init_writes_any_path_of_a_model_into_a_folder_that_it_makes(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "new" / "run.toml"
    line = ["init", "--strategy", "continue", "--lang", "fr", "--base", base, "--out", str(file)]
    assert call(monkeypatch, line) == 0
    assert resolve({}, config=file).base == base


@pytest.mark.parametrize("strategy", ["convert", "continue", "scratch"])
@pytest.mark.parametrize("lang", ["fr", "es", "de"])
def test_init_writes_a_file_that_a_run_takes(
    strategy: str, lang: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "run.toml"
    line = ["init", "--strategy", strategy, "--lang", lang, "--out", str(file)]
    assert call(monkeypatch, line) == 0
    run = resolve({}, config=file)
    assert (run.strategy, run.lang) == (strategy, lang)
    # Every value that is shown in a comment is the default.
    shown = [line.removeprefix("# ") for line in file.read_text().splitlines() if " = " in line]
    values = [
        tomllib.loads(line)
        for line in shown
        if not line.startswith(("paths", "text_field", "root", "base", "strategy", "lang"))
    ]
    defaults = {
        key: value
        for group in (run.adapt, run.objective, run.train, run.eval)
        for key, value in group.model_dump(mode="json").items()
    }
    for value in values:
        ((key, given),) = value.items()
        assert key in defaults
        assert given == defaults[key] or key in ("lr", "vocabulary")
    before = file.read_text()
    assert call(monkeypatch, line) == 2
    assert file.read_text() == before


def test_bases_lists_context_size_and_licence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, ["bases", "--lang", "fr"]) == 0
    rows = {line.split()[0]: line.split() for line in out(capsys).splitlines() if line.strip()}
    size = ["110", "M"]
    assert rows["camembert_bio"] == [
        "camembert_bio", "almanach/camembert-bio-base", "camembert", "512", *size, "MIT", "convert"
    ]  # fmt: skip
    assert rows["drbert_7gb"] == ["drbert_7gb", "Dr-BERT/DrBERT-7GB", "camembert", "512", "-", "Apache-2.0", "-"]


@pytest.mark.parametrize("lang", known_languages())
@pytest.mark.parametrize("strategy", ["convert", "continue"])
def test_a_strategy_has_a_base_that_is_open_and_cased(lang: str, strategy: str) -> None:
    pack = load_pack(lang)
    base = default_base(pack, strategy)  # type: ignore[arg-type]
    assert base is not None
    assert base in known_bases(pack)
    assert base.access == "open"
    assert base.cased is not False
    assert base.licence
    assert resolve({"strategy": strategy, "lang": lang.upper()}).base == base.hub


def test_a_base_by_its_name_and_one_that_was_fetched(tmp_path: Path) -> None:
    run = resolve({"strategy": "continue", "lang": "fr", "base": "camembert_bio"})
    assert run.base == "almanach/camembert-bio-base"
    folder = tmp_path / "models" / "almanach--camembert-bio-base"
    folder.mkdir(parents=True)
    assert located(run.base, str(tmp_path)) == str(folder)
    assert located(run.base, None) == run.base


def test_a_folder_goes_before_a_fetched_model_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("mine", "root/models/mine"):
        (tmp_path / folder).mkdir(parents=True)
    assert located("mine", "root") == "mine"
    with pytest.raises(InputError, match=r"did you mean 'camembert_bio'.*adapt bases --lang fr"):
        resolve({"strategy": "continue", "lang": "fr", "base": "camembert_bi"})


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--learning-rate", "1e-4"], "--set train.lr"),
        (["--epochs", "3"], "train.epochs"),
        (["--output-dir", "x"], "No such option: --output-dir. Here it is --out"),
        (["--set", "lr=1e-4"], "give its group too: train.lr or eval.lr"),
        (["--set", "train.learning_rate=1e-4"], "here it is train.lr"),
        (["--set", "train.batch_size=32"], "train.batch_tokens"),
    ],
)
def test_names_of_other_tools_are_answered_with_ours(
    words: list[str], wanted: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, ["--strategy", "continue", "--lang", "fr", *words]) == 2
    assert wanted in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["evaluate", "model", "--epochs", "3"], "Here it is --set eval.epochs"),
        (["train"], "adapt --strategy convert, continue or scratch trains"),
        (["evaluat"], "Did you mean 'evaluate'?"),
        (["study", "strategies", "--lang", "fr"], "no text to train on: give your own text with --corpus FILES"),
    ],
)
def test_commands_answer_habits_and_slips(
    words: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, words) == 2
    assert expected in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_reason_of_another_library_is_never_cut_inside_a_sentence() -> None:
    wrapped = "The snapshot folder of this revision\nis not on the disk. Check the connection."
    assert reason(OSError(wrapped)) == "The snapshot folder of this revision is not on the disk. Check the connection"
    assert reason(OSError(f"First. Then {'much more ' * 60}.")) == "First"
    assert reason(TimeoutError()) == "TimeoutError"


def test_flags_and_lists_as_people_write_them(make_run: Callable[..., Run]) -> None:
    assert make_run("eval.tasks=mantra_fr").eval.tasks == ("mantra_fr",)
    assert make_run("eval.tasks=mantra_fr, morfitt").eval.tasks == ("mantra_fr", "morfitt")
    assert make_run("eval.tasks=all").eval.tasks == "all"
    assert make_run("train.global_tokens=first").train.global_tokens == "first"
    assert make_run("data.corpora=parhaf").data.corpora == ("parhaf",)


def test_without_text_it_says_what_to_run_and_writes_nothing(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Generated cases took the place of missing text, and nobody was told."""
    line = ["--strategy", "continue", "--lang", "fr", "--base", str(base), "--out", str(tmp_path / "run")]
    assert call(monkeypatch, line) == 2
    message = capsys.readouterr().err
    for remedy in ("--corpus FILES", "--data ROOT", "adapt fetch --lang fr", "parhaf", "--corpus synthetic"):
        assert remedy in message
    assert not (tmp_path / "run").exists()


def test_corpus_means_these_texts(make_run: Callable[..., Run], corpus: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "corpora" / "fr").mkdir(parents=True)
    write_jsonl(root / "corpora" / "fr" / "e3c_pamj_fr.jsonl", cases(3))
    pack = load_pack("fr")
    path = next(c.path for c in pack.corpora if c.name == "e3c_pamj_fr")
    assert path is not None
    (root / path).write_bytes(zstandard.ZstdCompressor().compress(b'{"text": "Le patient tousse."}'))
    alone = make_run(data={"paths": [str(corpus)], "root": str(root)})
    assert [source.name for source in inputs_of(alone).selection.sources] == ["notes"]
    named = make_run(data={"paths": [str(corpus)], "root": str(root), "corpora": ["e3c_pamj_fr"]})
    assert [source.name for source in inputs_of(named).selection.sources] == ["notes", "e3c_pamj_fr"]
    pack_alone = make_run(data={"root": str(root)})
    assert [source.name for source in inputs_of(pack_alone).selection.sources] == ["e3c_pamj_fr"]


def test_synthetic_text_is_labelled_and_brings_synthetic_tasks(make_run: Callable[..., Run]) -> None:
    inputs = inputs_of(make_run(data={"paths": ["synthetic"]}))
    assert [source.synthetic for source in inputs.selection.sources] == [True]
    assert all(task.synthetic for task in inputs.tasks.tasks)
    assert inputs.tasks.tasks


def test_real_text_is_not_scored_on_synthetic_tasks_unasked(make_run: Callable[..., Run]) -> None:
    inputs = inputs_of(make_run())
    assert inputs.tasks.tasks == ()
    assert inputs.tasks.left_out == ()  # the plan says it


def test_a_folder_named_synthetic_is_not_taken_for_the_generated_cases(
    make_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "synthetic").mkdir()
    write_jsonl(tmp_path / "synthetic" / "notes.jsonl", cases(5))
    with pytest.raises(InputError, match=r"write \./synthetic"):
        inputs_of(make_run(data={"paths": ["synthetic"]}))
    (source,) = inputs_of(make_run(data={"paths": ["./synthetic"]})).selection.sources
    assert not source.synthetic


def test_a_finished_run_keeps_one_checkpoint_and_files_that_the_umask_allows(
    make_run: Callable[..., Run], tmp_path: Path
) -> None:
    sets = ("train.tokens=1_500", "train.batch_tokens=256", "train.checkpoint_tokens=500", "train.precision=fp32")
    run = make_run(*sets, "eval.tasks=none")
    before = os.umask(0o027)
    try:
        adapt(run, tmp_path / "run")
    finally:
        os.umask(before)
    assert len(list((tmp_path / "run" / "checkpoints").glob("step-*"))) == 1
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {"0o640"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--strategy", "scratch", "--lang", "xx"], "xx"),
        (["--strategy", "continue", "--lang", "fr", "--corpus", "absent.txt"], "no such file"),
        (["plan", "--strategy", "continue", "--lang", "fr", "--corpus", "absent.txt"], "no such file"),
        (["evaluate", "some-model", "--lang", "xx"], "xx"),
        (["evaluate", "some-model", "--lang", "fr", "--allow", "everything"], "everything"),
    ],
)
def test_a_simple_mistake_is_reported_before_torch_is_imported(
    words: list[str], message: str, tmp_path: Path
) -> None:
    code = (
        "import atexit, sys\n"
        "from medlingua.recipes.command import main\n"
        "atexit.register(lambda: print('torch' in sys.modules))\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stdout) == (2, "False\n"), done.stderr
    assert message in done.stderr


def test_a_shell_completes_values() -> None:
    def completed(*words: str) -> list[str]:
        variables = {
            "_ADAPT_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(("adapt", *words)),
            "COMP_CWORD": str(len(words)),
        }
        done = subprocess.run([ADAPT], env={**os.environ, **variables}, capture_output=True, text=True, check=False)
        return done.stdout.split()

    assert completed("--strategy", "con") == ["convert", "continue"]
    assert "de" in completed("--lang", "d")
    assert "camembert-bio" in completed("--preset", "cam")
    assert "train.lr=" in completed("--set", "train.l")
