"""Loading and saving: whole or not at all, and plain transformers opens what is saved."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from medlingua.adapters.architecture import ARCHITECTURES
from medlingua.adapters.encoder import load, save, set_dropout, with_lineage
from medlingua.adapters.packed import hidden_states, pack
from medlingua.languages.lineage import Lineage, LineageStep
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

from .conftest import WORD_PIECES
from .model_files import logits

FAMILIES = sorted(ARCHITECTURES)
STEP = LineageStep(
    strategy="continue",
    language="fr",
    base="tiny",
    settings_digest="abc",
    corpora=("cases",),
    licences=("CC-BY-4.0",),
    tokens=1000,
    synthetic=True,
    date="2026-01-01",
    version="0.1.0",
)
LEARNED = [name for name in FAMILIES if ARCHITECTURES[name].positions == "learned"]


# What is loaded


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_C15_weights_are_fp32_whatever_the_file_holds(family: str, dtype: torch.dtype, build: Any) -> None:
    folder = build(family, dtype=dtype)
    assert {w.dtype for w in load_file(folder / "model.safetensors").values()} == {dtype}
    encoder = load(str(folder))
    assert {p.dtype for p in encoder.model.parameters()} == {torch.float32}
    save(encoder, folder / "again")
    assert {w.dtype for w in load_file(folder / "again" / "model.safetensors").values()} == {torch.float32}


@pytest.mark.parametrize("family", FAMILIES)
def test_C3_the_tokenizer_knows_the_usable_length(family: str, build: Any) -> None:
    folder = build(family)
    assert AutoTokenizer.from_pretrained(folder).model_max_length > 1e20
    encoder = load(str(folder))
    assert encoder.tokenizer.model_max_length == encoder.length
    save(encoder, folder / "again")
    assert AutoTokenizer.from_pretrained(folder / "again").model_max_length == encoder.length


@pytest.mark.parametrize("family", LEARNED)
def test_C2_the_usable_length_is_the_table_less_its_reserved_rows(family: str, build: Any) -> None:
    encoder = load(str(build(family)))
    rows = encoder.model.base_model.embeddings.position_embeddings.num_embeddings
    reserved = 0 if family in WORD_PIECES else encoder.tokenizer.pad_token_id + 1
    assert encoder.length == rows - reserved


@pytest.mark.parametrize("family", FAMILIES)
def test_C22_buffers_equal_those_of_a_fresh_model(family: str, build: Any) -> None:
    encoder = load(str(build(family)))
    fresh = type(encoder.model)(encoder.model.config)
    expected = dict(fresh.named_buffers())
    buffers = dict(encoder.model.named_buffers())
    assert buffers.keys() == expected.keys()
    for name, buffer in expected.items():
        assert torch.equal(buffers[name], buffer), name


@pytest.mark.parametrize("family", FAMILIES)
def test_a_loaded_model_has_no_dropout_and_its_config_still_says_the_sources(family: str, build: Any) -> None:
    short = ("modernbert", "eurobert", "ultrabert", "distilbert")
    rate = "attention_dropout" if family in short else "hidden_dropout_prob"
    encoder = load(str(build(family, **{rate: 0.25})))
    assert all(m.p == 0 for m in encoder.model.modules() if isinstance(m, torch.nn.Dropout))
    assert getattr(encoder.model.config, rate) == 0.25
    draw = pack([torch.tensor([5, 6, 7, 8]).numpy()], encoder.first_position)
    encoder.model.train()
    with torch.no_grad():
        assert torch.equal(hidden_states(encoder, draw), hidden_states(encoder, draw))


@pytest.mark.parametrize("family", [n for n in FAMILIES if n != "longformer"])
def test_dropout_for_finetuning_leaves_attention_weights_alone(family: str, build: Any) -> None:
    """attend() refuses dropout on attention weights: a forward in training mode works, and draws elsewhere."""
    encoder = load(str(build(family)))
    set_dropout(encoder.model, 0.1)
    encoder.model.train()
    row = pack([torch.tensor([5, 6, 7, 8]).numpy()], encoder.first_position)
    one, other = hidden_states(encoder, row), hidden_states(encoder, row)
    assert one.isfinite().all()
    draws = any(isinstance(module, torch.nn.Dropout) for module in encoder.model.base_model.modules())
    assert draws == (family not in {"eurobert", "ultrabert"}), "these two know dropout on attention weights alone"
    assert torch.equal(one, other) != draws


@pytest.mark.parametrize("name", ["english-clinical-mini", "multilingual-mini"])
def test_real_models_load_pack_and_give_their_own_logits(name: str, shared_model: Any) -> None:
    folder = shared_model(name)
    encoder = load(str(folder), head="fresh" if name == "multilingual-mini" else "keep")
    body = encoder.model.base_model.eval()
    texts = ["Fever and dry cough for three days.", "The scan was normal."]
    ids = [torch.tensor(encoder.tokenizer(text)["input_ids"]).numpy() for text in texts]
    with torch.no_grad():
        together = hidden_states(encoder, pack(ids, encoder.first_position))
        stock = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
        alone = torch.cat([stock(input_ids=torch.tensor(i)[None]).last_hidden_state[0] for i in ids])
    assert {p.dtype for p in body.parameters()} == {torch.float32}
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


# What is saved


@pytest.mark.parametrize("family", FAMILIES)
def test_C10_C14_C22_a_saved_model_opens_in_plain_transformers_with_the_same_logits(
    family: str, build: Any, sample: list[str]
) -> None:
    folder = build(family)
    encoder = load(str(folder))
    out = folder.parent / "out"
    save(encoder, out, sample=sample)
    config = AutoConfig.from_pretrained(out)
    assert type(config) is type(encoder.model.config)
    assert config.architectures == [ARCHITECTURES[family].model_class]
    model = AutoModelForMaskedLM.from_pretrained(out).eval()
    batch = AutoTokenizer.from_pretrained(out)(sample[0], return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        torch.testing.assert_close(model(**batch).logits[0], logits(encoder, sample[0]), atol=1e-5, rtol=1e-5)
    again = load(str(out))
    assert torch.equal(logits(again, sample[0]), logits(encoder, sample[0]))
    table, decoder = again.model.get_input_embeddings().weight, again.model.get_output_embeddings().weight
    assert (table.data_ptr() == decoder.data_ptr()) == again.model.config.tie_word_embeddings


@pytest.mark.parametrize("family", FAMILIES)
def test_C10_a_saved_config_has_no_key_outside_its_class(family: str, build: Any) -> None:
    folder = build(family)
    save(load(str(folder)), folder / "out")
    written = json.loads((folder / "out" / "config.json").read_text(encoding="utf-8"))
    source = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert {k: v for k, v in written.items() if source.get(k) != v} == {}


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_T17_the_saved_tokenizer_is_its_own_pipeline(family: str, build: Any, sample: list[str], corpus: Any) -> None:
    """A class named in tokenizer_config.json would lower-case a cased WordPiece: ours is not named by one."""
    folder = build(family)
    encoder = load(str(folder))
    lines = [*sample, *corpus, "SIDA Pâle", "fie\u0300vre", "  deux  espaces", "Œdème 10⁹/L"]
    raw = Tokenizer.from_file(str(folder / "tokenizer.json"))
    save(encoder, folder / "out", sample=lines)
    saved = AutoTokenizer.from_pretrained(folder / "out")
    assert [saved(line)["input_ids"] for line in lines] == [raw.encode(line).ids for line in lines]
    roles = ("pad_token_id", "cls_token_id", "sep_token_id", "mask_token_id", "unk_token_id")
    assert [getattr(saved, r) for r in roles] == [getattr(encoder.tokenizer, r) for r in roles]


def test_T17_real_models_keep_their_ids_when_saved(shared_model: Any, tmp_path: Path, sample: list[str]) -> None:
    for name in ("english-clinical-mini", "multilingual-mini"):
        folder = shared_model(name)
        encoder = load(str(folder), head="fresh" if name == "multilingual-mini" else "keep")
        save(encoder, tmp_path / name, sample=sample)
        raw = Tokenizer.from_file(str(folder / "tokenizer.json"))
        raw.no_padding()
        raw.no_truncation()
        saved = AutoTokenizer.from_pretrained(tmp_path / name)
        assert [saved(line)["input_ids"] for line in sample] == [raw.encode(line).ids for line in sample]


def test_texts_are_whole_whatever_length_the_tokenizer_was_saved_with(build: Any, tmp_path: Path) -> None:
    """A sentence encoder's tokenizer.json cuts at its 128 tokens and fills up to them."""
    folder = build("bert")
    text = "patient admis pour fièvre " * 40
    whole = load(str(folder)).tokenizer.backend_tokenizer.encode(text).ids
    pipeline = Tokenizer.from_file(str(folder / "tokenizer.json"))
    pipeline.enable_truncation(12)
    pipeline.enable_padding(length=12)
    pipeline.save(str(folder / "tokenizer.json"))
    encoder = load(str(folder))
    assert encoder.tokenizer.backend_tokenizer.encode(text).ids == whole
    assert len(encoder.tokenizer.backend_tokenizer.encode("toux").ids) < 12
    encoder.tokenizer(["toux", text], padding=True, truncation=True, max_length=12)  # leaves both in the pipeline
    save(encoder, tmp_path / "saved")
    saved = Tokenizer.from_file(str(tmp_path / "saved" / "tokenizer.json"))
    assert saved.encode(text).ids == whole
    assert saved.padding is None


def test_the_lineage_is_read_back(build: Any) -> None:
    folder = build("bert")
    encoder = load(str(folder))
    assert encoder.lineage == Lineage(base=str(folder), base_licence="not stated")
    lineage = Lineage(base="tiny", base_licence="Apache-2.0", steps=(STEP, STEP))
    save(with_lineage(encoder, lineage), folder / "out")
    assert load(str(folder / "out")).lineage == lineage


def test_the_licence_of_a_base_is_read_from_its_card(build: Any) -> None:
    folder = build("bert")
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: mit\n---\n# Tiny\n", encoding="utf-8")
    assert load(str(folder)).lineage.base_licence == "mit"


def test_saving_leaves_the_encoder_at_work_as_it_was(build: Any, sample: list[str]) -> None:
    encoder = load(str(build("modernbert")))
    before = encoder.model.config._attn_implementation
    expected = logits(encoder, sample[0])
    save(encoder, Path(encoder.lineage.base) / "out")
    assert encoder.model.config._attn_implementation == before
    assert before in ALL_MASK_ATTENTION_FUNCTIONS
    assert torch.equal(logits(encoder, sample[0]), expected)


@pytest.mark.slow
def test_C22_another_process_gives_the_same_logits(build: Any, sample: list[str]) -> None:
    folder = build("modernbert")
    encoder = load(str(folder))
    save(encoder, folder / "out")
    script = (
        "import sys\n"
        "from safetensors.torch import save_file\n"
        "from transformers import AutoModelForMaskedLM, AutoTokenizer\n"
        "out, text, file = sys.argv[1:]\n"
        "batch = AutoTokenizer.from_pretrained(out)(text, return_tensors='pt', return_token_type_ids=False)\n"
        "logits = AutoModelForMaskedLM.from_pretrained(out).eval()(**batch).logits[0].detach()\n"
        "save_file({'logits': logits.contiguous()}, file)\n"
    )
    file = folder / "logits.safetensors"
    subprocess.run([sys.executable, "-c", script, str(folder / "out"), sample[0], str(file)], check=True)
    torch.testing.assert_close(load_file(file)["logits"], logits(encoder, sample[0]), atol=1e-5, rtol=1e-5)
