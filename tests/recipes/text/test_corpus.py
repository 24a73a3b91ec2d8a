"""From documents to shards: what is left out, counted, held out and refused; and fetching them."""

import http.server
import random
import re
import socket
import struct
import threading
import unicodedata
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from medlingua.adapters.encoder import Encoder
from medlingua.languages.errors import InputError
from medlingua.languages.pack import load_pack
from medlingua.languages.words import nfc, words
from medlingua.recipes.commands.fetch import download
from medlingua.recipes.resolve import resolve
from medlingua.recipes.settings import Run
from medlingua.recipes.text.corpus import Prepared, prepare, why_none_held_out
from medlingua.recipes.text.filters import compile_filter
from medlingua.recipes.text.inputs import Inputs, inputs_of
from medlingua.recipes.text.shards import narrowed, open_shard, token_dtype
from medlingua.recipes.text.sources import read, select
from medlingua.recipes.text.task_set import TaskSet
from medlingua.recipes.training.batches import shares_of

from ..conftest import cases, new_tokenizer, write_jsonl


def prepared(
    run: Run, encoder: Encoder, folder: Path, tested: dict[str, list[str]] | None = None, language: str = "fr"
) -> Prepared:
    pack = load_pack(language)
    tests = tested or {}
    return prepare(Inputs(run, pack, select(run, pack), TaskSet((), tests, (), ())), encoder.tokenizer, folder)


def own(path: Path, *more: Path) -> dict[str, Any]:
    return {"data": {"paths": [str(path), *(str(p) for p in more)]}}


def test_a_shard_holds_each_document_as_the_tokenizer_writes_it(
    encoder: Encoder, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    texts = cases(12)
    run = make_run("data.held_out=0", **own(write_jsonl(tmp_path / "n.jsonl", texts)))
    shard = prepared(run, encoder, tmp_path / "shards").shards[0]
    for number, text in enumerate(texts):
        ids = encoder.tokenizer(nfc(text).strip(), add_special_tokens=False)["input_ids"]
        assert shard.tokens[shard.starts[number] : shard.starts[number + 1]].tolist() == ids


def test_duplicates_are_counted_also_across_corpora_and_whitespace(
    encoder: Encoder, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    texts = cases(6)
    one = write_jsonl(tmp_path / "one.jsonl", [*texts, texts[0].replace(" ", "  ")])
    other = write_jsonl(tmp_path / "other.jsonl", [*texts[:2], *cases(3, seed=8)])
    row = prepared(make_run("data.held_out=0", **own(one, other)), encoder, tmp_path / "shards").row
    assert [(c.name, c.documents_read, c.duplicates, c.documents) for c in row.corpora] == [
        ("one", 7, 1, 6),
        ("other", 5, 2, 3),
    ]


def test_two_corpora_of_one_name_are_both_read(
    encoder: Encoder, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    for number, folder in enumerate(("a", "b")):
        (tmp_path / folder).mkdir()
        write_jsonl(tmp_path / folder / "notes.jsonl", cases(4, seed=number))
    run = make_run("data.held_out=0", **own(tmp_path / "a" / "notes.jsonl", tmp_path / "b" / "notes.jsonl"))
    rows = prepared(run, encoder, tmp_path / "shards").row.corpora
    assert [row.documents for row in rows] == [4, 4]
    assert len({row.name for row in rows}) == 2


def test_V10_text_that_a_task_tests_on_is_left_out_and_counted(
    encoder: Encoder, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    texts = cases(10)
    words = [
        "Un",
        "test",
        "dont",
        "les",
        "quatorze",
        "mots",
        "se",
        "suivent",
        "ici",
        "exactement",
        "comme",
        "dans",
        "le",
        "corpus",
        "lui-même",
    ]
    leaked = " ".join(words)
    corpus = write_jsonl(tmp_path / "n.jsonl", [*texts, f"Avant. {leaked.upper()} ! Après."])
    result = prepared(
        make_run("data.held_out=0", **own(corpus)), encoder, tmp_path / "s", {"morfitt": [leaked, "non"]}
    )
    assert result.row.corpora[0].overlapping == 1
    assert result.row.corpora[0].documents == 10
    overlap = result.row.overlap[0]
    assert (overlap.task, overlap.test_documents, overlap.overlapping, overlap.whole_only) == ("morfitt", 2, 1, 1)


def near_copies(text: str) -> dict[str, str]:
    """What people's files hold of one document."""
    words = text.split()
    return {
        "case": text.upper(),
        "word": " ".join([*words[:40], "autrement", *words[41:]]),
        "apostrophe": text.replace("'", "\u2019"),
        "line": text + "\nSigné le docteur de garde.",
        "zero width": text[:50] + "\u200b" + text[50:],
        "decomposed": unicodedata.normalize("NFD", text),
    }


def test_near_duplicates_are_left_out_counted_apart_and_never_held_out_with_their_original(
    encoder: Encoder, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    originals = cases(20, seed=4, words=(120, 200))
    copies = [copy for text in originals for copy in near_copies(text).values()]
    exact = originals[:3]
    texts = [*originals, *copies, *exact]
    random.Random(0).shuffle(texts)
    corpus = write_jsonl(tmp_path / "n.jsonl", texts)
    result = prepared(make_run("data.held_out=0.5", **own(corpus)), encoder, tmp_path / "s")
    row = result.row.corpora[0]
    decomposed = len(originals)  # NFC of them is the original's own text
    same = sum(copy == text for text in originals for copy in near_copies(text).values())
    assert row.duplicates == len(exact) + decomposed + same
    assert row.near_duplicates == len(texts) - row.duplicates - 20
    assert row.documents + row.held_out == 20
    every = make_run("data.held_out=0.5", "data.near_duplicates=0", **own(corpus))
    row = prepared(every, encoder, tmp_path / "all").row.corpora[0]
    assert row.near_duplicates == 0
    assert row.documents + row.held_out == len(texts) - row.duplicates


def test_held_out_documents_are_not_trained_on(
    encoder: Encoder, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    texts = cases(40)
    corpus = write_jsonl(tmp_path / "n.jsonl", texts)
    result = prepared(make_run("data.held_out=0.5", **own(corpus)), encoder, tmp_path / "s")
    count = len(result.held_out)
    assert 8 < count < 32
    assert result.row.corpora[0].held_out == count
    trained = {result.shards[0].tokens[a:b].tobytes() for a, b in pairwise(result.shards[0].starts)}
    assert len(trained) == 40 - count
    for document in result.held_out:
        ids = encoder.tokenizer(document.text, add_special_tokens=False)["input_ids"]
        assert np.array(ids, dtype=result.shards[0].tokens.dtype).tobytes() not in trained
    few = make_run("data.held_out=0.5", "data.held_out_documents=3", **own(corpus))
    assert len(prepared(few, encoder, tmp_path / "few").held_out) == 3


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r"])
def test_held_out_text_comes_back_with_its_rare_separators(
    separator: str, encoder: Encoder, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    texts = [f"{separator.join(text.split(' ')[:30])} fin." for text in cases(40)]
    corpus = write_jsonl(tmp_path / "n.jsonl", texts)
    result = prepared(make_run("data.held_out=0.5", **own(corpus)), encoder, tmp_path / "s")
    assert result.held_out
    assert {document.text for document in result.held_out} <= {nfc(text).strip() for text in texts}


def test_every_corpus_gives_its_share_of_the_held_out_text(
    encoder: Encoder, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    corpora = own(*(write_jsonl(tmp_path / f"{n}.jsonl", cases(40, seed=n)) for n in range(2)))
    result = prepared(make_run("data.held_out=0.5", "data.held_out_documents=6", **corpora), encoder, tmp_path / "s")
    assert [row.held_out for row in result.row.corpora] == [3, 3]


def test_a_document_of_many_sentences_is_tokenized_whole(
    encoder: Encoder, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    long = " ".join(cases(150))
    assert len(long) > 60_000
    run = make_run("data.held_out=0", **own(write_jsonl(tmp_path / "n.jsonl", [long])))
    shard = prepared(run, encoder, tmp_path / "s").shards[0]
    ids = encoder.tokenizer(nfc(long).strip(), add_special_tokens=False)["input_ids"]
    assert shard.tokens.tolist() == ids


def test_whole_words_are_marked_where_a_phase_needs_them(
    encoder: Encoder, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    texts = cases(3)
    run = make_run("data.held_out=0", "objective.unit=word", **own(write_jsonl(tmp_path / "n.jsonl", texts)))
    shard = prepared(run, encoder, tmp_path / "s").shards[0]
    assert shard.word_starts is not None
    pieces = encoder.tokenizer.convert_ids_to_tokens(shard.tokens.tolist())
    assert not [p for p, begins in zip(pieces, shard.word_starts, strict=True) if begins and p.startswith("##")]
    assert int(shard.word_starts.sum()) == sum(len(words(text, "fr")) for text in texts)


def test_filters_omit_documents_of_the_shard(encoder: Encoder, make_run: Callable[..., Run], tmp_path: Path) -> None:
    corpus = write_jsonl(tmp_path / "n.jsonl", cases(6), education=lambda i: i)
    mixture = "data.mixture=[{corpus='n', filter='education >= 4'}]"
    result = prepared(make_run("data.held_out=0", mixture, **own(corpus)), encoder, tmp_path / "s")
    assert result.row.corpora[0].filtered == 4
    assert result.row.corpora[0].documents == 2


def test_a_phase_without_a_mixture_reads_what_another_phase_filters(
    encoder: Encoder, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    corpus = write_jsonl(tmp_path / "n.jsonl", cases(6), education=lambda i: i)
    phases = "phases=[{tokens=100}, {tokens=100, mixture=[{corpus='n', filter='education >= 4'}]}]"
    run = make_run("data.held_out=0", phases, **own(corpus))
    result = prepared(run, encoder, tmp_path / "s")
    assert (result.row.corpora[0].documents, result.row.corpora[0].filtered) == (6, 0)
    first, second = (shares_of(result.shards, phase) for phase in run.phases)
    assert [len(share.documents) for share in (*first, *second)] == [6, 2]


def test_a_corpus_that_no_phase_reads_is_named(make_run: Callable[..., Run], tmp_path: Path) -> None:
    files = [write_jsonl(tmp_path / f"{name}.jsonl", cases(3)) for name in ("n", "m")]
    with pytest.raises(InputError, match=r"data\.mixture does not name corpus 'm', which the run is given"):
        inputs_of(make_run("data.mixture=[{corpus='n'}]", **own(*files)))
    assert inputs_of(make_run("phases=[{tokens=9, mixture=[{corpus='n'}]}, {tokens=9}]", **own(*files)))


def test_T16_the_dtype_fits_the_vocabulary() -> None:
    assert token_dtype(2**16) == np.uint16
    assert token_dtype(2**16 + 1) == np.uint32
    assert token_dtype(250_002) == np.uint32


@pytest.mark.parametrize("wrong", [65_536, 70_000, 250_001])
def test_T16_an_id_that_does_not_fit_is_refused(wrong: int) -> None:
    with pytest.raises(ValueError, match=str(wrong)):
        narrowed(np.array([1, wrong], dtype=np.uint32), np.dtype(np.uint16))
    assert narrowed(np.array([65_535], dtype=np.uint32), np.dtype(np.uint16)).tolist() == [65_535]


def test_T16_a_shard_of_another_tokenizer_is_refused(
    encoder: Encoder, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    run = make_run(**own(write_jsonl(tmp_path / "n.jsonl", cases(5))))
    prepared(run, encoder, tmp_path / "s")
    with pytest.raises(InputError, match="another tokenizer"):
        open_shard(tmp_path / "s" / "n", new_tokenizer(cases(5), 200))


# --- filters ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "taken"),
    [
        ('education >= 4 and type == "case"', True),
        ("not education >= 4", False),
        ('type in ["study", "case"]', True),
        ('type not in ("study", "case")', False),
        ("1 < education < 5", True),
        ("education == -4 or education != 5", True),
        ("missing == None", True),
        ('"as" in type', True),
    ],
)
def test_a_filter_reads_columns(expression: str, taken: bool) -> None:
    row = {"education": 4, "type": "case", "missing": None}
    assert compile_filter(expression, "notes")(row) is taken


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').remove('x')",
        "type.upper() == 'A'",
        "type[0] == 'c'",
        "education + 1 > 2",
        "lambda: 1",
        "a :=",
        "education is 4",
        "1 < education is not None",
    ],
)
def test_a_filter_runs_no_code(expression: str) -> None:
    with pytest.raises(InputError, match="filter of corpus notes"):
        compile_filter(expression, "notes")


@pytest.mark.parametrize(
    ("expression", "message", "text"),
    [
        ("educaton > 1", r"no column 'educaton' among the 4.*did you mean 'education'", "Diagnostic principal"),
        ("type > 3", r"document n7: cannot compare text with a number in 'type > 3'", "Mme Durand, VIH positive"),
        ("-type == 3", r"document n7: no minus before text in '-type'", "Mme Durand, VIH positive"),
        ("3 in education", r"document n7: cannot compare a number with a number in '3 in education'", "4"),
    ],
)
def test_a_filter_says_what_it_cannot_find_or_compare_without_a_word_of_the_document(
    expression: str, message: str, text: str
) -> None:
    row = {"id": "n7", "education": 4, "type": "Mme Durand, VIH positive", "Diagnostic principal": ""}
    with pytest.raises(InputError, match=message) as raised:
        compile_filter(expression, "notes")(row)
    assert not any(word in str(raised.value) for word in ("Durand", "VIH", "Diagnostic"))
    assert text in raised.value.text


# --- download ---------------------------------------------------------------------------------------

CONTENT = bytes(range(256)) * 5_000


class Server(http.server.BaseHTTPRequestHandler):
    """Gives CONTENT, from where a Range asks; /short and /reset break off, /plain knows no Range."""

    requested_ranges: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.requested_ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.path != "/plain" else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1_000] if self.path in ("/short", "/reset") else body)
        if self.path == "/reset":  # as a network that fails, not as a server that ends
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, *given: Any) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    Server.requested_ranges = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def anything(file: Path) -> None:
    """A check that every file passes."""


@pytest.mark.parametrize(("path", "requested"), [("/whole", "bytes=70000-"), ("/plain", "bytes=70000-")])
def test_a_download_goes_on_from_its_part(address: str, path: str, requested: str, tmp_path: Path) -> None:
    (tmp_path / "file.bin.partial").write_bytes(CONTENT[:70_000])
    target = download(address + path, tmp_path / "file.bin", anything)
    assert target.read_bytes() == CONTENT
    assert Server.requested_ranges == [requested]
    assert not (tmp_path / "file.bin.partial").exists()
    assert download(address + path, target, anything) == target
    assert len(Server.requested_ranges) == 1


@pytest.mark.parametrize(("path", "kept"), [("/short", "bytes=1000-"), ("/reset", None)])
def test_a_download_that_breaks_off_is_reported_and_resumed(
    path: str, kept: str | None, address: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="same command resumes"):
        download(address + path, tmp_path / "file.bin", anything)
    assert not (tmp_path / "file.bin").exists()
    assert download(address + "/whole", tmp_path / "file.bin", anything).read_bytes() == CONTENT
    assert Server.requested_ranges[1] == kept


def test_a_part_that_is_already_whole_becomes_the_file(address: str, tmp_path: Path) -> None:
    (tmp_path / "file.bin.partial").write_bytes(CONTENT)
    assert download(address + "/whole", tmp_path / "file.bin", anything).read_bytes() == CONTENT


def test_an_unreachable_address_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be fetched"):
        download("http://127.0.0.1:9/file", tmp_path / "file.bin", anything)


def test_a_folder_named_as_the_embedded_default_is_the_labs_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "embedded").mkdir()
    write_jsonl(tmp_path / "embedded" / "notes.jsonl", ["Le patient va bien."])
    monkeypatch.chdir(tmp_path)
    run = resolve({"strategy": "continue", "lang": "fr", "base": "b", "data": {"paths": ["embedded"]}})
    (source,) = select(run, load_pack("fr")).sources
    assert [document.text for document in read(source, load_pack("fr"), run)] == ["Le patient va bien."]


@pytest.mark.parametrize(("documents", "share"), [(3, 0.05), (5, 0.05), (30, 0.01)])
def test_where_none_is_held_out_the_remedies_would_hold_one_out(
    documents: int, share: float, encoder: Encoder, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    """Both that are named: nineteen times of twenty, by the share alone."""
    run = make_run(f"data.held_out={share}", **own(write_jsonl(tmp_path / "n.jsonl", cases(documents, seed=5))))
    few = prepared(run, encoder, tmp_path / "shards")
    assert not few.held_out
    reason = why_none_held_out(few, run.data)
    remedy = re.fullmatch(
        rf"of {documents} documents none was drawn at data.held_out = {share}; "
        r"give ([\d,]+) documents or more, or set data.held_out = (0\.\d+)",
        reason,
    )
    assert remedy is not None, reason
    enough, larger = int(remedy[1].replace(",", "")), float(remedy[2])
    assert (1 - share) ** enough <= 0.05 < (1 - share) ** (enough - 1)
    assert (1 - larger) ** max(documents, 4) <= 0.05


def test_where_chance_held_none_of_enough_documents_out_a_larger_share_is_named(
    encoder: Encoder, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    for seed in range(99):  # until none of ten is drawn, by the digests of their texts
        file = write_jsonl(tmp_path / f"{seed}.jsonl", cases(10, seed=seed))
        run = make_run("data.held_out=0.26", **own(file))
        if not (unlucky := prepared(run, encoder, tmp_path / str(seed))).held_out:
            break
    assert why_none_held_out(unlucky, run.data).endswith("none of 10 documents was drawn; set data.held_out = 0.5")


def test_a_share_of_nothing_and_a_single_document_are_named(
    encoder: Encoder, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    run = make_run("data.held_out=0", **own(write_jsonl(tmp_path / "n.jsonl", cases(5))))
    reason = why_none_held_out(prepared(run, encoder, tmp_path / "shards"), run.data)
    alone = make_run(**own(write_jsonl(tmp_path / "one.jsonl", cases(1, seed=5))))
    of_one = prepared(alone, encoder, tmp_path / "one")
    assert "the text is one document" in why_none_held_out(of_one, alone.data)
    assert "data.held_out = 0." not in why_none_held_out(of_one, alone.data), "no share would leave text to train on"
    assert reason == "data.held_out = 0 holds no document out; set it to 0.05 or more"
