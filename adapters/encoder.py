"""Encoder: a model with its tokenizer, its family and its lineage. Load and save."""

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub.constants import HF_HUB_DISABLE_PROGRESS_BARS
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars
from medlingua.adapters.architecture import Architecture, architecture_of, check_family, head_bias, usable_length
from medlingua.adapters.attention import register
from medlingua.adapters.hub import check_reachable
from medlingua.adapters.longformer_attention import accelerate_longformer
from medlingua.adapters.vocabulary_files import read_sentencepiece, tokenizer_options
from medlingua.adapters.weights import check_files, check_pointers, load_weights
from medlingua.languages.errors import InputError, reason
from medlingua.languages.expressions import check_expressions
from medlingua.languages.lineage import Lineage
from medlingua.languages.permissions import Permission as Permission  # a type of what stands here
from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerFast
from transformers.utils import logging

_MOST_LAYERS = 1_000
_TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
)
_CHECKED_IDS = 62  # of the text that a saved model is compared on, spread over the vocabulary
_LOGIT_ATOL, _LOGIT_RTOL = 1e-4, 1e-3  # of logits, on any device: the weights themselves are equal
# BERT's and DeBERTa's; MPNet's, whose attention.dropout is of hidden states; DistilBERT's; ALBERT's.
_OF_ATTENTION_WEIGHTS = re.compile(
    r"attention\.self\.dropout$|self_attn\.dropout$|attention\.attn\.dropout$|transformer\.layer\.\d+\.attention\.dropout$"
    r"|attention\.attention_dropout$"
)
_SPECIALS = ("cls_token", "sep_token", "pad_token", "mask_token", "unk_token")


@dataclass(frozen=True, slots=True)
class Encoder:
    """A masked-LM model of transformers in fp32, and its fast tokenizer.

    fresh_head: the checkpoint has no masked-LM head, so that one was drawn when it was loaded. dropped: names of the
    weights of a task head, which were left out.
    """

    model: Any
    tokenizer: PreTrainedTokenizerFast
    architecture: Architecture
    lineage: Lineage
    fresh_head: bool = False
    dropped: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """Tokens a document may have, special tokens included."""
        return usable_length(self.architecture, self.model.config)

    @property
    def first_position(self) -> int:
        return self.architecture.first_position(self.model.config)

    @property
    def global_ids(self) -> tuple[int, ...]:
        """Ids with global attention in a Longformer's training, from its config."""
        return tuple(getattr(self.model.config, "global_token_ids", None) or ())

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device  # type: ignore[no-any-return]


@contextmanager
def quiet() -> Iterator[None]:
    """transformers without its warnings and progress bars, for a while; what they warn of is checked here.

    Both are as they were when it ends. Where HF_HUB_DISABLE_PROGRESS_BARS is set, it decides about the bars.
    """
    verbosity, of_hub = logging.get_verbosity(), are_progress_bars_disabled()
    bars = logging.is_progress_bar_enabled() and HF_HUB_DISABLE_PROGRESS_BARS is None
    logging.set_verbosity_error()
    if bars:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
            if of_hub:
                disable_progress_bars()


@quiet()
def load(
    base: str,
    *,
    head: Literal["keep", "fresh"] = "keep",
    revision: str | None = None,
    allow: Iterable[Permission] = (),
    seed: int = 0,
) -> Encoder:
    """An encoder from a folder or a hub id, ready for packed training: fp32 weights, no dropout.

    head: "fresh" starts a new masked-LM head (seeded) where the checkpoint has none, and leaves out a task's head.
    allow: "pickle", "remote-code" and "regex" are refused unless named. InputError for whatever cannot be loaded
    whole: weights that are missing or unexpected are listed, nothing else is drawn at random (TRAPS C13).
    """
    register()
    allowed = frozenset(allow)
    if Path(base).is_file():  # transformers would take it for a config, or unpickle it
        raise InputError(f"{base} is a file; give the model's folder")
    check_reachable(base, revision)
    check_pointers(base)
    check_family(_config_file(base, revision), base)
    config = _read(base, AutoConfig, revision, allowed)
    architecture = architecture_of(config, base)
    layers = getattr(config, "num_hidden_layers", 0)
    if layers > _MOST_LAYERS:  # they would all be built before the weights are checked
        raise InputError(f"model folder {base}: config.json says {layers:,} layers; no encoder has so many")
    _check_remote_code(base, config, allowed)
    check_files(base, allowed)
    torch.manual_seed(seed)
    model, fresh_head, dropped = load_weights(base, config, architecture, head, revision, allowed)
    tokenizer = read_tokenizer(base, revision, allowed)
    set_dropout(model, 0.0)
    if architecture.family == "longformer":
        accelerate_longformer(model)
    encoder = Encoder(model, tokenizer, architecture, _read_lineage(base), fresh_head, dropped)
    _check_tokenizer(encoder, base)
    tokenizer.model_max_length = encoder.length  # not set by the model (C3)
    return encoder


@quiet()
def read_tokenizer(base: str, revision: str | None, allow: Iterable[Permission]) -> PreTrainedTokenizerFast:
    """Load the tokenizer of a model alone, without the truncation and padding that it was saved with.

    A tokenizer.json keeps both from its last call, and its pipeline applies them: texts are truncated to the 128
    tokens of a sentence encoder, or padded. Here whoever truncates a text gives the length.
    """
    allowed = frozenset(allow)
    check_reachable(base, revision)
    check_pointers(base)
    if Path(base).is_dir() and (absent := _absent_files(Path(base))):
        raise absent  # transformers would make an empty tokenizer
    tokenizer: PreTrainedTokenizerFast = read_sentencepiece(Path(base)) or _read(
        base, AutoTokenizer, revision, allowed, **tokenizer_options(Path(base))
    )
    if getattr(tokenizer, "is_fast", False):
        if "regex" not in allowed:
            check_expressions(tokenizer.backend_tokenizer, base)
        _reset_truncation(tokenizer)
    return tokenizer


def _reset_truncation(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()


@quiet()
def save(encoder: Encoder, folder: Path, *, sample: Iterable[str] = ()) -> None:
    """Write model, tokenizer and lineage so that plain transformers opens them.

    The tokenizer is saved as its own pipeline, not as a class that would rebuild it. Both are read back by plain
    transformers: ValueError unless the weights are equal, the logits agree, and `sample` lines give the same ids
    (TRAPS T17).
    """
    model, tokenizer = encoder.model, encoder.tokenizer
    implementation = model.config._attn_implementation
    model.config._attn_implementation = "sdpa" if encoder.architecture.interface else "eager"
    model.save_pretrained(folder, state_dict=_saved_weights(encoder))
    model.config._attn_implementation = implementation
    write_tokenizer(encoder, folder)
    write_lineage(encoder, folder)
    _check_saved_model(encoder, folder)
    reopened = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if reopened.model_max_length != encoder.length:
        raise ValueError(f"saved tokenizer reads back a limit of {reopened.model_max_length}")
    for line in sample:
        if reopened(line)["input_ids"] != tokenizer(line)["input_ids"]:
            raise ValueError(f"saved tokenizer reads back other ids than it trained with, first for: {line[:80]!r}")


def write_tokenizer(encoder: Encoder, folder: Path) -> None:
    """Write the tokenizer as its own pipeline, with the length of its model and without truncation or padding."""
    tokenizer = encoder.tokenizer
    tokenizer.model_max_length = encoder.length
    _reset_truncation(tokenizer)
    tokenizer.save_pretrained(folder)
    settings = folder / "tokenizer_config.json"
    tokenizer_config = json.loads(settings.read_text(encoding="utf-8"))
    tokenizer_config["tokenizer_class"] = "PreTrainedTokenizerFast"
    for key in ("local_files_only", "is_local", "auto_map"):
        tokenizer_config.pop(key, None)
    settings.write_text(json.dumps(tokenizer_config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_lineage(encoder: Encoder, folder: Path) -> None:
    """Write lineage.json beside the weights, which get its mode: safetensors keeps its files to their owner."""
    (folder / "lineage.json").write_text(encoder.lineage.model_dump_json(indent=2) + "\n", encoding="utf-8")
    for weights in folder.glob("*.safetensors"):
        shutil.copymode(folder / "lineage.json", weights)


def _saved_weights(encoder: Encoder) -> dict[str, torch.Tensor]:
    """The weights by name. Both biases of an untied head: transformers saves one of two that are shared, and opens
    the other as zeros."""
    weights: dict[str, torch.Tensor] = encoder.model.state_dict()
    names = head_bias(encoder.model)
    if names is not None and not encoder.model.config.tie_word_embeddings:
        weights[names[0]] = weights[names[1]].clone()
    return weights


@torch.no_grad()
def _check_saved_model(encoder: Encoder, folder: Path) -> None:
    """ValueError unless plain transformers opens the weights that were saved and computes the same logits."""
    model = encoder.model
    saved, info = AutoModelForMaskedLM.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    problems = sorted(str(name) for kind in ("missing_keys", "mismatched_keys") for name in info[kind])
    weights = saved.state_dict()
    problems += [name for name, tensor in model.state_dict().items() if not torch.equal(weights[name], tensor.cpu())]
    if problems:
        raise ValueError(f"saved model reads back other weights: {', '.join(problems[:6])}")
    tokenizer = encoder.tokenizer
    special = torch.tensor(sorted(tokenizer.all_special_ids))
    plain = torch.arange(len(tokenizer))
    plain = plain[~torch.isin(plain, special)]
    spread = plain[torch.linspace(0, len(plain) - 1, min(_CHECKED_IDS, encoder.length - 3)).long()]
    frame = [tokenizer.cls_token_id, *spread.tolist(), tokenizer.mask_token_id, tokenizer.sep_token_id]
    ids = torch.tensor([frame], device=encoder.device)
    training = model.training
    ours = model.eval()(input_ids=ids).logits
    model.train(training)
    theirs = saved.eval().to(encoder.device)(input_ids=ids).logits
    limit = _LOGIT_ATOL + _LOGIT_RTOL * float(ours.abs().max())
    difference = float((ours - theirs).abs().max())
    if not difference <= limit:
        raise ValueError(f"saved model reads back logits that differ by {difference:.2g}, more than {limit:.2g}")


def with_lineage(encoder: Encoder, lineage: Lineage) -> Encoder:
    return replace(encoder, lineage=lineage)


def set_dropout(model: torch.nn.Module, probability: float) -> None:
    """Set the dropout of hidden states, and none on attention weights, which packed attention does not have.

    It is set on the modules: the saved config keeps the rates of the source.
    """
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0 if _OF_ATTENTION_WEIGHTS.search(name) else probability
        for rate in ("attention_dropout", "dropout"):  # Longformer keeps a number, not a module
            if isinstance(getattr(module, rate, None), float):
                setattr(module, rate, 0.0)


def _read(base: str, reader: Any, revision: str | None, allowed: frozenset[str], **options: Any) -> Any:
    remote = "remote-code" in allowed
    try:
        return reader.from_pretrained(base, revision=revision, trust_remote_code=remote, **options)
    except Exception as error:  # a folder from anybody makes the libraries raise whatever there is
        raise _unreadable(base, error) from error


def _config_file(base: str, revision: str | None) -> dict[str, Any]:
    """What config.json says."""
    try:
        settings: Any = PreTrainedConfig.get_config_dict(base, revision=revision)[0]
    except Exception as error:
        raise _unreadable(base, error) from error
    if not isinstance(settings, dict):  # transformers returns any JSON
        raise InputError(f"{base}: config.json is not a JSON object ({{...}})")
    return settings


def _unreadable(base: str, error: Exception) -> InputError:
    folder = Path(base)
    if folder.is_dir():
        if absent := _absent_files(folder):
            return absent
        if "trust_remote_code" in str(error):
            return _remote_code(base)
        return InputError(f"model folder {base} cannot be read: {reason(error)}")
    return InputError(f"model '{base}' cannot be read from the hub: {reason(error)}")


def _absent_files(folder: Path) -> InputError | None:
    absent = [] if (folder / "config.json").exists() else ["config.json"]
    if not any((folder / name).exists() for name in _TOKENIZER_FILES):
        absent.append("tokenizer.json")
    if not absent:
        return None
    inner = folder / "model"
    remedy = (
        f"its model is {inner}" if (inner / "config.json").exists() else "give a folder that save_pretrained wrote"
    )
    return InputError(f"model folder {folder}: no {' and no '.join(absent)}; {remedy}")


def _remote_code(base: str) -> InputError:
    return InputError(
        f"{base}: the model brings its own Python code (auto_map in config.json), which would run here. Use a "
        "checkpoint of a stock class, or say that you trust it: --allow remote-code (in Python allow=['remote-code'])"
    )


def _check_remote_code(base: str, config: Any, allowed: frozenset[str]) -> None:
    if getattr(config, "auto_map", None) and "remote-code" not in allowed:
        raise _remote_code(base)


def _check_tokenizer(encoder: Encoder, base: str) -> None:
    tokenizer, rows = encoder.tokenizer, encoder.model.config.vocab_size
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(f"{base}: only fast tokenizers (tokenizer.json) are supported; it loads as a slow one")
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise InputError(
            f"{base}: the tokenizer does not fit the model: it has ids up to {largest}, the model {rows} rows"
        )
    absent = [name for name in _SPECIALS if getattr(tokenizer, name) is None]
    if absent and absent != ["unk_token"]:  # byte-level vocabularies need no unknown piece
        raise InputError(f"{base}: the tokenizer lacks {', '.join(absent)}, which masked-LM needs")
    pad = encoder.model.config.pad_token_id
    if pad is not None and pad != tokenizer.pad_token_id:
        raise InputError(
            f"{base}: the tokenizer does not fit the model: its padding id is {tokenizer.pad_token_id}, "
            f"config.json says {pad}"
        )


def _read_lineage(base: str) -> Lineage:
    path = Path(base) / "lineage.json"
    if path.exists():
        try:
            return Lineage.model_validate_json(path.read_bytes())
        except ValueError as error:
            raise InputError(f"{path}: not what a run wrote ({reason(error)}); restore it, or take it out") from error
    return Lineage(base=base, base_licence=_card_licence(Path(base)))


def _card_licence(folder: Path) -> str:
    card = folder / "README.md"
    if card.exists():
        for line in card.read_text(encoding="utf-8", errors="replace").splitlines()[:60]:
            if line.startswith("license:"):
                return line.split(":", 1)[1].strip()
    return "not stated"
