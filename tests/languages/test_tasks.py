import gzip
import json
from collections import Counter
from pathlib import Path
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medlingua.languages.annotations import Example, Span
from medlingua.languages.errors import InputError
from medlingua.languages.pack import TaskSpec, load_pack
from medlingua.languages.task import Task, labels_of
from medlingua.languages.tasks import available, read_task

from .conftest import LANGUAGES, needs_data

# Documents and gold labels of each part, against the counts that come with the data.
COUNTED = {
    "morfitt": [(1514, 2110), (1022, 1446), (1088, 1560)],
    "casimedicos_fr": [(381, None), (55, None), (117, None)],
    "casimedicos_es": [(381, None), (55, None), (117, None)],
    "casimedicos_en": [(381, None), (55, None), (117, None)],
    "codiesp_letter": [(500, None), (250, None), (250, None)],
    "codiesp_diagnoses": [(500, 5639), (250, 2677), (250, 2842)],
    "codiesp_procedures": [(500, 1550), (250, 817), (250, 879)],
    "codiesp_evidence": [(500, None), (250, None), (250, None)],
    "ncbi_disease": [(None, 5145), (None, 787), (None, 960)],
    "bc5cdr": [(None, 5203 + 4182), (None, 5347 + 4246), (None, 5385 + 4424)],
    "meddocan": [(20, None), (20, None), (20, None)],
    "pharmaconer": [(500, 3822), (250, 1926), (250, 1876)],
    "cantemist": [(501, 6396), (500, 3341 + 2660), (300, 3633)],
    "cantemist_coding": [(501, 2756), (499, 1385 + 1279), (300, 1599)],
    "profner": [(None, None), (None, None), (2000, 566 + 85)],
    "profner_tweets": [(None, None), (None, None), (2000, 2000)],
    "ehealthkd": [(1500, 11117), (50, None), (150, None)],
    "abstrct_es": [(4404, 1535 + 730), (679, 218 + 108), (1251, 438 + 248)],
    "abstrct_fr": [(4404, 1536 + 730), (679, 218 + 108), (1251, 438 + 248)],
    "abstrct_en": [(4404, None), (679, 218 + 108), (1251, 438 + 248)],
    "anatem": [(None, 6946), (None, 2139), (None, 4616)],
    "bc2gm": [(None, 15197), (None, 3061), (None, 6325)],
    "jnlpba": [(None, None), (None, None), (404, 8662)],
    "chemprot": [(4169, 4169), (2427, 2427), (3469, 3469)],
    "nli4ct_p": [(1700, 1700), (200, 200), (5500, 5500)],
}
TOTALS = {
    "fracco_sample": (140, 7916),
    "fracco": (1300, 7916 + 63464),
    "meddocan": (60, 1378),
    "mantra_fr": (200, None),
    "mantra_es": (200, None),
    "mantra_de": (200, None),
    "germediq": (4524, 4524),
    "healthfc_de": (750, 750),
    "distemist": (750, 8065),
    "symptemist": (750, 9092 - 1),  # one annotation is there twice
    "medprocner": (750, 11065),
    "spaccc_clinical": (750, 8065 + 9092 - 1 + 11065),
    "profner": (8000, None),
    "profner_tweets": (8000, 8000),
    "jnlpba": (2000 - 10 + 404, None),  # ten are in both parts
    "labforsims2": (2701, 2701),
    "hoc": (1852, None),
    "hoc_sentences": (17464, None),
    "biosses": (100, 0),
    "ehr_rel_b": (3630, 0),
    "umnsrs_similarity_es": (321, 0),
    "umnsrs_relatedness_es": (254, 0),
    "mayo_relatedness_es": (89, 0),
    "covid_qa": (1380, 1380),
}
# Labels of each part.
LABELS = {
    "pharmaconer": [
        {"NORMALIZABLES": 2304, "PROTEINAS": 1405, "UNCLEAR": 89, "NO_NORMALIZABLES": 24},
        {"NORMALIZABLES": 1121, "PROTEINAS": 745, "UNCLEAR": 44, "NO_NORMALIZABLES": 16},
        {"NORMALIZABLES": 973, "PROTEINAS": 859, "UNCLEAR": 34, "NO_NORMALIZABLES": 10},
    ],
    "ehealthkd": [{"Concept": 7171, "Action": 2681, "Predicate": 988, "Reference": 277}],
    "jnlpba": [{}, {}, {"protein": 5067, "DNA": 1056, "cell_type": 1921, "cell_line": 500, "RNA": 118}],
}
LABELS_OF_ALL = {
    "labforsims2": {"HDM": 1272, "ATD": 593, "MDV": 259, "PSN": 197, "TRT": 133, "UNK": 127, "MTF": 120},
    "nli4ct_p": {"Contradiction": 3659 + 850 + 100, "Entailment": 1841 + 850 + 100},
}
# The least share of a part: of LabForSIMS2 two fifths are one group, whose answers are alike.
SMALLEST = {"labforsims2": 0.03}
# What the reader changed or left out, a line each.
NOTES = {
    "pharmaconer": ["moved to the nearest place with their words, as their offsets give others: 5"],
    "codiesp_evidence": ["kept at their offsets, which give other words than they say: 7"],
    "jnlpba": ["documents of train or dev left out, which test has too: 10"],
    "abstrct_fr": ["are not UTF-8, whose wrong bytes are read as U+FFFD: 10", "have no token: 2", "space inside: 4"],
}


def parts(task: Task) -> list[tuple[Example, ...]]:
    return [task.train, task.dev, task.test]


def shared_texts(task: Task) -> set[str]:
    seen = Counter(text for part in parts(task) for text in {example.document.text for example in part})
    return {text for text, n in seen.items() if n > 1}


def labels(examples: tuple[Example, ...]) -> int:
    return sum(len(labels_of(example.gold)) for example in examples)


def counted(examples: tuple[Example, ...]) -> Counter[str]:
    return Counter(label for example in examples for label in labels_of(example.gold))


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("code", LANGUAGES)
def test_V2_local_tasks_match_their_counts_and_their_text(code: str, data: Path) -> None:
    for spec in load_pack(code).tasks:
        if not spec.verified or spec.path is None:
            continue
        assert available(spec, data), spec.name
        task = read_task(spec, data, code)
        for part, (documents, golds) in zip(parts(task), COUNTED.get(spec.name, []), strict=False):
            assert documents in (None, len(part)), spec.name
            assert golds in (None, labels(part)), spec.name
        everything = sum(parts(task), ())
        documents, golds = TOTALS.get(spec.name, (None, None))
        assert documents in (None, len(everything)), spec.name
        assert golds in (None, labels(everything)), spec.name
        for part, counts in zip(parts(task), LABELS.get(spec.name, []), strict=False):
            assert not counts or counted(part) == counts, spec.name
        if spec.name in LABELS_OF_ALL:
            assert counted(everything) == LABELS_OF_ALL[spec.name]
        for words in NOTES.get(spec.name, []):
            assert any(words in note for note in task.notes), spec.name
        if spec.splits == "hash" and not spec.folds:
            assert not shared_texts(task), spec.name
            smallest = SMALLEST.get(spec.name, 0.05)
            assert all(len(part) >= smallest * len(everything) for part in parts(task)), spec.name


@needs_data
def test_mantra_has_its_ten_groups_and_fracco_its_discontinuous_spans(data: Path) -> None:
    specs = {spec.name: spec for code in LANGUAGES for spec in load_pack(code).tasks}
    groups = {"DISO", "CHEM", "PROC", "LIVB", "ANAT", "PHYS", "PHEN", "OBJC", "DEVI", "GEOG"}
    for name, discontinuous in (("mantra_fr", 11), ("mantra_es", 19), ("mantra_de", 18), ("fracco", 846)):
        spans = [s for part in parts(read_task(specs[name], data, "xx")) for e in part for s in e.gold]
        assert sum(not isinstance(s, str) and s.discontinuous for s in spans) <= discontinuous
        if name.startswith("mantra"):
            assert {s.label for s in spans if not isinstance(s, str)} == groups


@needs_data
def test_codiesp_letters_and_claims_are_those_of_the_files(data: Path) -> None:
    specs = {spec.name: spec for code in LANGUAGES for spec in load_pack(code).tasks}
    task = read_task(specs["codiesp_letter"], data, "es")
    assert set(task.labels) == set("ABCDEFGHIJKLMNOPQRSTVWXYZ")
    claims = read_task(specs["casimedicos_es"], data, "es")
    counted = [sum(label == "Claim" for e in part for label in labels_of(e.gold)) for part in parts(claims)]
    assert counted == [3372, 518, 1069]


@needs_data
def test_germediq_keeps_a_question_in_one_part(data: Path) -> None:
    spec = next(spec for spec in load_pack("de").tasks if spec.name == "germediq")
    questions = [{e.document.meta["id"] for e in part} for part in parts(read_task(spec, data, "de"))]
    assert sum(map(len, questions)) == len(set.union(*questions)) == 116


def named(name: str) -> tuple[str, TaskSpec]:
    return next((code, spec) for code in LANGUAGES for spec in load_pack(code).tasks if spec.name == name)


def read(name: str, root: Path, **changes: object) -> Task:
    code, spec = named(name)
    return read_task(spec.model_copy(update=changes), root, code)


@needs_data
def test_all_annotations_of_profner_and_ehealthkd_are_read_where_none_is_left_out(data: Path) -> None:
    tweets = sum(parts(read("profner", data, options={})), ())
    assert counted(tweets) == Counter(
        PROFESION=1597 + 566 - 1, SITUACION_LABORAL=264 + 85, ACTIVIDAD=45 + 16, FIGURATIVA=16 + 8
    )  # one is there twice
    english_too = read("ehealthkd", data, options={"lines": True})
    assert [(len(part), labels(part)) for part in parts(english_too)] == [(1500, 11117), (100, 904), (300, 2675)]


@needs_data
def test_the_three_sets_on_one_text_are_divided_alike_and_joined(data: Path) -> None:
    """Or what one set trains on is what another tests on."""
    tasks = [read(name, data) for name in ("distemist", "symptemist", "medprocner", "spaccc_clinical")]
    tested = [{example.id for example in task.test} for task in tasks]
    assert tested[0] == tested[1] == tested[2] == tested[3]
    *single, joined = ({e.id: set(e.gold) for e in task.test if isinstance(e.gold, tuple)} for task in tasks)
    assert all(set.union(*(gold[name] for gold in single)) == joined[name] for name in joined)


@needs_data
def test_every_answer_of_covid_qa_is_at_its_place_and_an_article_in_one_part(data: Path) -> None:
    task = read("covid_qa", data)
    raw = json.loads(gzip.decompress((data / "tasks/covid_qa/200423_covidQA.json.gz").read_bytes()))
    published = {
        str(question["id"]): (paragraph["context"], question["answers"][0])
        for article in raw["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    }
    wrong = [a for text, a in published.values() if not text.startswith(a["text"], max(a["answer_start"], 0))]
    assert len(wrong) == 234
    for example in sum(parts(task), ()):
        assert isinstance(example.gold, tuple)
        (span,) = example.gold
        assert example.document.text[span.start : span.end] == published[example.id][1]["text"].strip()
    articles = [{example.document.text for example in part} for part in parts(task)]
    assert sum(map(len, articles)) == len(set.union(*articles)) == 98


@needs_data
def test_questions_with_one_answer_are_in_one_part(data: Path) -> None:
    answers = [{e.document.meta["answer"] for e in part} for part in parts(read("labforsims2", data))]
    assert sum(map(len, answers)) == len(set.union(*answers))


@needs_data
def test_hallmarks_are_ten_and_most_sentences_have_none(data: Path) -> None:
    sentences, abstracts = (sum(parts(read(name, data)), ()) for name in ("hoc_sentences", "hoc"))
    assert len(counted(sentences)) == 10
    assert sum(not labels_of(e.gold) for e in sentences) == 13021
    assert sum(not labels_of(e.gold) for e in abstracts) == 272


@needs_data
def test_graded_pairs_have_the_values_of_their_files(data: Path) -> None:
    values = {name: [e.gold for e in read(name, data).test] for name in ("ehr_rel_b", "umnsrs_similarity_es")}
    assert round(fmean(float(v) for v in values["ehr_rel_b"] if isinstance(v, float)), 2) == 1.33
    assert (min(values["umnsrs_similarity_es"]), max(values["umnsrs_similarity_es"])) == (142.5, 1395)


def table(folder: Path, rows: list[tuple[str, str, str]]) -> TaskSpec:
    folder.mkdir(exist_ok=True)
    body = "".join(f"{i},{text},{label}\n" for i, text, label in rows)
    (folder / "t.csv").write_text("id,text,label\n" + body, encoding="utf-8")
    return TaskSpec(
        name="t",
        kind="classification",
        path=folder.name,
        reader="table",
        options={"id": "id", "labels": "label"},
    )


@given(
    words=st.lists(st.sampled_from([f"w{i}" for i in range(30)]), min_size=60, max_size=90),
    order=st.randoms(),
)
def test_hashed_splits_hold_each_text_once_whatever_the_order(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], order: object
) -> None:
    root = tmp_path_factory.mktemp("h")
    rows = [(f"d{i}", word, "x") for i, word in enumerate(words)]
    rows += [(f"u{i}", f"unique {i}", "y") for i in range(100)]
    once = read_task(table(root / "a", rows), root, "xx")
    assert not shared_texts(once)
    order.shuffle(rows)  # type: ignore[attr-defined]
    again = read_task(table(root / "b", rows), root, "xx")
    assert [{e.id for e in part} for part in parts(once)] == [{e.id for e in part} for part in parts(again)]


def test_hashed_splits_are_about_70_10_20(tmp_path: Path) -> None:
    task = read_task(table(tmp_path / "a", [(f"d{i}", f"t{i}", "x") for i in range(4000)]), tmp_path, "xx")
    assert [round(len(part) / 400) for part in parts(task)] == [7, 1, 2]


def test_labels_that_only_the_test_part_has_stay_there_and_are_counted(tmp_path: Path) -> None:
    rows = [(f"d{i}", f"t{i}", "x") for i in range(100)]
    task = read_task(table(tmp_path / "a", rows), tmp_path, "xx")
    chosen = task.test[0].id
    rows = [(i, text, "rare" if i == chosen else label) for i, text, label in rows]
    task = read_task(table(tmp_path / "a", rows), tmp_path, "xx")
    assert (task.labels, dict(task.unseen)) == (("x",), {"rare": 1})
    assert Counter(e.gold for e in task.test)["rare"] == 1


def test_documents_of_one_label_are_told_to_teach_nothing(tmp_path: Path) -> None:
    task = read_task(table(tmp_path / "a", [(f"d{i}", f"t{i}", "Mme Durand") for i in range(100)]), tmp_path, "xx")
    (line,) = task.notes
    assert "the same label: there is nothing to learn" in line
    assert "Durand" not in line


def test_labels_that_may_stand_for_empty_cells_are_told_and_kept(tmp_path: Path) -> None:
    spec = table(tmp_path / "a", [(f"d{i}", f"t{i}", ("nan", "none", "x", "y")[i % 4]) for i in range(100)])
    task = read_task(spec, tmp_path, "xx")
    assert task.notes == ("documents whose label is 'nan', which may stand for an empty cell: 25",)
    assert "nan" in task.labels


def test_what_cannot_be_read_says_what_to_do(tmp_path: Path) -> None:
    spec = table(tmp_path / "a", [(f"d{i}", f"t{i}", "x") for i in range(100)])
    (tmp_path / "a" / "t.csv").rename(tmp_path / "a" / "t.data")
    assert not available(spec, tmp_path)
    with pytest.raises(InputError, match=r"task t: .* is not there; .*adapt fetch"):
        read_task(spec, tmp_path, "xx")
    with pytest.raises(InputError, match=r"known by name only; get it at there"):
        read_task(TaskSpec(name="t", kind="ner", address="there"), tmp_path, "xx")
    spec = table(tmp_path / "b", [("d", "t", "x"), ("d", "u", "x")] * 50)
    with pytest.raises(InputError, match=r"100 ids|1 ids occur more than once, first 'd'|no documents in"):
        read_task(spec, tmp_path, "xx")
    bad = spec.model_copy(update={"options": {"label": "label"}})
    with pytest.raises(InputError, match=r"no option 'label'.*did you mean 'labels'"):
        read_task(bad, tmp_path, "xx")
    spec = table(tmp_path / "c", [(f"d{i}", f"t{i}", "x") for i in range(100)])
    with pytest.raises(InputError, match=r"has one label as its gold, which is not ner"):
        read_task(spec.model_copy(update={"kind": "ner"}), tmp_path, "xx")
    with pytest.raises(InputError, match=r"no column 'patient' to group by"):
        read_task(spec.model_copy(update={"group": "patient"}), tmp_path, "xx")


def test_what_the_reader_takes_besides_is_missing_where_it_is(tmp_path: Path) -> None:
    spec = table(tmp_path / "a", [(f"d{i}", f"t{i}", "x") for i in range(100)])
    spec = spec.model_copy(update={"requires": ("texts.zip",)})
    assert not available(spec, tmp_path)
    with pytest.raises(InputError, match=r"texts\.zip is not there"):
        read_task(spec, tmp_path, "xx")
    (tmp_path / "a" / "texts.zip").touch()
    assert available(spec, tmp_path)


def test_a_document_without_entities_is_one_of_a_ner_task(tmp_path: Path) -> None:
    """An empty list is no spans here, and an empty set of labels elsewhere."""
    rows = [
        {
            "id": str(n),
            "text": f"{n} toux",
            "labels": [{"start": 0, "end": len(str(n)), "label": "N", "text": str(n)}],
        }
        for n in range(60)
    ]
    rows += [{"id": f"empty{n}", "text": f"rien {n}", "labels": []} for n in range(20)]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    spec = TaskSpec(name="t", kind="ner", path="", file="c.jsonl", reader="json")
    task = read_task(spec, tmp_path, "fr")
    gold = {example.id: example.gold for part in parts(task) for example in part}
    assert all(gold[f"empty{n}"] == () for n in range(20))
    labelled = [{"id": str(n), "text": f"{n}", "labels": ["a"] if n % 2 else []} for n in range(60)]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, labelled)), encoding="utf-8")
    sets = read_task(spec.model_copy(update={"kind": "multilabel"}), tmp_path, "fr")
    assert {example.gold for part in parts(sets) for example in part} == {frozenset(), frozenset({"a"})}


@pytest.mark.parametrize(
    ("count", "expected"), [(10, (7, 1, 2)), (40, (28, 4, 8)), (60, (42, 6, 12)), (99, (69, 10, 20))]
)
def test_a_small_set_is_divided_by_shares(count: int, expected: tuple[int, ...], tmp_path: Path) -> None:
    """By their hashes alone, 40 documents became 32, 2 and 6."""
    rows = [(f"d{i}", f"texte {i}", "ab"[i % 2]) for i in range(count)]
    task = read_task(table(tmp_path / "t", rows), tmp_path, "fr")
    assert tuple(len(part) for part in parts(task)) == expected
    again = read_task(table(tmp_path / "u", rows[::-1]), tmp_path, "fr")
    assert [{e.id for e in part} for part in parts(again)] == [{e.id for e in part} for part in parts(task)]


def test_a_document_that_joins_a_larger_set_moves_no_other(tmp_path: Path) -> None:
    """From 100 on the part of a document is decided by its own hash, whatever else is there."""
    rows = [(f"d{i}", f"texte {i}", "ab"[i % 2]) for i in range(150)]
    few, all_of_them = (
        read_task(table(tmp_path / n, r), tmp_path, "fr") for n, r in (("a", rows[:120]), ("b", rows))
    )
    for part in ("train", "dev", "test"):
        assert {e.id for e in getattr(few, part)} <= {e.id for e in getattr(all_of_them, part)}


def test_fragments_are_in_the_order_of_the_text_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    for i in range(10):
        (tmp_path / f"d{i}.txt").write_text(f"col et corps du fémur {i}", encoding="utf-8")
        (tmp_path / f"d{i}.ann").write_text("T1\tANAT 13 21;0 3\tdu fémur col\n", encoding="utf-8")
    spec = TaskSpec(name="t", kind="ner", path=".", reader="brat", folds=3)
    assert {example.gold for example in read_task(spec, tmp_path, "fr").test} == {(Span(((0, 3), (13, 21)), "ANAT"),)}
