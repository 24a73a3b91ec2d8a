"""A gradual change of positions during training, so that no step disturbs the model.

Rotations move from the frequencies of the source to those of the converted model, while a learned position table
fades out.
"""

from typing import Any

import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.positions import rotations
from torch import Tensor, nn


class Gradual:
    """Moves a converted model between the positions of its source (share 0) and its own (share 1).

    converted: by `to_rotary` or `rescale`, from `source`; it is changed in place and keeps its weights. At 0 its
    logits are those of the source on texts that the source can read; a longer text uses the old table repeatedly.
    Between two rotations, theta and factors of scaling grow geometrically; a rotation that the source does not have
    grows linearly from zero. Saved models keep no trace of this: set 1 before saving.
    """

    def __init__(self, source: Encoder, converted: Encoder) -> None:
        body = converted.model.base_model
        old = dict(rotations(source.model))
        self._frequencies: list[tuple[Tensor, Tensor, Tensor]] = []
        self._scalings: list[tuple[nn.Module, str, float, float]] = []  # YaRN's factor on the attention scores
        for name, buffer in rotations(converted.model):
            self._frequencies.append((buffer, old.get(name, torch.zeros_like(buffer)).clone(), buffer.clone()))
            if name in old:
                owner, _, attribute = name.replace("inv_freq", "attention_scaling").rpartition(".")
                first, last = (getattr(m.get_submodule(owner), attribute) for m in (source.model, converted.model))
                self._scalings.append((converted.model.get_submodule(owner), attribute, first, last))
        self._share = 1.0
        if source.architecture.positions == "learned":
            table = source.model.base_model.embeddings.position_embeddings.weight.detach()[source.first_position :]
            # The mean is in the token type embeddings already.
            self._table = (table - table.mean(dim=0)).to(converted.device)
            body.embeddings.register_forward_pre_hook(self._with_table, with_kwargs=True)

    def set(self, share: float) -> None:
        self._share = share
        for buffer, before, after in self._frequencies:
            if share >= 1:
                buffer.copy_(after)
            elif bool((before > 0).all()):
                buffer.copy_(before ** (1 - share) * after**share)
            else:
                buffer.copy_(torch.lerp(before, after, share))
        for module, attribute, first, last in self._scalings:
            setattr(module, attribute, last if share >= 1 else first + share * (last - first))

    def _with_table(
        self, embeddings: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self._share >= 1:
            return args, kwargs
        words: Tensor = embeddings.word_embeddings(kwargs["input_ids"])
        places = self._table[kwargs["position_ids"] % len(self._table)]
        return args, {**kwargs, "input_ids": None, "inputs_embeds": words + (1 - self._share) * places}
