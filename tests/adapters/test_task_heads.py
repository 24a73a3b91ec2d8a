"""A model with a task head: plain transformers opens it and computes what was trained."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from medlingua.adapters.architecture import ARCHITECTURES
from medlingua.adapters.encoder import load
from medlingua.adapters.packed import hidden_states, pack
from medlingua.adapters.task_heads import TextHead, save_with_head, save_without_head, stock_class
from medlingua.languages.errors import InputError
from torch import nn

OUTPUTS = ("tokens", "text", "answers", "choice")
AUTO = {
    "tokens": transformers.AutoModelForTokenClassification,
    "text": transformers.AutoModelForSequenceClassification,
    "answers": transformers.AutoModelForQuestionAnswering,
    "choice": transformers.AutoModelForMultipleChoice,
}
LABELS = ("O", "B-DISO", "I-DISO")


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("family", sorted(ARCHITECTURES))
def test_plain_transformers_computes_the_logits_of_a_saved_head(
    family: str, output: Any, build: Any, tmp_path: Path
) -> None:
    encoder = load(str(build(family)))
    if stock_class(encoder, output) is None:
        assert output in ("choice", "answers")
        assert family in ("eurobert", "ultrabert", "jina_embeddings_v3", "nomic_bert", "gte")
        with pytest.raises(InputError, match=f"no class for {output} of the family '{family}'"):
            save_with_head(encoder, nn.Linear(32, 2), output, tmp_path / "kept", (), {})
        return
    torch.manual_seed(1)
    size = {"tokens": 3, "text": 3, "answers": 2, "choice": 1}[output]
    over_tokens = output in ("tokens", "answers")
    head = nn.Linear(32, size) if over_tokens else TextHead(encoder, size)
    for weights in head.parameters():
        nn.init.normal_(weights, std=0.5)
    labels = LABELS if output in ("tokens", "text") else ()
    save_with_head(encoder, head, output, tmp_path / "kept", labels, {"medlingua": {"task": "fever"}})

    draw = np.random.default_rng(0)  # other ids than the ones that saving itself compares
    frame = encoder.tokenizer.cls_token_id, encoder.tokenizer.sep_token_id
    ids = np.array([frame[0], *draw.integers(5, len(encoder.tokenizer), 50), frame[1]])
    with torch.no_grad():
        states = hidden_states(encoder, pack([ids], encoder.first_position))
        expected = head(states if over_tokens else states[:1])
    model = AUTO[output].from_pretrained(tmp_path / "kept").eval()
    inputs = {"input_ids": torch.tensor(ids)[None, None] if output == "choice" else torch.tensor(ids)[None]}
    if family == "longformer":
        inputs["global_attention_mask"] = torch.zeros_like(inputs["input_ids"])
    with torch.no_grad():
        result = model(**inputs)
    theirs = torch.stack([result.start_logits, result.end_logits], -1) if output == "answers" else result.logits
    assert expected.abs().max() > 0.05
    torch.testing.assert_close(theirs.reshape(expected.shape), expected, atol=2e-4, rtol=1e-3)
    assert model.config.medlingua == {"task": "fever"}
    if labels:
        assert [model.config.id2label[i] for i in range(3)] == list(LABELS)
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "kept").model_max_length == encoder.length


@pytest.mark.parametrize(
    "family", ["bert", "modernbert", "longformer", "deberta-v2", "mpnet", "albert", "distilbert", "nomic_bert", "gte"]
)
def test_an_encoder_with_a_head_of_our_own_opens_as_AutoModel(family: str, build: Any, tmp_path: Path) -> None:
    encoder = load(str(build(family)))
    save_without_head(encoder, tmp_path / "kept", {"medlingua": {"task": "fever"}})
    again = load(str(tmp_path / "kept"), head="fresh")
    weights = again.model.base_model.state_dict()
    for name, tensor in encoder.model.base_model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    assert type(transformers.AutoModel.from_pretrained(tmp_path / "kept")).__name__ == (
        type(encoder.model.base_model).__name__
    )


@pytest.mark.parametrize("family", sorted(ARCHITECTURES))
def test_the_encoder_of_a_saved_head_is_loaded_unchanged(family: str, build: Any, tmp_path: Path) -> None:
    encoder = load(str(build(family)))
    save_with_head(encoder, nn.Linear(32, 3), "tokens", tmp_path / "kept", LABELS, {})
    again = load(str(tmp_path / "kept"), head="fresh")
    weights = again.model.base_model.state_dict()
    for name, tensor in encoder.model.base_model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    assert (tmp_path / "kept" / "model.safetensors").stat().st_mode & 0o044  # readable as the umask says
