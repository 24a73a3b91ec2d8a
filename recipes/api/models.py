"""Models: load and save, longer documents, other vocabularies.

Each function takes an Encoder (a transformers model with its tokenizer) and returns another one; the one that was
given is not changed. An Encoder has no dropout; set it on `encoder.model` where you train with it.
"""

import copy
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from medlingua.adapters import embeddings, extension, longformer, pruning, repair, rotary, tokenizer
from medlingua.adapters import encoder as encoders
from medlingua.adapters.encoder import Encoder, Permission
from medlingua.adapters.extension import Priority
from medlingua.adapters.focus import piece_vectors
from medlingua.adapters.rotary import Scaling
from transformers import PreTrainedTokenizerFast

Initialization = Literal["mean", "overlap", "focus"]


def load_model(
    name_or_path: str | Path,
    *,
    head: Literal["keep", "fresh"] = "keep",
    revision: str | None = None,
    allow: Iterable[Permission] = (),
    seed: int = 0,
) -> Encoder:
    """Load a masked-LM encoder and its tokenizer from a folder or the Hugging Face hub.

    Families: BERT, RoBERTa, CamemBERT, XLM-R, ELECTRA, ALBERT, DistilBERT, MPNet, DeBERTa-v2 and v3, ModernBERT,
    EuroBERT, UltraBERT, Jina v3, NomicBERT, GTE and Longformer. The weights are fp32 and there is no dropout.

    head: "fresh" draws a masked-LM head (from `seed`) where the checkpoint has none, as sentence encoders have not.
    allow: "pickle", "remote-code" and "regex" are refused unless named. Raises InputError for what cannot be loaded
    whole.

    >>> encoder = load_model("clinical-bert")
    >>> encoder.length
    96
    >>> type(encoder.model).__name__
    'BertForMaskedLM'
    """
    return encoders.load(str(name_or_path), head=head, revision=revision, allow=allow, seed=seed)


def save_model(encoder: Encoder, folder: str | Path, *, sample: Iterable[str] = ()) -> None:
    """Write the model and its tokenizer, so that plain transformers opens them.

    sample: texts that the saved tokenizer must cut as this one does; ValueError where it does not.

    >>> from transformers import AutoModelForMaskedLM, AutoTokenizer
    >>> save_model(load_model("clinical-bert"), "copy", sample=["Toux sèche et fièvre."])
    >>> type(AutoModelForMaskedLM.from_pretrained("copy")).__name__
    'BertForMaskedLM'
    """
    _check_encoder(encoder)
    encoders.save(encoder, Path(folder), sample=sample)


def convert_to_longformer(encoder: Encoder, length: int = 4_096, window: int | tuple[int, ...] = 512) -> Encoder:
    """Make a short BERT-like model a stock Longformer with the same weights (Beltagy et al., arXiv 2004.05150).

    The source is a BERT, RoBERTa, CamemBERT, XLM-R or ELECTRA, or a Longformer, which is resized. Within half a
    window plus one token the logits are those of the source.

    length: tokens of a document, special tokens included. window: tokens that a token sees, half on each side; one
    number for all layers, or one a layer. Raises InputError for sources, lengths and windows that do not fit.

    >>> long = convert_to_longformer(load_model("clinical-bert"), length=512, window=64)
    >>> long.length, type(long.model).__name__
    (512, 'LongformerForMaskedLM')
    """
    _check_encoder(encoder)
    return longformer.to_longformer(encoder, length, window)


def convert_to_rope(encoder: Encoder, length: int = 4_096, theta: float = 10_000.0) -> Encoder:
    """Replace the learned positions of a BERT-like model by rotary ones, in a stock Jina v3 model.

    All other weights are kept. The model must be trained further: it has never seen these positions.

    length: tokens of a document, special tokens included. theta: base of the rotation. Raises InputError for sources
    and values that do not fit.

    >>> rotary = convert_to_rope(load_model("clinical-bert"), length=512)
    >>> rotary.length, type(rotary.model).__name__
    (512, 'JinaEmbeddingsV3ForMaskedLM')
    """
    _check_encoder(encoder)
    return rotary.to_rotary(encoder, length, theta)


def rescale_rope(encoder: Encoder, length: int, *, theta: float | None = None, scaling: Scaling = "none") -> Encoder:
    """Make a rotary model (ModernBERT, EuroBERT, Jina v3, ...) read documents of another length.

    theta: the new base of the rotation; None keeps the model's own. scaling: "none", "linear" (arXiv 2306.15595),
    "ntk" or "yarn" (arXiv 2309.00071). Raises InputError for a model without rotations or scaled before.

    >>> rotary = convert_to_rope(load_model("clinical-bert"), length=512)
    >>> rescale_rope(rotary, 2048, scaling="yarn").length
    2048
    """
    _check_encoder(encoder)
    return rotary.rescale(encoder, length, theta, scaling)


def extend_vocabulary(
    encoder: Encoder,
    texts: Iterable[str],
    new_pieces: int,
    *,
    min_documents: int = 5,
    priority: Priority = "append",
    capital_nouns: bool = False,
    initialization: Initialization = "mean",
) -> Encoder:
    """Add the pieces to the tokenizer that shorten `texts` most; the old pieces keep their ids.

    Unlike `tokenizer.add_tokens`, this writes the pieces into the tokenizer's own model: they are found inside words
    too, and a word without a new piece is cut as before.

    min_documents: documents that a new piece must stand in. priority: "insert" lets new pieces of BPE and Unigram
    act before the old ones. capital_nouns: True for German, where a capital does not mark a name. initialization:
    of the new embeddings: "mean" of the pieces that a new piece is cut into by the old tokenizer; "focus" (arXiv
    2305.14481); "overlap" draws them around the mean of all. Raises InputError where the texts yield fewer pieces.

    >>> texts = ["Patiente admise pour dyspnée et toux.", "Dyspnée, fièvre et toux sèche."] * 5
    >>> encoder = load_model("clinical-bert")
    >>> wider = extend_vocabulary(encoder, texts, new_pieces=2)
    >>> len(wider.tokenizer) - len(encoder.tokenizer)
    2
    >>> len(wider.tokenizer.tokenize(texts[0])) < len(encoder.tokenizer.tokenize(texts[0]))
    True
    """
    _check_encoder(encoder)
    texts = _again(texts)
    added = extension.extend(
        encoder.tokenizer,
        texts,
        new_pieces,
        min_documents=min_documents,
        priority=priority,
        capitals_are_names=not capital_nouns,
    )
    return _with_tokenizer(encoder, added.tokenizer, initialization, texts, added.parts)


def replace_vocabulary(
    encoder: Encoder, texts: Iterable[str], size: int = 16_000, *, initialization: Initialization = "focus"
) -> Encoder:
    """Learn a new tokenizer of the same kind on `texts`: cased, with accents, digits one by one.

    Pieces that both tokenizers have keep their embeddings. size: pieces in all, special tokens included.
    initialization: of the other embeddings, as in `extend_vocabulary`. Raises InputError where the texts yield fewer
    pieces.

    >>> texts = ["Patiente admise pour dyspnée et toux.", "Dyspnée, fièvre et toux sèche."] * 5
    >>> new = replace_vocabulary(load_model("clinical-bert"), texts, size=150)
    >>> len(new.tokenizer), new.model.config.vocab_size
    (150, 150)
    """
    _check_encoder(encoder)
    texts = _again(texts)
    learnt = tokenizer.learn_tokenizer(lambda: texts, size, encoder.tokenizer)
    return _with_tokenizer(encoder, learnt, initialization, texts)


def prune_vocabulary(encoder: Encoder, texts: Iterable[str]) -> Encoder:
    """Keep the pieces that `texts` use, and drop the embeddings of the others, as of other languages.

    Special tokens, bytes, single letters, digits and clinical signs are always kept. A text of kept pieces is cut as
    before.

    >>> encoder = load_model("clinical-bert")
    >>> small = prune_vocabulary(encoder, ["Toux sèche et fièvre."])
    >>> len(small.tokenizer) < len(encoder.tokenizer)
    True
    >>> small.tokenizer.tokenize("Toux sèche") == encoder.tokenizer.tokenize("Toux sèche")
    True
    """
    _check_encoder(encoder)
    return _with_tokenizer(encoder, pruning.prune(encoder.tokenizer, texts))


def repair_vocabulary(encoder: Encoder) -> Encoder:
    """Turn words of `tokenizer.add_tokens` into pieces, with the embeddings that they were trained to have.

    Words that no single piece can stand for, as those with a space, are left out, with a warning that names them.
    Raises InputError where no word was added.

    >>> encoder = load_model("clinical-bert")
    >>> _ = encoder.tokenizer.add_tokens(["dyspnée"])
    >>> _ = encoder.model.resize_token_embeddings(len(encoder.tokenizer), mean_resizing=False)
    >>> encoder.tokenizer.tokenize("dyspnées")  # what follows an added word begins a new word
    ['dyspnée', 's']
    >>> repair_vocabulary(encoder).tokenizer.tokenize("dyspnées")
    ['dyspnée', '##s']
    """
    _check_encoder(encoder)
    repaired, left_out = repair.repair(encoder.tokenizer)
    if left_out:
        warnings.warn(f"no single piece can stand for: {', '.join(left_out)}; they are left out", stacklevel=2)
    return _with_tokenizer(encoder, repaired)


def _check_encoder(given: object) -> None:
    if not isinstance(given, Encoder):
        raise TypeError(
            f"give an Encoder, as load_model returns, not {type(given).__name__}: save_pretrained the model and its "
            "tokenizer into one folder, then load_model(folder)"
        )


def _again(texts: Iterable[str]) -> Iterable[str]:
    """Texts that can be read more than once: an iterator is kept in memory."""
    return list(texts) if isinstance(texts, Iterator) else texts


def _with_tokenizer(
    encoder: Encoder,
    new: PreTrainedTokenizerFast,
    initialization: Initialization = "mean",
    texts: Iterable[str] = (),
    parts: Mapping[str, Sequence[int]] | None = None,
) -> Encoder:
    new.model_max_length = encoder.length
    vectors = piece_vectors(new, texts) if initialization == "focus" else None
    changed = replace(encoder, model=copy.deepcopy(encoder.model))
    return embeddings.replace_vocabulary(changed, new, initialization, vectors, parts=parts)[0]
