"""What 4,000 new pieces bring, on text held out: three kinds of tokenizer, three languages.

    python tests/benchmarks/vocabularies.py --data ROOT --unigram MODEL

Unigram: the tokenizer of MODEL. WordPiece and BPE: cased, 20,000 pieces, learnt on 8,000 English documents. New
pieces are learnt on the pack's corpora but for a twentieth of the documents. "Changed": the share of words cut
otherwise, "longer": in more pieces than before; general text is 150 English documents, which were among the 8,000.
Prints the table and writes reports/results/benchmarks/vocabularies.json.
"""

import argparse
import json
import random
from pathlib import Path
from typing import Any

from medlingua.adapters.extension import Priority, extend
from medlingua.adapters.tokenizer import empty_tokenizer, learn_tokenizer
from medlingua.languages import vocabulary
from medlingua.languages.pack import Pack, load_pack
from medlingua.languages.terms import read_terms
from medlingua.recipes.experiments.vocabulary import corpora
from transformers import AutoTokenizer

NEW, OLD, ENGLISH, GENERAL = 4_000, 20_000, 8_000, 150
DOCUMENTS = {"de": 3}  # that a piece must stand in: German documents are few and long
RESULTS = Path(__file__).parents[2] / "reports" / "results" / "benchmarks" / "vocabularies.json"


def shuffled(pack: Pack, root: Path) -> list[str]:
    texts = [text for of_one in corpora(pack, root).values() for text in of_one]
    random.Random(0).shuffle(texts)
    return texts


def measure(pack: Pack, root: Path, old: Any, priority: Priority, general: list[str]) -> dict[str, Any]:
    texts = shuffled(pack, root)
    count = max(20, len(texts) // 20)
    held, learn = texts[:count], texts[count:]
    extension = extend(
        old,
        learn,
        NEW,
        min_documents=DOCUMENTS.get(pack.code, 5),
        priority=priority,
        capitals_are_names=not pack.capital_nouns,
    )
    both = {"old": old.backend_tokenizer, "new": extension.tokenizer.backend_tokenizer}
    counted = vocabulary.pieces_per_word(both, {"held out": held}, pack.spacy)
    of_words = vocabulary.medical_words(both, read_terms(pack, root), pack.spacy)
    changed = {"held_out": (held, pack.spacy), "general": (general, "en")}
    shares = {
        name: vocabulary.shares_changed(vocabulary.changes(both["old"], both["new"], of, spacy))
        for name, (of, spacy) in changed.items()
    }
    return {
        "documents_held_out": len(held),
        "pieces_per_word": counted["pieces_per_word"].tolist(),
        "words_in_512_pieces": counted["words_in_512"].tolist(),
        "medical_words_in_one_piece": vocabulary.one_piece_share(of_words)["in_one_piece"].tolist(),
        **{f"{name}_changed_longer": share for name, share in shares.items()},
        "steps": extension.steps,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--unigram", required=True)
    given = parser.parse_args()
    english = shuffled(load_pack("en"), given.data)[:ENGLISH]
    olds = {
        "Unigram": AutoTokenizer.from_pretrained(given.unigram),
        "WordPiece": learn_tokenizer(lambda: english, OLD, empty_tokenizer("WordPiece")),
        "BPE": learn_tokenizer(lambda: english, OLD, empty_tokenizer("BPE")),
    }
    rows = []
    priorities: tuple[Priority, ...] = ("append", "insert")
    for code in ("fr", "es", "de"):
        for kind, old in olds.items():
            for priority in priorities[: 1 if kind == "WordPiece" else 2]:
                measured = measure(load_pack(code), given.data, old, priority, english[:GENERAL])
                rows.append({"lang": code, "kind": kind, "priority": priority, **measured})
                pieces, medical = measured["pieces_per_word"], measured["medical_words_in_one_piece"]
                held, other = measured["held_out_changed_longer"], measured["general_changed_longer"]
                print(
                    f"{code} {kind:<10}{priority:<7}| pieces a word {pieces[0]:.2f} {pieces[1]:.2f} "
                    f"| medical words in one piece {medical[0]:.1%} {medical[1]:.1%} "
                    f"| words in 512 pieces {measured['words_in_512_pieces']} "
                    f"| changed (longer) {held[0]:.1%} ({held[1]:.2%}), general {other[0]:.1%} ({other[1]:.2%})",
                    flush=True,
                )
    RESULTS.write_text(json.dumps({"pieces": NEW, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
