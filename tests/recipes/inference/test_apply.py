"""Notes annotated from the command line: every format, stopped and taken up, and what is refused."""

import json
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import spacy
from medlingua.languages.errors import InputError
from medlingua.languages.readers.brat import read_brat
from medlingua.recipes.inference import annotator
from medlingua.recipes.inference.annotator import Annotator
from medlingua.recipes.inference.apply import apply
from safetensors.torch import load_file, save_file
from spacy.tokens import DocBin

from ...end_to_end.forks import Fork
from ..conftest import call
from ..evaluation.test_every_kind import ORGANS, a_task
from .test_saved_task import BRIEF, keep_in, trained

NOTES = [f"{'Le patient va bien. ' * (i * 3)}\nOn examine le {ORGANS[i % 4]}" for i in range(11)]


@pytest.fixture(scope="module")
def models(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of each of some kinds."""
    folders = {}
    for name, task, options in (
        ("tags", a_task("ner"), {}),
        ("spans", a_task("ner"), {"ner_head": "spans"}),
        ("labels", a_task("multilabel"), {"pooling": "first"}),
        ("answers", a_task("answers"), {}),
        ("choice", a_task("choice"), {"pooling": "first"}),
        ("similarity", a_task("similarity", scale=(0, 5)), {}),
    ):
        folder = tmp_path_factory.mktemp(name)
        trained(task, base, folder, BRIEF.model_copy(update={"seeds": 1, **options}), keep_in(folder))
        folders[name] = folder / "model"
    return folders


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    (folder / "ward").mkdir(parents=True)
    for number, text in enumerate(NOTES):
        (folder / ("ward" if number % 2 else "") / f"n{number:02d}.txt").write_text(text, encoding="utf-8")
    return folder


def entities(model: Path) -> list[set[tuple[int, int, str]]]:
    return [{(e.start, e.end, e.label) for e in a.entities} for a in Annotator(model)(NOTES)]


def test_brat_files_hold_what_the_annotator_finds(models: dict[str, Path], notes: Path, tmp_path: Path) -> None:
    expected = entities(models["tags"])
    assert sum(map(len, expected)) > 5
    apply(models["tags"], [str(notes)], "brat", None, (), tmp_path / "out")
    read = {example.document.text: example.gold for example in read_brat(tmp_path / "out", source="s")}
    assert [{(s.start, s.end, s.label) for s in read[text]} for text in NOTES] == expected  # type: ignore[union-attr]
    assert (tmp_path / "out" / "ward" / "n01.ann").is_file()


@pytest.mark.parametrize("form", ["jsonl", "csv", "conll", "docbin", "brat"])
def test_a_stopped_call_ends_with_the_files_of_an_unstopped_one(
    form: Any, models: dict[str, Path], notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotator, "_AT_ONCE", 3)
    apply(models["tags"], [str(notes)], form, None, (), tmp_path / "whole")
    predict, calls = Annotator.predict, []

    def stopping(self: Annotator, examples: Any) -> Any:
        calls.append(len(examples))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return predict(self, examples)

    monkeypatch.setattr(Annotator, "predict", stopping)
    with pytest.raises(KeyboardInterrupt):
        apply(models["tags"], [str(notes)], form, None, (), tmp_path / "parts")
    if form in ("jsonl", "csv", "conll"):  # killed while it wrote
        with (tmp_path / "parts" / f"annotations.{form}").open("ab") as file:
            file.write(b'{"id": "half a li')
    apply(models["tags"], [str(notes)], form, None, (), tmp_path / "parts")
    assert sum(calls) == len(NOTES) + 3, "nothing is annotated twice but what was lost"
    files = {p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*") if p.is_file()}
    assert files == {p.relative_to(tmp_path / "parts") for p in (tmp_path / "parts").rglob("*") if p.is_file()}
    for name in files:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name
    apply(models["tags"], [str(notes)], form, None, (), tmp_path / "parts")
    assert sum(calls) == len(NOTES) + 3


def test_a_killed_process_is_taken_up(models: dict[str, Path], tmp_path: Path) -> None:
    count = annotator._AT_ONCE + 100
    rows = [{"id": f"d{i}", "text": f"On examine le {ORGANS[i % 4]} {i}."} for i in range(count)]
    file = tmp_path / "notes.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    apply(models["tags"], [str(file)], "jsonl", None, (), tmp_path / "whole")
    process = Fork(["adapt", "apply", str(models["tags"]), str(file), "--out", str(tmp_path / "parts")])
    state = tmp_path / "parts" / "apply.json"
    while process.poll() is None:
        if state.is_file() and 0 < json.loads(state.read_text(encoding="utf-8"))["done"] < count:
            process.kill()
            break
        time.sleep(0.005)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    apply(models["tags"], [str(file)], "jsonl", None, (), tmp_path / "parts")
    whole, parts = ((tmp_path / of / "annotations.jsonl").read_bytes() for of in ("whole", "parts"))
    assert whole == parts
    assert len(whole.splitlines()) == count


def test_labels_and_answers_are_written_with_their_probabilities(models: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "notes.jsonl"
    rows = [{"id": f"d{i}", "text": text, "question": "Que voit-on ?"} for i, text in enumerate(NOTES)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for name, key in (("labels", "labels"), ("answers", "predicted")):
        apply(models[name], [str(file)], "jsonl", None, (), tmp_path / name)
        lines = (tmp_path / name / "annotations.jsonl").read_text(encoding="utf-8").splitlines()
        read = [json.loads(line) for line in lines]
        assert [row["id"] for row in read] == [f"d{i}" for i in range(len(NOTES))]
        items = [item for row in read for item in row.get(key, ())]
        assert items
        assert all(0 <= item["probability"] <= 1 for item in items)
    apply(models["labels"], [str(file)], "csv", None, (), tmp_path / "csv")
    assert (tmp_path / "csv" / "annotations.csv").read_text(encoding="utf-8").startswith("id,label,probability\n")


@pytest.mark.parametrize("name", ["answers", "similarity"])
def test_a_docbin_holds_what_is_said_of_two_texts(name: str, models: dict[str, Path], tmp_path: Path) -> None:
    rows = [{"id": f"d{i}", "text": text, "question": "Que voit-on ?"} for i, text in enumerate(NOTES)]
    file = tmp_path / "notes.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    apply(models[name], [str(file)], "docbin", None, (), tmp_path / "out")
    (part,) = (tmp_path / "out").glob("*.spacy")
    docs = list(DocBin().from_disk(part).get_docs(spacy.blank("fr").vocab))
    annotations = list(Annotator(models[name])([("Que voit-on ?", text) for text in NOTES]))
    assert [doc.user_data.get("value") for doc in docs] == pytest.approx([a.value for a in annotations])
    answers = [[(s.start_char, s.end_char) for s in doc.spans.get("medlingua", ())] for doc in docs]
    assert [len(of) for of in answers] == [len(a.entities) for a in annotations]
    assert any(answers) == (name == "answers")


def empty(notes: Path) -> None:
    for file in notes.rglob("*.txt"):
        file.unlink()


def blank(notes: Path) -> None:
    for file in notes.rglob("*.txt"):
        file.write_text(" \n", encoding="utf-8")


def broken(notes: Path) -> None:
    (notes / "zz.txt").write_bytes(b"\xff\xfe\xfa bad")


def used(notes: Path) -> None:
    (notes.parent / "out").mkdir()
    (notes.parent / "out" / "mine.doc").write_text("kept", encoding="utf-8")


def twice(notes: Path) -> None:
    (notes / "rows.jsonl").write_text('{"id": "x", "text": "a"}\n{"id": "x", "text": "b"}\n', encoding="utf-8")


BAD: dict[str, tuple[str, str, Callable[[Path], None] | None, str]] = {
    "no notes": ("tags", "jsonl", empty, "notes: no documents in it: it is empty"),
    "blank notes": ("tags", "jsonl", blank, "every file or text is empty"),
    "not UTF-8": ("tags", "jsonl", broken, "zz.txt"),
    "a used folder": ("tags", "jsonl", used, "is not empty and holds no apply.json.*give another --out"),
    "one id": ("tags", "jsonl", twice, "the id 'x' occurs twice among the notes"),
    "labels in brat": ("labels", "brat", None, "--format brat holds spans, and t .multilabel. has none: take jsonl"),
    "spans in conll": ("spans", "conll", None, "cannot hold entities inside each other.*take brat"),
    "answers in conll": ("answers", "conll", None, "conll cannot hold answers that overlap.*take brat, jsonl"),
    "no question": ("answers", "jsonl", None, "no 'question'.*a column 'question'"),
    "choice": ("choice", "jsonl", None, "choice between options"),
}


def test_files_of_a_folder_that_are_no_notes_are_counted(
    models: dict[str, Path], notes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("README.md", "scan.pdf"):
        (notes / name).touch()
    apply(models["tags"], [str(notes)], "jsonl", None, (), tmp_path / "out")
    assert f"{notes} also has files that are not read: 1 .pdf, 1 README.md" in capsys.readouterr().err


@pytest.mark.parametrize("fault", BAD)
def test_what_cannot_be_annotated_is_refused_before_anything_is_written(
    fault: str, models: dict[str, Path], notes: Path, tmp_path: Path
) -> None:
    name, form, change, message = BAD[fault]
    if change:
        change(notes)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=message) as raised:
        apply(models[name], [str(notes)], form, None, (), tmp_path / "out")  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_note_longer_than_memory_is_refused(
    models: dict[str, Path], notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Little:
        available = 10_000

    monkeypatch.setattr("medlingua.recipes.inference.notes.psutil.virtual_memory", Little)
    with pytest.raises(InputError, match=r"n\d\d.*does not fit in memory .at most \d+ now.; divide it"):
        apply(models["tags"], [str(notes)], "jsonl", None, (), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_with_another_head_on_the_same_encoder_is_another_model(
    models: dict[str, Path], notes: Path, tmp_path: Path
) -> None:
    shutil.copytree(models["tags"], tmp_path / "other")
    head = load_file(tmp_path / "other" / "head.safetensors")
    save_file({name: tensor + 1 for name, tensor in head.items()}, tmp_path / "other" / "head.safetensors")
    apply(models["tags"], [str(notes)], "jsonl", None, (), tmp_path / "out")
    with pytest.raises(InputError, match="by another model"):
        apply(tmp_path / "other", [str(notes)], "jsonl", None, (), tmp_path / "out")


@pytest.mark.parametrize("change", ["model", "format", "notes"])
def test_a_folder_of_other_annotations_is_not_continued(
    change: str, models: dict[str, Path], notes: Path, tmp_path: Path
) -> None:
    apply(models["tags"], [str(notes)], "jsonl", None, (), tmp_path / "out")
    model, form = models["spans" if change == "model" else "tags"], "csv" if change == "format" else "jsonl"
    if change == "notes":
        (notes / "n00.txt").write_text("On examine le rein", encoding="utf-8")
    message = {"model": "by another model", "format": "in another format", "notes": "of other notes"}[change]
    with pytest.raises(InputError, match=f"{message}: give another --out"):
        apply(model, [str(notes)], form, None, (), tmp_path / "out")  # type: ignore[arg-type]


def test_other_questions_to_the_same_texts_are_other_notes(models: dict[str, Path], tmp_path: Path) -> None:
    def ask(question: str) -> list[str]:
        rows = [{"id": f"d{i}", "text": text, "question": question} for i, text in enumerate(NOTES)]
        file = tmp_path / "notes.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return [str(file)]

    apply(models["answers"], ask("Que voit-on ?"), "jsonl", None, (), tmp_path / "out")
    with pytest.raises(InputError, match="of other notes: give another --out"):
        apply(models["answers"], ask("Où est la douleur ?"), "jsonl", None, (), tmp_path / "out")
    rows = ask("Que voit-on ?")
    apply(models["labels"], rows, "jsonl", None, (), tmp_path / "labels")
    apply(models["labels"], ask("Où est la douleur ?"), "jsonl", None, (), tmp_path / "labels")  # not read there


@pytest.mark.parametrize("stopped", [False, True], ids=["whole", "stopped"])
@pytest.mark.parametrize("form", ["jsonl", "csv", "conll", "docbin", "brat"])
def test_what_an_earlier_call_wrote_and_is_gone_is_not_taken_for_written(
    form: Any, stopped: bool, models: dict[str, Path], notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(annotator, "_AT_ONCE", 3)
    predict, calls = Annotator.predict, []

    def stopping(self: Annotator, examples: Any) -> Any:
        calls.append(len(examples))
        if stopped and len(calls) == 3:
            raise KeyboardInterrupt
        return predict(self, examples)

    monkeypatch.setattr(Annotator, "predict", stopping)
    with suppress(KeyboardInterrupt):
        apply(models["tags"], [str(notes)], form, None, (), tmp_path / "out")
    written = sorted(p for p in (tmp_path / "out").rglob("*.*") if p.name not in ("apply.json", "run.lock"))
    assert len(written) == {"docbin": 2 if stopped else 4, "brat": 12 if stopped else 22}.get(form, 1)
    for file in written:
        content = file.read_bytes()
        for damage in ("gone", "cut"):
            if damage == "cut" and form == "brat":
                continue  # the file of a note may be empty
            file.unlink() if damage == "gone" else file.write_bytes(content[:-1])
            with pytest.raises(InputError, match=f"{file.name} is not as apply.json says that it was written: bring"):
                apply(models["tags"], [str(notes)], form, None, (), tmp_path / "out")
            file.write_bytes(content)
    apply(models["tags"], [str(notes)], form, None, (), tmp_path / "out")


def test_a_note_without_words_has_no_label_and_is_counted(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in (("a", NOTES[0]), ("b", ""), ("c", " \n\t ")):
        (tmp_path / "notes" / f"{name}.txt").parent.mkdir(exist_ok=True)
        (tmp_path / "notes" / f"{name}.txt").write_text(text, encoding="utf-8")
    apply(models["labels"], [str(tmp_path / "notes")], "jsonl", None, (), tmp_path / "out")
    rows = (tmp_path / "out" / "annotations.jsonl").read_text(encoding="utf-8").splitlines()
    labels = {row["id"]: [label["label"] for label in row["labels"]] for row in map(json.loads, rows)}
    assert labels["a.txt"]
    assert labels["b.txt"] == labels["c.txt"] == []
    assert "2 of 3 notes have no words" in capsys.readouterr().err


def test_a_model_whose_probabilities_are_of_little_worth_says_so_again(
    models: dict[str, Path], notes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    warning = "do not rely on the model's probabilities, whose temperature"
    assert warning in Annotator(models["tags"]).record.probability_warning
    apply(models["tags"], [str(notes)], "jsonl", None, (), tmp_path / "out")
    assert f"{models['tags']}: {warning}" in capsys.readouterr().err


def test_the_command_says_what_it_refuses_in_one_line_and_names_formats(
    models: dict[str, Path], notes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    out = str(tmp_path / "out")
    assert call(monkeypatch, ["apply", str(models["tags"]), str(notes), "--format", "brt", "--out", out]) == 2
    error = capfd.readouterr().err
    assert "--format brt: unknown" in error
    assert "did you mean 'brat'?" in error
    assert call(monkeypatch, ["apply", str(models["tags"]), str(notes), "--out", out]) == 0
    captured = capfd.readouterr()
    assert captured.out.strip() == out
    assert not any(organ in captured.err + captured.out for organ in ORGANS), "no word of a note"


def test_notes_without_entities_are_reported(models: dict[str, Path], tmp_path: Path, capfd: Any) -> None:
    (tmp_path / "a.txt").write_text(".", encoding="utf-8")
    apply(models["tags"], [str(tmp_path / "a.txt")], "jsonl", None, (), tmp_path / "out")
    assert "nothing was found in 1 notes" in capfd.readouterr().err
    assert json.loads((tmp_path / "out" / "annotations.jsonl").read_text(encoding="utf-8"))["predicted"] == []


# --- spaCy ------------------------------------------------------------------------------------------


def test_a_spacy_pipeline_has_the_entities_of_the_annotator(models: dict[str, Path]) -> None:
    nlp = spacy.blank("fr")
    nlp.add_pipe("medlingua_ner", config={"model": str(models["tags"])})
    docs = list(nlp.pipe(NOTES, batch_size=4))
    assert [{(e.start_char, e.end_char, e.label_) for e in doc.ents} for doc in docs] == entities(models["tags"])
    spans = docs[-1].spans["medlingua"]
    assert len(spans.attrs["probabilities"]) == len(spans)
    assert [e.text for e in nlp(NOTES[0]).ents] == [e.text for e in docs[0].ents]


def test_a_spacy_pipeline_has_the_labels_of_texts(models: dict[str, Path]) -> None:
    nlp = spacy.blank("fr")
    nlp.add_pipe("medlingua_textcat", config={"model": str(models["labels"])})
    (annotation,) = Annotator(models["labels"])(NOTES[:1])
    assert nlp(NOTES[0]).cats == pytest.approx(dict(annotation.probabilities), abs=1e-5)
    blank = nlp(" \n")
    assert (blank.cats, list(blank.spans)) == ({}, [])


def test_a_component_says_which_model_it_takes(models: dict[str, Path]) -> None:
    nlp = spacy.blank("fr")
    with pytest.raises(InputError, match="of kind multilabel, not ner: use medlingua_textcat"):
        nlp.add_pipe("medlingua_ner", config={"model": str(models["labels"])})
    with pytest.raises(InputError, match="give config"):
        nlp.add_pipe("medlingua_ner")


def test_a_pipeline_that_was_saved_brings_its_model(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(models["tags"], tmp_path / "kept")
    monkeypatch.chdir(tmp_path)
    nlp = spacy.blank("fr")
    nlp.add_pipe("medlingua_ner", config={"model": "kept"})
    expected = [e.text for e in nlp(NOTES[3]).ents]
    nlp.to_disk(tmp_path / "pipeline")
    shutil.rmtree(tmp_path / "kept")
    (tmp_path / "pipeline").rename(tmp_path / "moved")
    monkeypatch.chdir("/")
    again = spacy.load(tmp_path / "moved")
    assert [e.text for e in again(NOTES[3]).ents] == expected


@pytest.mark.parametrize("name", ["model.safetensors", "head.safetensors", "tokenizer.json", "config.json"])
def test_a_model_that_lacks_a_file_leaves_nothing_behind(
    name: str, models: dict[str, Path], notes: Path, tmp_path: Path
) -> None:
    shutil.copytree(models["tags"], tmp_path / "model")
    (tmp_path / "model" / name).unlink()
    with pytest.raises(InputError) as raised:
        apply(tmp_path / "model", [str(notes)], "jsonl", None, (), tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_created_is_named(models: dict[str, Path], notes: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match=r"cannot be made .*give another --out"):
        apply(models["tags"], [str(notes)], "jsonl", None, (), tmp_path / "file" / "out")


def test_notes_whose_files_would_have_one_name_get_numbers(models: dict[str, Path], tmp_path: Path) -> None:
    ids = ["a/N.txt", "a/n.md", "a/n-2", "a/n"]
    texts = [f"On examine le {organ}" for organ in ORGANS[:4]]
    rows = [{"id": id, "text": text} for id, text in zip(ids, texts, strict=True)]
    (tmp_path / "n.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    apply(models["tags"], [str(tmp_path / "n.jsonl")], "brat", None, (), tmp_path / "out")
    lines = (tmp_path / "out" / "names.jsonl").read_text(encoding="utf-8").splitlines()
    files = {row["id"]: row["file"] for row in map(json.loads, lines)}
    assert set(files) == set(ids)
    assert len({name.casefold() for name in files.values()}) == 4
    for id, text in zip(ids, texts, strict=True):
        assert (tmp_path / "out" / f"{files[id]}.txt").read_text(encoding="utf-8") == text


def test_unreadable_notes_are_left_out_on_request(
    models: dict[str, Path], notes: Path, tmp_path: Path, capfd: Any
) -> None:
    broken(notes)
    rows = ['{"id": "x", "text": "On examine le rein"}', '{"id": "y"', '{"id": "z", "text": 3}', '{"id": "Dubelara"}']
    (notes / "rows.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    line = [str(notes)], "jsonl", None, (), tmp_path / "out", False
    with pytest.raises(InputError, match=r"rows\.jsonl, line 2|zz\.txt"):
        apply(models["tags"], *line)
    apply(models["tags"], *line, skip_unreadable=True)
    annotations = (tmp_path / "out" / "annotations.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(annotations) == len(NOTES) + 1
    left_out = (tmp_path / "out" / "unreadable.txt").read_text(encoding="utf-8").splitlines()
    places = ["rows.jsonl, line 2", "rows.jsonl, line 3", "rows.jsonl, line 4", "zz.txt"]
    assert [next(place for place in places if place in line) for line in left_out] == places
    assert "Dubelara" not in "".join(left_out)
    assert "4 notes cannot be read" in capfd.readouterr().err
    (notes / "cut.jsonl.gz").write_bytes(b"\x1f\x8b\x08 no end")
    with pytest.raises(InputError, match=r"cut\.jsonl\.gz"):
        apply(models["tags"], *line, skip_unreadable=True)


def test_an_id_that_no_file_system_takes_is_cut(models: dict[str, Path], tmp_path: Path) -> None:
    rows = [{"id": "é" * 5_000 + end, "text": "On examine le foie"} for end in "ab"]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    apply(models["tags"], [str(tmp_path / "notes.jsonl")], "brat", None, (), tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.ann"))) == 2


def test_the_page_of_first_notes_is_written_where_words_may_be_shown(models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("<script>x</script> On examine le foie", encoding="utf-8")
    apply(models["tags"], [str(tmp_path / "a.txt")], "jsonl", None, (), tmp_path / "plain")
    assert not (tmp_path / "plain" / "annotations.html").exists()
    apply(models["tags"], [str(tmp_path / "a.txt")], "jsonl", None, (), tmp_path / "shown", show_text=True)
    page = (tmp_path / "shown" / "annotations.html").read_text(encoding="utf-8")
    assert "<script>" not in page
    predicted = json.loads((tmp_path / "shown" / "annotations.jsonl").read_text(encoding="utf-8"))["predicted"]
    assert page.count("<mark") == len(predicted) > 0
