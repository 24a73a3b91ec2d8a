"""The strategy `convert`: a short model of the language, made to read long text, with a certificate.

To Longformer the weights are kept whole and the logits inside one window stay the source's; to rotary positions
the learned table is left out and training heals the model. What was preserved is measured before training, and a
conversion that lost what it had to keep stops there.
"""

from collections.abc import Sequence

import numpy as np
from medlingua.adapters.certificate import certify, loss_by_position
from medlingua.adapters.encoder import Encoder
from medlingua.adapters.longformer import to_longformer
from medlingua.adapters.rotary import rescale, to_rotary
from medlingua.languages.errors import InputError
from medlingua.languages.pack import Pack
from medlingua.recipes.console import progress
from medlingua.recipes.evaluation import probes
from medlingua.recipes.settings import Run
from medlingua.reports.rows import CertificateRow, ChangeRow, CheckRow, ContextRow, EvalRow, PositionLossRow

BITS_LIMIT = 0.05  # rise of bits per byte straight after a conversion to Longformer
_FIRST_THETA = 10_000.0  # Su et al., arXiv 2104.09864; the value of most rotary encoders' short phase
_PROBE_CASES = 20  # a distance
_POSITION_TOKENS = 60_000  # of the longest held-out documents, for loss by position


def start(run: Run, base: Encoder) -> Encoder:
    """The base with the length and the attention that the run asks for; the base itself is not changed."""
    if run.adapt.target == "longformer":
        return to_longformer(base, run.adapt.length, run.adapt.window)
    if base.architecture.positions == "rotary":
        return rescale(base, run.adapt.length, run.adapt.theta, run.adapt.scaling)
    if run.adapt.scaling != "none":
        raise InputError(f"adapt.scaling {run.adapt.scaling}: a learned table has no rotation; set adapt.theta")
    return to_rotary(base, run.adapt.length, _FIRST_THETA if run.adapt.theta is None else run.adapt.theta)


def certificate(
    run: Run, source: Encoder, converted: Encoder, texts: Sequence[str], bits: dict[str, EvalRow]
) -> CertificateRow:
    """What the conversion preserved. texts: held-out documents. bits: held-out rows by model; "vocabulary" is the
    base with another vocabulary, where the run changed it, and then the conversion's source."""
    before = bits.get("vocabulary") or bits.get("base")
    measured = certify(source, converted, texts)
    checks = [CheckRow(name=c.name, value=c.value, limit=c.limit, passed=c.passed) for c in measured.checks]
    if run.adapt.target == "longformer" and before is not None and "start" in bits:
        rise = bits["start"].bits_per_byte / before.bits_per_byte - 1
        passed = rise <= BITS_LIMIT
        checks.append(
            CheckRow(name="rise of bits per byte, before training", value=rise, limit=BITS_LIMIT, passed=passed)
        )
    return CertificateRow(
        source=source.architecture.family,
        target=converted.architecture.family,
        length=converted.length,
        checks=tuple(checks),
        changes=tuple(
            ChangeRow(field=name, before=str(before), after=str(after))
            for name, (before, after) in measured.changes.items()
        ),
        reach=measured.reach,
        positions=(*positions(source, "base", texts), *positions(converted, "start", texts)),
    )


def positions(encoder: Encoder, name: str, texts: Sequence[str]) -> tuple[PositionLossRow, ...]:
    """Masked-LM loss by place, on the longest texts."""
    documents: list[np.ndarray] = []
    for text in sorted(texts, key=len, reverse=True):
        ids = encoder.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        documents.append(np.array(ids, dtype=np.int64))
        if sum(len(d) for d in documents) > _POSITION_TOKENS:
            break
    return tuple(
        PositionLossRow(model=name, first=first, end=end, loss=loss, tokens=tokens)
        for first, end, loss, tokens in loss_by_position(encoder, [d for d in documents if len(d)])
    )


def probed(row: CertificateRow, models: dict[str, Encoder], language: Pack) -> CertificateRow:
    """The certificate with what the models make of distant facts, where the language has such cases."""
    gains_of = {}
    for name, encoder in models.items():
        with progress(f"facts from a distance, {name}", 1.0) as bar:
            gains_of[name] = probes.probe(encoder, language, _PROBE_CASES, update=bar.update)
    return row.model_copy(
        update={
            "probes": tuple(line for name, gains in gains_of.items() for line in probes.rows(name, gains)),
            "contexts": tuple(
                _context(name, probes.effective_context(gains)) for name, gains in gains_of.items() if gains
            ),
        }
    )


def _context(name: str, interval: tuple[float, float, float] | None) -> ContextRow:
    tokens, low, high = interval or (None, None, None)
    return ContextRow(model=name, tokens=tokens, low=low, high=high)


def check(row: CertificateRow) -> None:
    """InputError that names what a conversion lost."""
    lost = [f"{c.name}: {c.value:.2g}, at most {c.limit:.2g}" for c in row.checks if not c.passed]
    if lost:
        raise InputError("the conversion's certificate fails: " + "; ".join(lost) + ". Nothing was trained")
