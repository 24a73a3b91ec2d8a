"""Readers of labelled files, one a format: what `reader` names in a pack."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..annotations import Example
from ..questions import read_bioasq, read_nli4ct, read_options, read_pubmedqa, read_squad
from ..relations import read_e3c_relations
from .bioc import read_bioc, read_pubtator
from .brat import read_brat
from .brat_relations import read_brat_relations
from .concepts import read_concepts
from .conll import read_conll
from .cues import read_cues
from .docbin import read_docbin
from .exports import read_doccano, read_label_studio, read_prodigy
from .lines import read_line_labels, read_paraphrases
from .pairs import read_deft_pairs, read_id_pairs
from .span_tables import read_span_tables
from .standoff import read_codes, read_offsets
from .tables import read_json, read_table
from .token_lists import read_bio_lists, read_tag_lists
from .tokens import read_tokens
from .uima import read_uima
from .webanno import read_webanno


class Reader(NamedTuple):
    """read: of a path, as examples; its keywords are the options that a task may give. folder: whether a task that
    names no file gives it the whole folder."""

    read: Callable[..., Iterator[Example]]
    folder: bool = False


READERS: dict[str, Reader] = {
    "brat": Reader(read_brat, folder=True),
    "brat_relations": Reader(read_brat_relations, folder=True),
    "conll": Reader(read_conll),
    "tokens": Reader(read_tokens),
    "bio_lists": Reader(read_bio_lists),
    "tag_lists": Reader(read_tag_lists),
    "table": Reader(read_table),
    "json": Reader(read_json),
    "uima": Reader(read_uima, folder=True),
    "webanno": Reader(read_webanno, folder=True),
    "bioc": Reader(read_bioc, folder=True),
    "pubtator": Reader(read_pubtator, folder=True),
    "doccano": Reader(read_doccano),
    "label_studio": Reader(read_label_studio),
    "prodigy": Reader(read_prodigy),
    "docbin": Reader(read_docbin, folder=True),
    "span_tables": Reader(read_span_tables),
    "offsets": Reader(read_offsets, folder=True),
    "codes": Reader(read_codes, folder=True),
    "line_labels": Reader(read_line_labels, folder=True),
    "paraphrases": Reader(read_paraphrases, folder=True),
    "cues": Reader(read_cues, folder=True),
    "concepts": Reader(read_concepts, folder=True),
    "id_pairs": Reader(read_id_pairs),
    "deft_pairs": Reader(read_deft_pairs),
    "bioasq": Reader(read_bioasq),
    "nli4ct": Reader(read_nli4ct),
    "pubmedqa": Reader(read_pubmedqa),
    "options": Reader(read_options),
    "squad": Reader(read_squad),
    "e3c_relations": Reader(read_e3c_relations, folder=True),
}
