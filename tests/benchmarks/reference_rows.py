"""A model with the rows that the published tools of FOCUS and WECHSEL give its vocabulary, for `rows.py --also`.

    python tests/benchmarks/reference_rows.py focus|wechsel --data ROOT --base MODEL --start RUN/start --out MODEL
        [--lang fr]

Needs `deepfocus` and `wechsel` (1.0.1 and 0.0.4 were used), in an environment of their own. --start: the start of a
run with adapt.vocabulary = "replace": all but the rows is taken from it, its head's bias too, which the tools do not
know. fastText vectors are learnt on the pack's corpora with the tools' own settings; dictionary and texts are those
that `adapt.rows` uses.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from medlingua.languages.documents import read_documents
from medlingua.languages.pack import load_pack
from medlingua.languages.terms import read_terms
from transformers import AutoModelForMaskedLM, AutoTokenizer


def texts_of(code: str, root: Path) -> Iterator[str]:
    for corpus in load_pack(code).corpora:
        if corpus.path is not None and (root / corpus.path).exists():
            for document in read_documents(root / corpus.path, source=corpus.name, text_field=corpus.text_field):
                yield document.text


def written(code: str, root: Path, folder: Path) -> str:
    path = folder / f"{code}.txt"
    path.write_text("\n".join(" ".join(text.split()) for text in texts_of(code, root)) + "\n", encoding="utf-8")
    return str(path)


def by_focus(given: argparse.Namespace, old: Any, new: Any, table: torch.Tensor, folder: Path) -> torch.Tensor:
    from deepfocus import FOCUS

    text = written(given.lang, given.data, folder)
    rows: torch.Tensor = FOCUS(new, old, table, target_training_data_path=text, processes=1, verbosity="silent")
    return rows


def by_wechsel(given: argparse.Namespace, old: Any, new: Any, table: torch.Tensor, folder: Path) -> torch.Tensor:
    import fasttext
    from wechsel import WECHSEL

    models = [fasttext.train_unsupervised(written(c, given.data, folder), dim=100) for c in ("en", given.lang)]
    dictionary = folder / "dictionary.txt"
    pairs = {(term.english.lower(), term.text.lower()) for term in read_terms(load_pack(given.lang), given.data)}
    lines = [f"{e}\t{t}" for e, t in sorted(pairs) if len(e.split()) == len(t.split()) == 1]
    dictionary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows, _ = WECHSEL(*models, bilingual_dictionary=str(dictionary)).apply(old, new, table.numpy())
    return torch.from_numpy(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool", choices=["focus", "wechsel"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--start", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--lang", default="fr")
    given = parser.parse_args()
    old, new = AutoTokenizer.from_pretrained(given.base), AutoTokenizer.from_pretrained(given.start)
    table = AutoModelForMaskedLM.from_pretrained(given.base, dtype=torch.float32).get_input_embeddings().weight.data
    model = AutoModelForMaskedLM.from_pretrained(given.start, dtype=torch.float32)
    with tempfile.TemporaryDirectory() as folder:
        rows = {"focus": by_focus, "wechsel": by_wechsel}[given.tool](given, old, new, table, Path(folder))
    model.get_input_embeddings().weight.data.copy_(rows)
    model.save_pretrained(given.out)
    new.save_pretrained(given.out)


if __name__ == "__main__":
    main()
