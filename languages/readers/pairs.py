"""Pairs of sentences with a value, in the formats of French sets."""

from collections.abc import Iterator
from pathlib import Path

from ..annotations import Example
from ..delimited import read_rows
from ..documents import Document
from ..errors import InputError, shown
from ..files import missing_column, parsed_json, read_text
from ..markup import parsed_xml


def read_id_pairs(path: Path, *, source: str) -> Iterator[Example]:
    """CLISTER (Hiebel et al. 2022): a table with tabs, id_1, id_2 and sim, next to id_to_sentence_SPLIT.json.

    The first two parts of an id, divided by "_", are the key of its sentence. InputError for an id without one.
    """
    file = path.with_name(f"id_to_sentence_{path.name.partition('.')[0]}.json")
    if not file.is_file():
        raise InputError(f"{path.parent}: no {file.name}, the sentences, next to {path.name}")
    try:
        sentences = parsed_json(read_text(file), file)
    except ValueError as error:
        raise InputError(f"{file}: not JSON; it may be truncated, copy it again") from error
    if not isinstance(sentences, dict):
        raise InputError(f"{file}: a JSON {type(sentences).__name__}, expected an object of sentences by id")
    for number, row in read_rows(path, delimiter="\t"):
        place = f"{path}, line {number}"
        texts = []
        for column in ("id_1", "id_2", "sim"):
            if column not in row:
                raise missing_column(column, row, place)
        for column in ("id_1", "id_2"):
            key = "_".join(row[column].split("_")[:2])
            if not isinstance(sentences.get(key), str):
                raise InputError(f"{place}: {column} {shown(key)} has no sentence in {file.name}")
            texts.append(sentences[key])
        name = f"{path.name}:{number}"
        yield Example(name, Document(name, texts[1], source), row["sim"], question=texts[0])


def read_deft_pairs(path: Path, *, source: str) -> Iterator[Example]:
    """DEFT 2020, task 1 (Cardon et al. 2020): XML of `paire`, with `source`, `cible` and the mean value `moy`.

    A pair whose id is negative is an example of the task's description, and is left out.
    """
    count = 0
    for element in parsed_xml(path.read_bytes(), path):
        if element.tag != "paire":
            continue
        name = element.get("id", "")
        texts = ["".join(part.itertext()).strip() for tag in ("source", "cible") for part in element.findall(tag)]
        if len(texts) != 2 or not element.get("moy") or not name:
            raise InputError(f"{path}: a pair without id, moy, source or cible; give t1-train.xml or t1-test.xml")
        if name.startswith("-"):
            continue
        count += 1
        identity = f"{path.stem}:{name}"
        yield Example(identity, Document(identity, texts[1], source), element.get("moy", ""), question=texts[0])
    if not count:
        raise InputError(f"{path}: no paire in it; give t1-train.xml or t1-test.xml")
