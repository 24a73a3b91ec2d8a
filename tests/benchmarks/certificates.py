"""Certificates of every source family to every target: what each conversion preserved, beside its limit.

    python tests/benchmarks/certificates.py [--corpus FILE] [--also NAME=FOLDER ...]

Seeded models of every family, of 4 layers of 128 with large biases, become Longformers of 1,024 tokens (windows of
32), rotary models, and, where they rotate already, models of 32,768 tokens by each scaling. --also: real models,
to 4,096 tokens and windows of 512 (a fresh head where they have none), with the texts of --corpus. Writes
reports/results/benchmarks/certificates.json; exit code 1 where a check fails.
"""

import argparse
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import transformers
from medlingua.adapters.architecture import ARCHITECTURES
from medlingua.adapters.bert_like import FAMILIES
from medlingua.adapters.certificate import certify
from medlingua.adapters.encoder import Encoder, load
from medlingua.adapters.longformer import to_longformer
from medlingua.adapters.rotary import rescale, to_rotary
from medlingua.adapters.tokenizer import empty_tokenizer, learn_tokenizer
from medlingua.languages.cases import generate_cases
from medlingua.languages.documents import read_documents
from medlingua.languages.errors import InputError
from medlingua.languages.pack import load_pack

RESULTS = Path(__file__).parents[2] / "reports" / "results" / "benchmarks" / "certificates.json"
ROTARY = [name for name, a in ARCHITECTURES.items() if a.positions == "rotary"]
SIZES = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4}
SPREAD = 0.2  # of the weights: wide enough that attention is uneven and the logits are large
READ = 512  # tokens that a seeded source reads
TEXTS = 40


def seeded(family: str, texts: list[str], folder: Path) -> Encoder:
    """A model of the family drawn from seed 0, saved as transformers saves it and read back."""
    kind = "WordPiece" if family in ("bert", "electra") else "BPE"
    tokenizer = learn_tokenizer(lambda: texts, 1_000, empty_tokenizer(kind))
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "cls", "sep", "mask")}
    more = {"bos_token_id": ids["cls_token_id"], "eos_token_id": ids["sep_token_id"], **ids}
    if family == "electra":
        more["embedding_size"] = SIZES["hidden_size"]  # projected embeddings have no exact image, and are refused
    if family in ("modernbert", "ultrabert"):
        more["layer_types"] = ["full_attention", "sliding_attention"] * 2
    reserved = ids["pad_token_id"] + 1 if family in ("roberta", "camembert", "xlm-roberta") else 0
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(
        family, **SIZES, initializer_range=SPREAD, vocab_size=len(tokenizer), max_position_embeddings=READ + reserved,
        **more,
    )  # fmt: skip
    model = getattr(transformers, ARCHITECTURES[family].model_class)(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load(str(folder))


def conversions(source: Encoder, real: bool) -> dict[str, Encoder]:
    length, window = (4_096, 512) if real else (1_024, 32)
    if source.architecture.family in FAMILIES:
        return {"longformer": to_longformer(source, length, window), "rope": to_rotary(source, length, 10_000.0)}
    rescaled = {f"32,768 by {how}": rescale(source, 32_768, None, how) for how in ("linear", "ntk", "yarn")}
    return {**rescaled, "32,768 by theta": rescale(source, 32_768, 1e6, "none")}


def opened(folder: str) -> Encoder:
    try:
        return load(folder)
    except InputError:
        return load(folder, head="fresh")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus")
    parser.add_argument("--also", nargs="*", default=[], metavar="NAME=FOLDER")
    options = parser.parse_args()
    cases = [case.document.text for case in generate_cases(load_pack("fr"), TEXTS, 0)]
    texts = cases
    if options.corpus:
        texts = [document.text for document in read_documents(options.corpus, source="benchmark")][:TEXTS]
    rows = []
    with TemporaryDirectory() as folder:
        sources = {f"{f}, seeded": (seeded(f, cases, Path(folder) / f), cases) for f in (*FAMILIES, *ROTARY)}
        for item in options.also:
            name, _, place = item.partition("=")
            sources[name] = opened(place), texts
        for name, (source, shown) in sources.items():
            for target, converted in conversions(source, not name.endswith("seeded")).items():
                for check in certify(source, converted, shown).checks:
                    rows.append(
                        {"source": name, "target": target, "check": check.name, "value": float(f"{check.value:.3g}"),
                         "limit": float(f"{check.limit:.3g}"), "passed": check.passed}
                    )  # fmt: skip
                    print(rows[-1], flush=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if all(row["passed"] for row in rows) else 1)


if __name__ == "__main__":
    main()
