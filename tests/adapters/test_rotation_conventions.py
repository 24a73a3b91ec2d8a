"""Two conventions of rotation, interleaved and half-split, give other models from the same weights."""

from typing import Any

import pytest
import torch
from medlingua.adapters.encoder import load
from medlingua.languages.errors import InputError
from transformers import JinaEmbeddingsV3Config, JinaEmbeddingsV3ForMaskedLM, RoFormerConfig, RoFormerForMaskedLM

HEADS, WIDTH, LAYERS = 4, 32, 2
SIZES = {
    "vocab_size": 100, "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS,
    "intermediate_size": 64, "hidden_act": "gelu", "type_vocab_size": 2, "pad_token_id": 0,
}  # fmt: skip


def half_split(rows: torch.Tensor) -> torch.Tensor:
    """Rows of a query or key projection, (WIDTH, ...): in each head the even ones first, then the odd ones."""
    heads = rows.unflatten(0, (HEADS, WIDTH // HEADS))
    return torch.cat([heads[:, 0::2], heads[:, 1::2]], dim=1).flatten(0, 1)


@torch.no_grad()
def test_C16_interleaved_and_half_split_rotations_differ_by_a_permutation_of_each_heads_rows() -> None:
    torch.manual_seed(0)
    roformer = RoFormerForMaskedLM(RoFormerConfig(**SIZES, max_position_embeddings=64)).eval()
    ropes = {"rope_type": "default", "rope_theta": 10_000.0}
    jina = JinaEmbeddingsV3ForMaskedLM(
        JinaEmbeddingsV3Config(**SIZES, max_position_embeddings=64, layer_norm_eps=1e-12, rope_parameters=ropes)
    ).eval()

    def states(permute: Any) -> torch.Tensor:
        for block, other in zip(jina.base_model.layers, roformer.base_model.encoder.layer, strict=True):
            mine, theirs = block.self_attn, other.attention.self
            for target, source, change in (
                (mine.q_proj, theirs.query, permute), (mine.k_proj, theirs.key, permute),
                (mine.v_proj, theirs.value, None), (mine.o_proj, other.attention.output.dense, None),
                (block.mlp.fc1, other.intermediate.dense, None), (block.mlp.fc2, other.output.dense, None),
                (block.post_attention_layernorm, other.attention.output.LayerNorm, None),
                (block.post_mlp_layernorm, other.output.LayerNorm, None),
            ):  # fmt: skip
                for name in ("weight", "bias"):
                    tensor = getattr(source, name)
                    getattr(target, name).copy_(change(tensor) if change else tensor)
        jina.base_model.embeddings.load_state_dict(roformer.base_model.embeddings.state_dict())
        return jina.base_model(input_ids=ids).last_hidden_state

    for layer in roformer.base_model.encoder.layer:  # scores large enough to see places by
        layer.attention.self.query.weight.mul_(20)
        layer.attention.self.key.weight.mul_(20)
    ids = torch.randint(5, 100, (1, 40))
    expected = roformer.base_model(input_ids=ids).last_hidden_state
    torch.testing.assert_close(states(half_split), expected, atol=1e-5, rtol=1e-5)
    assert (states(lambda rows: rows) - expected).abs().max() > 1e-2


def test_C16_a_model_with_interleaved_rotations_is_refused_by_name(tmp_path: Any) -> None:
    RoFormerForMaskedLM(RoFormerConfig(**SIZES, max_position_embeddings=64)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="roformer"):
        load(str(tmp_path))
