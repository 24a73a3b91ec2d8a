"""Text made from a terminology, as a corpus that a mixture gives a share."""

import json
from pathlib import Path

from medlingua.languages.errors import InputError
from medlingua.languages.pack import load_pack
from medlingua.languages.terminologies.passages import passages, with_parents
from medlingua.languages.terminologies.reading import read_concepts
from medlingua.reports.read import write_whole


def write_passages(path: Path, lang: str, name: str | None, parents: Path | None, out: Path) -> str:
    """Write a passage for each concept to a JSONL file: id, text, terminology. Returns a line on what was written."""
    if out.exists():
        raise InputError(f"--out {out} exists; give the name of another file")
    pack = load_pack(lang)
    if pack.sentences is None:
        raise InputError(f"the pack of {pack.code} has no [sentences] to make text from a terminology; write them")
    concepts = read_concepts(path, pack.code)
    if parents is not None:
        # Codes and edges are the same in every language; English has them all.
        concepts = with_parents(concepts, read_concepts(parents, "en"))
    title = name or path.name.split(".")[0]
    rows = [
        {"id": code, "text": text, "terminology": title} for code, text in passages(concepts, pack.sentences, title)
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    words = sum(len(row["text"].split()) for row in rows)
    below = sum(bool(c.parents) for c in concepts)
    return (
        f"{out}: {len(rows):,} passages, {words:,} words; {sum(bool(c.synonyms) for c in concepts):,} concepts with "
        f"synonyms, {below:,} with parents, {sum(bool(c.definition) for c in concepts):,} with definitions"
    )
