"""`adapt embed`: texts of any length as vectors, and the encoder as a folder that sentence-transformers opens."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from medlingua.adapters import encoder as encoders
from medlingua.adapters.encoder import Encoder, Permission
from medlingua.adapters.task_heads import save_without_head
from medlingua.languages.annotations import Example
from medlingua.recipes import machine
from medlingua.recipes.console import progress, say
from medlingua.recipes.evaluation.cache import digest_of_model
from medlingua.recipes.evaluation.candidate import autocast_of
from medlingua.recipes.evaluation.finetune import in_batches
from medlingua.recipes.evaluation.pooling import Pooling
from medlingua.recipes.evaluation.reading import EncodedDocument, encode_document, first_tokens, mean_of, token_states
from medlingua.recipes.inference.annotator import batches
from medlingua.recipes.inference.notes import at_work, check_parts, progress_in, read_notes
from medlingua.recipes.settings import Eval
from medlingua.reports.encoder_card import write_encoder_card
from medlingua.reports.read import write_whole

_BATCH_TOKENS = 16_384


def embed(
    model: str,
    paths: Sequence[str],
    pooling: Pooling,
    text_field: str | None,
    allow: tuple[Permission, ...],
    folder: Path,
) -> Path:
    """Write a vector a note into `folder`, which is returned: parts/*.parquet with columns id and embedding.

    The encoder lies in folder/model, as sentence-transformers opens it. A stopped call goes on where it was.
    InputError as of `read_notes`, and for a folder with other vectors.
    """
    encoder = encoders.load(model, head="fresh", allow=allow)
    notes = read_notes(tuple(paths), text_field, encoder.model.config.hidden_size)
    about = {"model": digest_of_model(encoder, encoder_alone=True), "pooling": pooling, "notes": notes.digest}
    state = progress_in(folder, "embed.json", about)
    check_parts(state, lambda first: _part(folder, first), lambda file: int(pq.read_metadata(file).num_rows))
    if state.done == notes.count:
        say(f"{folder}: all {notes.count:,} notes are embedded already")
        return folder
    with at_work(state):
        save_for_sentence_transformers(encoder, pooling, folder / "model")
        encoder.model.to(machine.device())
        waiting = (Example(d.id, d, ()) for number, d in enumerate(notes) if number >= state.done)
        with progress(f"embedding {notes.count:,} notes", notes.characters, before=state.characters) as bar:
            for examples in batches(waiting):
                texts = [example.document.text for example in examples]
                vectors = np.stack(vectors_of(encoder, texts, pooling))
                _write_part(_part(folder, state.done), [example.id for example in examples], vectors)
                state.done += len(examples)
                state.characters += sum(map(len, texts))
                state.save()
                bar.update(state.characters, f"{state.done:,} notes")
    width = encoder.model.config.hidden_size
    say(f"{folder}: {notes.count:,} vectors of width {width:,}, and model/ for sentence-transformers")
    return folder


def vectors_of(encoder: Encoder, texts: Iterable[str], pooling: Pooling) -> list[np.ndarray]:
    """(width,) float32 a text, in order: the mean of all its tokens, or its first token.

    A text longer than the model is read in windows: "mean" has each of its tokens once, and "first" is the mean of
    the windows' first tokens. The tokens that frame a text count in the mean, as in sentence-transformers.
    """
    precision = machine.precision_of("auto", encoder.device)
    autocast, settings = autocast_of(encoder, precision), Eval(batch_tokens=_BATCH_TOKENS, batch_documents=256)
    encoder.model.eval()
    pool = first_tokens if pooling == "first" else _framed
    documents = [_Read(pool(encode_document(encoder, text))) for text in texts]

    def embed_group(group: list[_Read]) -> np.ndarray:
        owner = np.repeat(np.arange(len(group)), [d.document.tokens for d in group])
        means: np.ndarray = (
            mean_of(token_states(encoder, [d.document for d in group]), owner, len(group)).cpu().numpy()
        )
        return means

    with autocast():
        return in_batches(documents, settings, embed_group)


class _Read:
    """A document as `groups` takes it."""

    def __init__(self, document: EncodedDocument) -> None:
        self.document = document


def _framed(document: EncodedDocument) -> EncodedDocument:
    """With the first token of the first window and the last of the last one: what frames the text as a whole."""
    last = len(document.windows) - 1
    nothing = np.zeros((1, 2), dtype=np.int64)
    return EncodedDocument(
        document.windows,
        np.concatenate([[0], document.window, [last]]),
        np.concatenate([[0], document.place, [len(document.windows[last]) - 1]]),
        np.concatenate([nothing, document.offsets, nothing]),
    )


def save_for_sentence_transformers(encoder: Encoder, pooling: Pooling, folder: Path) -> None:
    """Write an encoder, its card and its pooling so that `SentenceTransformer(folder)` opens them (format of
    version 5)."""
    folder.mkdir(parents=True, exist_ok=True)
    save_without_head(encoder, folder, {})
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    width = encoder.model.config.hidden_size
    mean = pooling == "mean"
    pooling_config = {
        "word_embedding_dimension": width,
        "pooling_mode_cls_token": not mean,
        "pooling_mode_mean_tokens": mean,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
        "pooling_mode_weightedmean_tokens": False,
        "pooling_mode_lasttoken": False,
        "include_prompt": True,
    }
    (folder / "1_Pooling").mkdir(exist_ok=True)
    for name, content in (
        ("modules.json", modules),
        ("1_Pooling/config.json", pooling_config),
        ("sentence_bert_config.json", {"max_seq_length": encoder.length, "do_lower_case": False}),
        ("config_sentence_transformers.json", {"similarity_fn_name": "cosine"}),
    ):
        write_whole(folder / name, json.dumps(content, indent=2) + "\n")
    write_encoder_card(folder, pooling)


def _part(folder: Path, first: int) -> Path:
    return folder / "parts" / f"{first:09d}.parquet"


def _write_part(file: Path, ids: Sequence[str], vectors: np.ndarray) -> None:
    file.parent.mkdir(exist_ok=True)
    width = vectors.shape[1]
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), width)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": pa.array(list(ids), pa.string()), "embedding": embedding}), sink)
    write_whole(file, sink.getvalue().to_pybytes())
