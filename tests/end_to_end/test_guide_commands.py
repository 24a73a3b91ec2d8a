"""The commands of the README and the guides, run in their order as a reader would, on a small model and a small root.

What a guide leaves to the reader (FOLDER, ROOT, MODEL, FILE) is put there, and runs are made short. Commands that
need a network or a launcher of processes have tests of their own.
"""

import gzip
import json
import re
import shutil
from pathlib import Path

import pytest
import zstandard
from medlingua.languages.cases import synthetic_tasks
from medlingua.languages.pack import load_pack
from medlingua.languages.tasks import read_task

from ..recipes.conftest import call, cases, small_tasks, write_jsonl  # noqa: F401 -- a fixture
from ..test_guides import ROOT, commands

SHORT = ["--tokens", "600", "--set", "train.precision=fp32"]
SCRATCH = ["--set", "adapt.size=tiny", "--set", "adapt.new_pieces=600", "--set", "adapt.length=128"]
LONG = ["--set", "adapt.length=256", "--set", "adapt.window=64"]
ONE_SEED = ["--set", "eval.seeds=1", "--set", "eval.epochs=1", "--set", "eval.min_steps=0"]
FIRST = ["--strategy", "continue", "--lang", "fr", "--data", "ROOT", "--out", "runs/first"]
EARLIER = {"recipes/README.md": [FIRST, ["evaluate", "MODEL", "--lang", "fr", "--data", "ROOT"]]}
# Tables as they are published, with a line each.
TERMINOLOGIES = {
    "hp-fr.babelon.tsv.gz": (
        ("subject_id", "source_language", "translation_language", "predicate_id", "source_value",
         "translation_status", "translation_value"),
        ("HP:0002315", "en", "fr", "rdfs:label", "Headache", "OFFICIAL", "Céphalée"),
    ),
    "doid-es-translated.tsv.gz": (
        ("source_id", "predicate", "source_text", "translation_text", "source_lang", "translation_lang"),
        ("DOID:2841", "rdfs:label", "asthma", "asma", "en", "es"),
    ),
    "HumanDO.tsv.gz": (("id", "label", "subClassOf"), ("DOID:2841", "asthma", "bronchial disease")),
}  # fmt: skip
ELSEWHERE = (["fetch"], ["study", "strategies"])  # test_other_commands.py has a server, test_study.py its arms


@pytest.fixture
def place(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the guides speak of, as the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("medlingua.recipes.walk._PLAN_SECONDS", 0.0)
    shutil.copytree(base, tmp_path / "FOLDER")
    shutil.copytree(base, tmp_path / "MODEL")
    (tmp_path / "MODEL" / "README.md").write_text("---\nlicense: apache-2.0\n---\n", encoding="utf-8")
    (tmp_path / "letters").mkdir()
    for number, text in enumerate(cases(4)):
        (tmp_path / "letters" / f"{number}.txt").write_text(text, encoding="utf-8")
    (tmp_path / "notes").mkdir()
    write_jsonl(tmp_path / "notes" / "notes.jsonl", cases(60), body=lambda number: cases(60)[number])
    for lang, name in (("fr", "e3c_pamj_fr"), ("de", "klexikon_medizin_de")):
        (record,) = (c for c in load_pack(lang).corpora if c.name == name)
        path = tmp_path / "ROOT" / str(record.path)
        path.parent.mkdir(parents=True)
        lines = write_jsonl(tmp_path / "lines.jsonl", cases(60)).read_bytes()
        path.write_bytes(zstandard.compress(lines) if path.suffix == ".zst" else gzip.compress(lines))
    (tmp_path / "lines.jsonl").rename(tmp_path / "ROOT" / "lines.jsonl")
    write_entities(
        tmp_path / "ROOT" / "tasks" / "mantra_gsc" / "fr" / "EMEA_fr",
        '#1\tAnnotatorNotes {id}\t"C0", "a", "b" ,"DISO"\n',
    )
    write_entities(tmp_path / "brat", "")
    for name, rows in TERMINOLOGIES.items():
        (tmp_path / name).write_bytes(gzip.compress("".join("\t".join(row) + "\n" for row in rows).encode()))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pack = readme[readme.index('    code = "fr"') : readme.index("    adapt evaluate MODEL --lang pack.toml")]
    (tmp_path / "pack.toml").write_text(pack.replace("\n    ", "\n").strip() + "\n", encoding="utf-8")
    mantra = next(spec for spec in load_pack("fr").tasks if spec.name == "mantra_fr")
    tested = [example.id for example in read_task(mantra, tmp_path / "ROOT", "fr").test]
    lines = [json.dumps({"id": id, "predicted": []}) + "\n" for id in tested]
    (tmp_path / "FILE").write_text("".join(lines), encoding="utf-8")
    arm = f'name = "trained"\nstrategy = "continue"\nbase = "{tmp_path}/FOLDER"'
    control = f'name = "control"\nmodel = "{tmp_path}/FOLDER"'
    (tmp_path / "STUDY.toml").write_text(f"tokens = 600\n[[arms]]\n{arm}\n[[arms]]\n{control}\n", encoding="utf-8")
    space = "[space]\ntrain.lr = { low = 1e-4, high = 1e-3 }\n"
    (tmp_path / "SWEEP.toml").write_text(
        f'trials = 2\nobjective = "bits_per_byte"\n[settings]\nstrategy = "continue"\nlang = "fr"\nbase = "FOLDER"\n'
        f"train = {{ tokens = 600 }}\n{space}",
        encoding="utf-8",
    )
    return tmp_path


def write_entities(folder: Path, note: str) -> None:
    """Brat files of a synthetic task."""
    task = next(t for t in synthetic_tasks(load_pack("fr"), 3, (20, 5, 5), (30, 60)) if t.spec.kind == "ner")
    folder.mkdir(parents=True)
    for number, example in enumerate((*task.train, *task.dev, *task.test)):
        text = example.document.text
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
        lines = []
        for count, span in enumerate(sorted(example.gold, key=lambda s: s.start), 1):
            lines.append(f"T{count}\t{span.label} {span.start} {span.end}\t{text[span.start : span.end]}\n")
            lines.append(note.format(id=f"T{count}"))
        (folder / f"{number}.ann").write_text("".join(lines), encoding="utf-8")


def answer(place: Path) -> None:
    """What a language model says to the prompts: each value in turn."""
    prompts = [json.loads(line) for line in (place / "prompts.jsonl").read_text(encoding="utf-8").splitlines()]
    lines = [
        {"id": prompt["id"], "answer": {name: of[n % len(of)] for name, of in prompt["values"].items()}}
        for n, prompt in enumerate(prompts)
    ]
    (place / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def shortened(words: list[str]) -> list[str]:
    """A guide's command with what makes it short, and a base where the default one lies on the hub."""
    words = [w.replace("1/8", "1/1") for w in words]
    command = words[0] if not words[0].startswith("-") else "adapt"
    if command in ("adapt", "plan"):
        words = [*words, *(SCRATCH if "scratch" in words else ["--base", "FOLDER"])]
        words += LONG if "convert" in words else []
        words = [w.replace("train.epochs=2", "train.epochs=0.1") for w in words]
        words += SHORT[2:] if command == "plan" or "train.epochs=0.1" in words else SHORT
        words += ONE_SEED if command == "adapt" else []
    if command == "evaluate" or "--answers" in words:
        words = [*words, *ONE_SEED]
    if command == "finetune":
        words = [*words, *(ONE_SEED[2:] if "--seeds" in words else ONE_SEED)]
    if command == "study":
        words = [*words, "--tokens", "600", *ONE_SEED, "--set", "train.precision=fp32"]
    return words


@pytest.mark.usefixtures("small_tasks")
@pytest.mark.parametrize("guide", ["README.md", "languages/README.md", "recipes/README.md"])
def test_the_commands_of_a_guide_run(
    guide: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in [*EARLIER.get(guide, []), *commands(guide)]:
        if words[:1] in ELSEWHERE or words[:2] in ELSEWHERE:
            continue
        if "--answers" in words:
            answer(place)
        code = call(monkeypatch, shortened(words))
        captured = capsys.readouterr()
        assert code == 0, (words, captured.err[-2_000:])
    for code_block in re.findall(r"```python\n(.*?)```", (ROOT / guide).read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(code_block, guide, "exec"), {})
