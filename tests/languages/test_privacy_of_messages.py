"""No word of a document in any message: a planted name, files that are broken in every way, all readers."""

import gzip
import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from medlingua.languages.annotations import Example
from medlingua.languages.documents import read_documents
from medlingua.languages.errors import InputError
from medlingua.languages.hierarchy import read_hierarchy
from medlingua.languages.pack import TaskSpec
from medlingua.languages.questions import read_bioasq, read_nli4ct, read_options, read_pubmedqa, read_squad
from medlingua.languages.readers import READERS as TOOLS
from medlingua.languages.readers.brat import read_brat
from medlingua.languages.readers.brat_relations import read_brat_relations
from medlingua.languages.readers.concepts import read_concepts
from medlingua.languages.readers.conll import read_conll
from medlingua.languages.readers.cues import read_cues
from medlingua.languages.readers.lines import read_line_labels, read_paraphrases
from medlingua.languages.readers.pairs import read_deft_pairs, read_id_pairs
from medlingua.languages.readers.standoff import read_codes, read_offsets
from medlingua.languages.readers.tables import read_json, read_table
from medlingua.languages.readers.token_lists import read_bio_lists, read_tag_lists
from medlingua.languages.readers.tokens import read_tokens
from medlingua.languages.relations import read_e3c_relations
from medlingua.languages.tasks import read_task
from medlingua.languages.terminologies import reading as terminologies
from medlingua.languages.terminology import read_terminology
from medlingua.languages.terms import read_dictionary

from .annotation_tools import PROJECTS
from .packed_files import arrow_bytes, parquet_bytes, zip_bytes
from .test_relations import XMI

NAME = "Quetzalcoatl"  # in every text, and nowhere else
TEXT = f"Madame {NAME} tousse. {NAME} a mal."
PIECES = {NAME[start : start + 6] for start in range(len(NAME) - 5)}

Read = Callable[[Path, bytes], object]


def of_file(name: str, reader: Callable[..., Any], **options: Any) -> Read:
    def read(folder: Path, raw: bytes) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(raw)
        list(reader(folder / name, source="s", **options))

    return read


def of_folder(name: str, reader: Callable[..., Any], others: dict[str, bytes]) -> Read:
    """A file of a folder whose other files are good."""

    def read(folder: Path, raw: bytes) -> None:
        for other, content in {**others, name: raw}.items():
            (folder / "of" / other).parent.mkdir(parents=True, exist_ok=True)
            (folder / "of" / other).write_bytes(content)
        list(reader(folder / "of", source="s"))

    return read


def in_folder(name: str, reader: Callable[..., Any], others: dict[str, bytes], given: str) -> Read:
    """As `of_folder`, of a reader that takes a file."""
    return of_folder(name, lambda folder, source: reader(folder / given, source=source), others)


def encoded(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def of_tool(name: str) -> tuple[Read, bytes]:
    """The project of a tool, its patient named. DocBin is packed: what is harmed in it is no text."""
    reader, file, good, options = PROJECTS[name]
    named = good.replace(b"patient", NAME[:7].encode())
    return of_file(file, TOOLS[reader].read, **options), good if name == "spaCy DocBin" else named


ANN = f"T1\tDIS 7 19\t{NAME}\nT2\tDIS 0 6;7 19\tMadame {NAME}\n#1\tAnnotatorNotes T1\t{NAME}\n".encode()
CONLL = f"Madame O\n{NAME} B-X\ntousse I-X\n\n{NAME} O\n".encode()
LISTS = {"tokens": ["Madame", NAME, "tousse"], "ner_tags": ["O", "B-X", "I-X"]}
TABLE = f'id,text,label\n1,"{TEXT}",b\n2,"{TEXT}\n",c\n'.encode()
TSV = f"id\ttext\tlabel\n1\t{TEXT}\tb\n2\t{TEXT}\tc\n".encode()
ROW = {"id": "1", "text": TEXT, "labels": [{"start": 7, "end": 19, "label": "X", "text": NAME}]}
OFFSETS = f"filename\tlabel\tstart\tend\ttext\na\tX\t7\t19\t{NAME}\n".encode()
CUES = "".join(f"1\t{n}\t{word}\t{word}\tNOM\t***\n" for n, word in enumerate(TEXT.split())).encode()
YESNO = {"id": "q", "type": "yesno", "body": TEXT, "snippets": [{"text": TEXT}], "exact_answer": "yes"}
SQUAD = {
    "data": [{"paragraphs": [{"context": TEXT, "qas": [
        {"id": "q", "question": f"Qui est {NAME} ?", "answers": [{"answer_start": 7, "text": NAME}]}
    ]}]}]
}  # fmt: skip
OPTIONS = [{"id": "1", "question": TEXT, "answers": {"a": NAME, "b": "non"}, "correct_answers": ["a"]}]
PUBMEDQA = {"1": {"QUESTION": TEXT, "CONTEXTS": [TEXT, NAME], "final_decision": "yes"}}
TRIAL = {"Clinical Trial ID": "N1", "Results": [TEXT, NAME]}
STATEMENT = {
    "s1": {"Label": "Entailment", "Type": "Single", "Section_id": "Results", "Primary_id": "N1", "Statement": TEXT}
}
E3C = XMI.replace("natrémie", "natrémiQ").replace("Elle tousse", NAME[:11]).encode()

READERS: dict[str, tuple[Read, bytes]] = {
    "brat, annotations": (of_folder("d.ann", read_brat, {"d.txt": TEXT.encode()}), ANN),
    "brat, text": (of_folder("d.txt", read_brat, {"d.ann": ANN}), TEXT.encode()),
    "conll": (of_file("a.conll", read_conll), CONLL),
    "tokens": (of_file("a.conllu", read_tokens), CONLL),
    "bio lists": (of_file("a.jsonl", read_bio_lists), encoded(LISTS)),
    "tag lists": (of_file("a.jsonl", read_tag_lists, tags="ner_tags"), encoded(LISTS)),
    "tokens, columns": (of_file("a.conllu", read_tokens, word_column=2, label_column=1), CONLL),
    "brat, codes in notes": (
        of_folder("d.ann", partial(read_brat, label_from="note"), {"d.txt": TEXT.encode()}),
        ANN,
    ),
    "brat, relations": (
        of_folder("d.ann", read_brat_relations, {"d.txt": TEXT.encode()}), ANN + b"R1\tof Arg1:T1 Arg2:T2\n"
    ),
    "terminology": (
        of_file("a.tsv", lambda file, source: read_terminology(file)), f"code\tterm\nR05\t{NAME}\n".encode()
    ),
    "conll, column": (of_file("a.conll", read_conll, label_column=2), CONLL),
    "csv": (of_file("a.csv", read_documents), TABLE),
    "csv without a header": (of_file("a.csv", read_documents), TABLE.partition(b"\n")[2]),
    "conll as a corpus": (of_file("a.tsv", read_documents), CONLL.replace(b" ", b"\t")),
    "tsv": (of_file("a.tsv", read_documents), TSV),
    "labelled table": (of_file("b.csv", read_table), TABLE),
    "labelled table without a header": (of_file("b.csv", read_table), TABLE.partition(b"\n")[2]),
    "wrong column of ids": (of_file("b.csv", read_table, id="text"), TABLE),
    "jsonl": (of_file("a.jsonl", read_documents), encoded(ROW) + b"\n" + encoded(ROW)),
    "labelled json": (of_file("a.json", read_json), encoded([ROW])),
    "labelled jsonl": (of_file("a.jsonl", read_json), encoded(ROW) + b"\n" + encoded(ROW)),
    "txt": (of_file("a.txt", read_documents), TEXT.encode()),
    "gzip": (of_file("a.jsonl.gz", read_documents), gzip.compress(encoded(ROW), mtime=0)),
    "zip": (of_file("a.zip", read_documents), zip_bytes(TEXT, TEXT)),
    "parquet": (of_file("a.parquet", read_documents), parquet_bytes(TEXT, TEXT)),
    "arrow": (of_file("a.arrow", read_documents), arrow_bytes(TEXT, TEXT)),
    "codes": (of_folder("aD.tsv", read_codes, {"text_files/a.txt": TEXT.encode()}), b"a\tq62.11\na\tn28.8\n"),
    "codes, columns": (
        of_folder("aD.tsv", read_codes, {"text_files/a.txt": TEXT.encode()}), f"{NAME}\ta".encode()
    ),
    "offsets": (in_folder("a.tsv", read_offsets, {"text_files/a.txt": TEXT.encode()}, "a.tsv"), OFFSETS),
    "line labels": (
        of_folder("labels/a.txt", read_line_labels, {"text/a.txt": f"{TEXT}\n{TEXT}".encode()}), b"< <A--B"
    ),
    "lines of labels": (
        of_folder("text/a.txt", read_line_labels, {"labels/a.txt": b"< <A"}), f"{TEXT}\n".encode() * 2
    ),
    "paraphrases": (
        of_folder("doctor.txt", read_paraphrases, {"patient.txt": b"P1 +++ Toux", "d_p.txt": b"A1 +++ P1"}),
        f"A1 +++ {TEXT}\n".encode(),
    ),
    "cues": (of_folder("CAS_neg.txt", read_cues, {"CAS_spec.txt": CUES}), CUES),
    "concepts": (
        of_folder("a.con", read_concepts, {"a.txt": TEXT.encode()}), f'c="{NAME}" 1:1 1:1||t="person"\n'.encode()
    ),
    "id pairs": (
        in_folder("a.csv", read_id_pairs, {"id_to_sentence_a.json": encoded({"d_1": TEXT, "d_2": NAME})}, "a.csv"),
        b"id_1\tid_2\tsim\nd_1_0\td_2_0\t3\n",
    ),
    "sentences of pairs": (
        in_folder("id_to_sentence_a.json", read_id_pairs, {"a.csv": b"id_1\tid_2\tsim\nd_1_0\td_2_0\t3\n"}, "a.csv"),
        encoded({"d_1": TEXT, "d_2": NAME}),
    ),
    "deft pairs": (
        of_file("t1.xml", read_deft_pairs),
        f'<doc><paire id="1" moy="3"><source>{TEXT}</source><cible>{NAME}</cible></paire></doc>'.encode(),
    ),
    "bioasq": (of_file("a.json", read_bioasq), encoded({"questions": [YESNO]})),
    "squad": (of_file("a.json", read_squad), encoded(SQUAD)),
    "options": (of_file("a.json", read_options), encoded(OPTIONS)),
    "pubmedqa": (
        in_folder("ori_pqal.json", read_pubmedqa, {"test_ground_truth.json": b"{}"}, "ori_pqal.json"),
        encoded(PUBMEDQA),
    ),
    "nli4ct": (in_folder("a.json", read_nli4ct, {"CT_json/N1.json": encoded(TRIAL)}, "a.json"), encoded(STATEMENT)),
    "nli4ct, trials": (
        in_folder("CT_json/N1.json", read_nli4ct, {"a.json": encoded(STATEMENT)}, "a.json"), encoded(TRIAL)
    ),
    **{name: of_tool(name) for name in PROJECTS},
    "e3c": (of_folder("a.xml", read_e3c_relations, {}), E3C),
}  # fmt: skip

# An id is shown, and chance could put the name there: always the same examples.
fuzzed = settings(
    max_examples=120, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def harmed(good: bytes, rng: random.Random) -> bytes:
    """Good bytes with a few stretches taken out, doubled, moved, or replaced by what formats are made of."""
    raw = bytearray(good)
    for _ in range(rng.randint(1, 4)):
        start, length = rng.randrange(len(raw) + 1), rng.choice((0, 1, 1, 2, 5, 20, 60))
        end = min(len(raw), start + length)
        match rng.randrange(4):
            case 0:
                del raw[start:end]
            case 1:
                raw[start:start] = raw[start:end]
            case 2:
                other = rng.randrange(len(raw) + 1)
                raw[start:end] = raw[other : other + length]
            case _:
                raw[start:end] = rng.choice(_ODD)
    return bytes(raw)


_ODD = (
    b"", b"\n", b"\t", b" ", b",", b";", b'"', b"{", b"}", b"[", b"]", b":", b"\xff", b"\x00", b"1", b"99", b"null",
    b"[]", b"{}", b'""', b"T", b"text", "é".encode("latin-1"), f" {NAME} ".encode(), f'"{NAME}"'.encode(),
)  # fmt: skip


def without_words(message: str, folder: Path) -> None:
    text = message.replace(str(folder), "")
    assert not [piece for piece in PIECES if piece in text], text


@pytest.mark.parametrize("name", READERS)
@fuzzed
@given(seed=st.integers(0, 2**32))
@example(seed=-1)
def test_no_word_of_a_document_is_in_an_error(name: str, seed: int, tmp_path: Path) -> None:
    """What is shown where it was asked for is in the error's text."""
    read, good = READERS[name]
    raw = good if seed < 0 else harmed(good, random.Random(seed))
    try:
        read(tmp_path, raw)
    except InputError as error:
        without_words(str(error), tmp_path)


@pytest.mark.parametrize(
    "reader", [read_hierarchy, partial(read_dictionary, code="fr"), partial(terminologies.read_concepts, lang="fr")]
)
def test_no_word_of_a_table_without_a_header_is_in_an_error(reader: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "c.tsv").write_text(f"1\t{TEXT}\n2\t{TEXT}\n", encoding="utf-8")
    with pytest.raises(InputError) as raised:
        reader(tmp_path / "c.tsv")
    without_words(str(raised.value), tmp_path)
    assert NAME in raised.value.text


def rows(count: int = 40) -> Iterator[dict[str, Any]]:
    for number in range(count):
        yield {"id": number, "text": f"{number} {TEXT}", "label": f"{TEXT} {number % 2}", "value": TEXT, "q": NAME}


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "classification", "options": {"labels": "text"}, "group": "absent"},
        {"kind": "similarity", "options": {"labels": "value", "question": "q"}, "scale": (0.0, 5.0)},
        {"kind": "relations", "options": {"labels": "label"}, "negative": "none"},
        {"kind": "pairs", "options": {"labels": "label", "question": "q"}, "positive": "yes"},
        {"kind": "ner", "options": {"id": "text"}},
        {"kind": "multilabel", "options": {"labels": "absent"}},
    ],
)
def test_no_word_is_in_an_error_about_a_whole_task(spec: dict[str, Any], tmp_path: Path) -> None:
    lines = ["\t".join(map(str, row.values())) for row in rows()]
    (tmp_path / "c.tsv").write_text("\n".join(["\t".join(next(rows())), *lines]), encoding="utf-8")
    task = TaskSpec.model_validate({"name": "t", "path": "", "file": "c.tsv", "reader": "table", **spec})
    with pytest.raises(InputError) as raised:
        read_task(task, tmp_path, "fr")
    without_words(str(raised.value), tmp_path)


def test_the_good_bytes_are_good(tmp_path: Path) -> None:
    for name, (read, good) in READERS.items():
        if name not in ("csv without a header", "conll as a corpus", "codes, columns") and "table" not in name:
            read(tmp_path, good)
    assert [e.document.text for e in _examples(tmp_path)] == [TEXT]


def _examples(folder: Path) -> list[Example]:
    (folder / "one.json").write_bytes(encoded([ROW]))
    return list(read_json(folder / "one.json", source="s"))
