"""A change of positions made little by little, while a model trains: no step is a jump it would have to heal from.

Rotations move from the source's frequencies to the result's; a learned position table fades out meanwhile.
"""

from typing import Any

import torch
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.positions import rotations
from torch import Tensor, nn


class Gradual:
    """Sets a converted model anywhere between its source's positions (share 0) and its own (share 1).

    made: of `to_rotary` or `rescale`, from `source`; it is changed in place and keeps its weights. At 0 its logits
    are the source's on texts that the source could read; a longer text reads the old table again from its start.
    Between rotations theta grows geometrically, as does a factor of scaling; a rotation that the source did not
    have grows from stillness, linearly. Saved models know nothing of this: set 1 first.
    """

    def __init__(self, source: Encoder, made: Encoder) -> None:
        body = made.model.base_model
        old = dict(rotations(source.model))
        self._frequencies: list[tuple[Tensor, Tensor, Tensor]] = []
        self._scalings: list[tuple[nn.Module, str, float, float]] = []  # YaRN's factor on the attention scores
        for name, buffer in rotations(made.model):
            self._frequencies.append((buffer, old.get(name, torch.zeros_like(buffer)).clone(), buffer.clone()))
            if name in old:
                owner, _, attribute = name.replace("inv_freq", "attention_scaling").rpartition(".")
                first, last = (getattr(m.get_submodule(owner), attribute) for m in (source.model, made.model))
                self._scalings.append((made.model.get_submodule(owner), attribute, first, last))
        self._share = 1.0
        if source.architecture.positions == "learned":
            table = source.model.base_model.embeddings.position_embeddings.weight.detach()[source.first_position :]
            # The mean is in the token types' row already.
            self._table = (table - table.mean(dim=0)).to(made.device)
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
