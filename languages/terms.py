"""Terms of medicine from the files of a data root: phenotypes, diseases, dictionaries."""

import gzip
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medlingua.languages.errors import InputError


@dataclass(frozen=True, slots=True)
class Term:
    """text: the term in its language. english: the term it translates, or "". group: its branch in the Disease
    Ontology, or its origin ("hpo", "tico"). icd10: the letter of its ICD-10 chapter, or ""."""

    text: str
    english: str
    group: str
    icd10: str
