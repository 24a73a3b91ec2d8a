"""Where a model comes from: what was done to it, with which text, under which licences."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class LineageStep(BaseModel):
    """One run that changed the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: Literal["convert", "continue", "scratch"]
    language: str
    base: str
    settings_digest: str
    corpora: tuple[str, ...]
    licences: tuple[str, ...]
    tokens: int
    synthetic: bool
    date: str
    version: str  # of medlingua


class Lineage(BaseModel):
    """From the first base to this model, oldest step first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    base_licence: str
    steps: tuple[LineageStep, ...] = ()
