"""Replaced-token detection, ELECTRA's objective: which tokens did a small generator put there?

Clark et al., arXiv 2003.10555. Generator and detector are thrown away after training; the encoder's body is what
learns, at every token and not at the hidden ones alone.
"""

import copy
from dataclasses import replace

import torch
from medlingua.adapters.encoder import Encoder, set_dropout
from medlingua.adapters.packed import Packed, hidden_states
from medlingua.recipes.training.objectives import summed_loss
from torch import Tensor, nn
from torch.nn import functional
from transformers import ElectraForMaskedLM
from transformers.models.electra.modeling_electra import ElectraDiscriminatorPredictions

_GENERATOR = 4  # times narrower than the encoder
_WEIGHT = 50.0  # of the detector's loss against the generator's, the paper's
_ROWS = 1_024  # of logits held at once


class GeneratorAndDetector(nn.Module):
    """What an ELECTRA is trained with and does not keep. The generator shares the encoder's table of pieces."""

    def __init__(self, encoder: Encoder, seed: int, dropout: float) -> None:
        super().__init__()
        config = copy.deepcopy(encoder.model.config)
        head = config.hidden_size // config.num_attention_heads
        config.num_attention_heads = max(1, config.num_attention_heads // _GENERATOR)
        config.hidden_size = head * config.num_attention_heads
        config.intermediate_size = 4 * config.hidden_size
        torch.manual_seed(seed)
        self.generator = ElectraForMaskedLM(config)
        self.detector = ElectraDiscriminatorPredictions(encoder.model.config)
        self.generator.set_input_embeddings(encoder.model.get_input_embeddings())
        self.generator.tie_weights()
        set_dropout(self.generator, dropout)
        self.to(encoder.device)


class ReplacedTokens(nn.Module):
    """Forward of a packed batch: the generator's summed masked-LM loss, and the detector's mean loss over all
    tokens but the special ones, weighted, times the batch's targets. In nats."""

    def __init__(self, encoder: Encoder, electra: GeneratorAndDetector) -> None:
        super().__init__()
        self.model = encoder.model
        self.electra = electra
        self._encoder = encoder
        self._generating = Encoder(electra.generator, encoder.tokenizer, encoder.architecture, encoder.lineage)

    def forward(self, packed: Packed) -> Tensor:
        transform, decoder = self._encoder.architecture.head(self.electra.generator)
        features = transform(hidden_states(self._generating, packed, packed.label_positions))
        generated = summed_loss(features, decoder, packed.labels)
        shown, replaced = corrupted(packed, drawn(features.detach(), decoder))
        # Of the text: a special token that the generator puts in the place of a word is to be found, too.
        special = torch.isin(
            text_of(packed), torch.tensor(self._encoder.tokenizer.all_special_ids, device=packed.ids.device)
        )
        logits = self.electra.detector(hidden_states(self._encoder, shown)[None])[0]
        detected = functional.binary_cross_entropy_with_logits(logits[~special].float(), replaced[~special].float())
        return generated + _WEIGHT * detected * len(packed.labels)


def text_of(packed: Packed) -> Tensor:
    """The ids of the text itself (T,), before any were hidden."""
    text = packed.ids.clone()
    text[packed.label_positions] = packed.labels
    return text


def corrupted(packed: Packed, pieces: Tensor) -> tuple[Packed, Tensor]:
    """The text itself with other pieces (M,) at the places to predict; which tokens are not the text's, (T,) bool."""
    text = text_of(packed)
    shown = text.clone()
    shown[packed.label_positions] = pieces
    nothing = packed.labels[:0]
    return replace(packed, ids=shown, labels=nothing, label_positions=nothing), shown != text


@torch.no_grad()
def drawn(features: Tensor, decoder: nn.Linear) -> Tensor:
    """A piece for each row of features (M, F), drawn from the softmax of its logits: (M,) int64."""
    pieces = []
    for rows in torch.split(features, _ROWS):
        logits = decoder(rows).float()
        # The largest of logits with Gumbel noise is a draw from their softmax.
        noise = -torch.empty_like(logits).exponential_().log()
        pieces.append((logits + noise).argmax(dim=-1))
    return torch.cat(pieces) if pieces else features.new_empty(0, dtype=torch.int64)
