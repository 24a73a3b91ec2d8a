"""Sets whose files are not at hand, each in its published layout, by hand."""

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from medlingua.languages.annotations import Gold, Span
from medlingua.languages.pack import TaskSpec, load_pack

from .conftest import LANGUAGES

SPECS: dict[str, tuple[str, TaskSpec]] = {
    spec.name: (code, spec) for code in LANGUAGES for spec in load_pack(code).tasks if not spec.verified
}


Files = dict[str, str | list[str] | dict[str, str] | bytes]


def write(root: Path, files: Files) -> None:
    """Files by their paths; a list is the lines of one, with bars for tabs, a dictionary the files of an archive."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            (root / name).write_bytes(content)
            continue
        if isinstance(content, dict):
            with zipfile.ZipFile(root / name, "w") as archive:
                for member, text in content.items():
                    archive.writestr(member, text)
            continue
        text = content if isinstance(content, str) else "".join(line.replace("|", "\t") + "\n" for line in content)
        (root / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())


def brat(*folders: str) -> Files:
    return {
        f"{folder}/{stem}.{kind}": content
        for number, folder in enumerate(folders)
        for stem in (f"d{number}a", f"d{number}b")
        for kind, content in (
            ("txt", f"Fièvre de {stem}."),
            ("ann", "T1\tDISO 0 6\tFièvre\n#1\tAnnotatorNotes T1\tC0015967\nR1\tScope Arg1:T1 Arg2:T1\n"),
        )
    }


def casimedicos(part: str, numbers: Iterable[int]) -> Files:
    """Tabs after each tag; now and then a space in their place, and one at the end of the line."""
    lines = ["QUESTION|O||", "TYPE:|O||", "CARDIOLOGIA|O||", "", "CLINICAL|O||", "CASE:|O||", ""]
    case = ["Asma|B-Premise|HighQuality|", "grave|I-Premise|HighQuality|", "{}.|I-Premise|HighQuality|", ""]
    answer = ["RISPOSTA|O||", "CORRETTA:|O||", "2|O||", "", "Atlas O ", "clinico.|O||", ""]
    return {
        f"tasks/casimedicos_arg/IT/{part}.tsv": [line.format(n) for n in numbers for line in (*lines, *case, *answer)]
    }


def e3c(numbers: Iterable[int]) -> str:
    """Sentences, each a document."""
    return "".join(f"dolore B-ety\naddome I-ety\n, O\n{n} O\n. O\n\n" for n in numbers)


def json_of(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def cues(corpus: str, count: int) -> Files:
    """Sentences 0, 4, 8 have a negation, 0, 2, 4 a speculation."""

    def lines(cued: Callable[[int], bool], kind: str) -> str:
        marks = (f"B_cue_{kind}\t_", "_\tB_xcope_inc", "_\tI_xcope_inc_", "_\t_", "_\t_")
        words = (("Pas", "ADV"), ("de", "PRP"), ("toux", "NOM"), ("100\t000", "NUM"))
        return "\n".join(
            "".join(
                f"{n}\t{i}\t{word}\t{word}\t{tag}\t{marks[i] if cued(n) else '***'}\n"
                for i, (word, tag) in enumerate((*words, (str(n), "NUM")))
            )
            for n in range(count)
        )

    folder = f"tasks/cas_essai/corpora/{corpus}"
    return {
        f"{folder}_neg.txt": lines(lambda n: n % 4 == 0, "neg"),
        f"{folder}_spec.txt": lines(lambda n: n % 2 == 0, "spec"),
    }


def clister(part: str) -> Files:
    return {
        f"tasks/clister/{part}.csv": [
            "id_1|id_2|sim", *(f"{part}_{n}_s1|{part}_x{n}_s2|{n % 6}" for n in range(30))
        ],
        f"tasks/clister/id_to_sentence_{part}.json": json_of(
            {f"{part}_{k}{n}": f"Toux {part} {k}{n}" for n in range(30) for k in ("", "x")}
        ),
    }  # fmt: skip


def deft(part: str) -> Files:
    pairs = "".join(
        f'<paire id="{n}" vote="1" moy="{n % 6}.0" scores="1,1"><source>Toux {part} {n}</source>'
        f"<cible>Fièvre {part} {n} &amp; toux</cible></paire>"
        for n in range(-1, 30)
    )
    return {f"tasks/deft2020/t1-{part}.xml": f'<?xml version="1.0"?><doc>{pairs}</doc>'}


def parhaf(name: str, part: str, count: int) -> Files:
    """Two tables in Parquet; every second document has a span."""
    folder = f"tasks/{name}/data"
    reports = [f"{part}{n}" for n in range(count)]
    texts = pa.table({"report": reports, "full_text": [f"Mme Petit {n}." for n in reports]})
    spans = pa.table(
        {
            "report": reports[::2], "begin": [0] * len(reports[::2]), "end": [9] * len(reports[::2]),
            "span_text": ["Mme Petit"] * len(reports[::2]), "span_type": ["Nom"] * len(reports[::2]),
        }
    )  # fmt: skip
    return {
        f"{folder}/document_metadata/document_metadata_{part}.parquet": parquet(texts),
        f"{folder}/spans/spans_{part}.parquet": parquet(spans),
    }


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def squad(file: str, numbers: range) -> Files:
    questions = [
        {"id": n, "question": f"Was {n}?", "answers": [{"answer_id": n, "text": "Husten", "answer_start": 4}]}
        for n in numbers
    ]
    data = [{"paragraphs": [{"context": f"Der Husten {q['id']}", "document_id": 1, "qas": [q]}]} for q in questions]
    return {file: json_of({"data": data, "version": 1})}


def cas_json(number: int) -> str:
    phi = {"%ID": 3, "%TYPE": "webanno.custom.PHI", "@sofa": 1, "begin": 5, "end": 11, "kind": "NAME_PATIENT"}
    sofa = {"%ID": 1, "%TYPE": "uima.cas.Sofa", "sofaID": "_InitialView", "sofaString": f"Frau Müller {number}"}
    return json_of({"%TYPES": {}, "%FEATURE_STRUCTURES": [sofa, phi, {**phi, "%ID": 4, "kind": None}]})


BRONCO = "".join(
    f"<document><id>{n}</id><passage><offset>0</offset><text>Gabe von Aspirin {n}</text>"
    '<annotation id="1"><infon key="file">f</infon><infon key="type">MEDICATION</infon>'
    '<location offset="9" length="7"/><text>Aspirin</text></annotation></passage></document>'
    for n in range(1, 6)
)
LIVINGNER = "filename|mark|label|off0|off1|span|isH|isN|iscomplex"


def diamed(part: str, count: int) -> Files:
    rows: list[dict[str, object]] = [
        {"identifier": f"{part}{n}", "title": "t", "clinical_case": f"Cas {part} {n}", "icd-10": "C00-D49  Neoplasms"}
        for n in range(count)
    ]
    rows.append({"identifier": f"{part}x", "clinical_case": "Deux cas", "icd-10": "Plusieurs cas cliniques"})
    rows.append({"identifier": f"{part}y", "clinical_case": "Un cas", "icd-10": float("nan")})
    return {f"tasks/diamed/splits/{part}.json": json_of(rows)}


def clef(part: str, listed: dict[str, Iterable[int]], documents: str, codes: str) -> Files:
    folder = f"tasks/clef_ehealth_2019/{part}"
    ids = [n for of in listed.values() for n in of]
    return {
        **{f"{folder}/ids_{name}.txt": "".join(f"{n}\n" for n in of) for name, of in listed.items()},
        **{f"{folder}/{documents}/{n}.txt": f"Versuch {n}" for n in ids},
        f"{folder}/anns_{codes}.txt": "".join(f"{n}\tII|C00-C97\n" for n in ids if n % 3),
    }


def i2b2(folder: str, texts: str, name: str) -> Files:
    concept = 'c="chest pain" 2:1 2:2||t="problem"\n'
    return {f"{folder}/{name}.con": concept, f"{texts}/{name}.txt": f"Admission Date :\nsevere Chest pain {name}\n"}


def mednli(part: str) -> Files:
    row = {"pairID": f"{part}1", "gold_label": "entailment", "sentence1": f"He coughs {part}.", "sentence2": "Ill."}
    return {f"tasks/mednli/mli_{part}_v1.jsonl": json_of(row) + "\n"}


def question(number: int, kind: str) -> dict[str, object]:
    snippets = [*_SNIPPETS, {"text": f"It is {number}."}]
    own: dict[str, object] = {"id": f"{kind}{number}", "type": kind, "body": f"Does {number} help?"}
    return {**own, "snippets": snippets, "exact_answer": "yes", "ideal_answer": ["Yes."]}


_GERMANQUAD = "tasks/germanquad/GermanQuAD/GermanQuAD"
_RADQA, _EX4CDS = "tasks/radqa_de", "tasks/ex4cds/Ex4CDS_finalAnnotation/finalAnnotation/2"
_I2B2 = "tasks/i2b2_2010"
_TRAIN = f"{_I2B2}/concept_assertion_relation_training_data"
_E3C_IT = "tasks-nc/e3c_clinical_entities/clinical_entities/layer1/Italian"
_QUAERO = "tasks/quaero/QUAERO_FrenchMed/corpus"
_SNIPPETS = [{"text": "Aspirin helps.", "document": "d"}] * 2


def linking(table: str, head: str, cells: str) -> Files:
    """A mention with a code in each of the short texts."""
    return {f"tasks/{table}": [head, *(f"d{n}|{cells.format(195967001)}" for n in range(15))]}


def gazetteer(path: str) -> Files:
    return {
        f"tasks/{path}": [
            "code|language|term|semantic_tag|mainterm", "195967001|es|asma|disorder|1", "49727002|es|tos|finding|1"
        ]
    }  # fmt: skip


def words(*tags: str) -> tuple[Span, ...]:
    """Of "Pas de toux 100 000 NN", the sentences of `cues` with a number of two digits."""
    places = ((0, 3), (4, 6), (7, 11), (12, 19), (20, 22))
    return tuple(Span.of(*place, tag) for place, tag in zip(places, tags, strict=True))


SHORT = {f"d{n}.txt": f"Asma {n}" for n in range(15)}
_DISTEMIST = "filename|mark|label|off0|off1|span|code|semantic_rel"
_LINKED = "filename|label|start_span|end_span|text|code|sem_rel|is_abbrev|is_composite|need_context"
_PROCEDURE = "PROCEDIMIENTO|0|4|Asma|{}|EXACT|False|False|False"
_SYMPTEMIST = "symptemist_train/subtask2-linking/symptemist_tsv_train_subtask2_complete.tsv"

# By task: the files of its published layout; gold of one test document by its id, or of any.
LAYOUTS: dict[str, tuple[Files, Gold]] = {
    "quaero_emea": (brat(*(f"{_QUAERO}/{p}/EMEA" for p in ("train", "dev", "test"))), (Span.of(0, 6, "DISO"),)),
    "quaero_medline": (brat(*(f"{_QUAERO}/{p}/MEDLINE" for p in ("train", "dev", "test"))), (Span.of(0, 6, "DISO"),)),
    "cas": (cues("CAS", 120), "neutral"),
    "essai": (cues("ESSAI", 120), "negation_speculation"),
    **{
        f"{corpus}_{unit}": (cues(corpus.upper(), 120), gold)
        for corpus in ("cas", "essai")
        for unit, gold in (
            ("pos", words("ADV", "PRP", "NOM", "NUM", "NUM")),
            ("negation", words("cue", "scope", "scope", "O", "O")),
            ("speculation", words("cue", "scope", "scope", "O", "O")),
        )
    },
    "clister": (clister("train") | clister("test"), 3.0),
    "deft2020_similarity": (deft("train") | deft("test"), 4.0),
    "deft2021": (
        {
            **{f"tasks/deft2021/DEFT-cas-cliniques/f{n}.txt": f"Cas {n}" for n in range(30)},
            **{f"tasks/deft2021/DEFT-cas-cliniques/f{n}.ann": "T1\tsosy 0 3\tCas\n" for n in range(30)},
            "tasks/deft2021/evaluations/ref-train-deft2021.txt": [
                *(f"f{n}.ann|tumeur|cancer" for n in range(20)), *(f"f{n}.ann|femme|Mme" for n in range(20))
            ],
            "tasks/deft2021/evaluations/ref-test-deft2021.txt": [f"f{n}.ann|digestif|foie" for n in range(20, 30)],
            "tasks/deft2021/distribution-corpus.txt": ["f0.txt|x|y|train 2021"],
        },
        frozenset({"digestif"}),
    ),
    "diamed": (diamed("train", 4) | diamed("validation", 2) | diamed("test", 2), "C00-D49  Neoplasms"),
    "pxcorpus": (
        {
            "tasks/pxcorpus/PxSLU_conll.txt": "".join(
                f"doliprane\tB-drug\npar\tO\n{n}\tO\n\n" for n in range(200)
            ),
            "tasks/pxcorpus/seq.in": "doliprane\n",
        },
        (Span.of(0, 9, "drug"),),
    ),
    **{
        name: (parhaf(name, "train", 20) | parhaf(name, "dev", 4), (Span.of(0, 9, "Nom"),))
        for name in ("parhaf_pseudo", "parhaf_infectiology")
    },
    "ex4cds": (
        brat(*(f"{_EX4CDS}/{section}{n}" for section in ("infection", "loss") for n in range(4))),
        (Span.of(0, 6, "DISO"),),
    ),
    "radqa_de": (
        squad(f"{_RADQA}/train.json", range(40))
        | squad(f"{_RADQA}/dev.json", range(50, 60))
        | squad(f"{_RADQA}/test.json", range(100, 110)),
        (Span.of(4, 10, "ANSWER"),),
    ),
    "livingner": (
        {
            **{
                f"tasks/livingner/{p}/text-files/{p}{n}.txt": f"Paciente {n}"
                for p in ("training", "valid", "test")
                for n in range(2)
            },
            **{
                f"tasks/livingner/{p}/subtask1-NER/{t}_entities_subtask1.tsv": [
                    LIVINGNER, f"{p}0|T1|HUMAN|0|8|Paciente|True|False|False"
                ]
                for p, t in (("training", "training"), ("valid", "validation"), ("test", "test"))
            },
        },
        (Span.of(0, 8, "HUMAN"),),
    ),
    "distemist_gazetteer": (
        linking("distemist/distemist_subtrack2_training1_linking.tsv", _DISTEMIST, "T1|ENFERMEDAD|0|4|Asma|{}|EXACT")
        | {
            "tasks/distemist/distemist_subtrack2_training2_linking.tsv": [
                _DISTEMIST, "d9|T2|ENFERMEDAD|5|6|9|NOMAP|NOMAP"
            ],
            "tasks/distemist/text_files.zip": SHORT,
        }
        | gazetteer("distemist/dictionary_distemist.tsv"),
        (Span.of(0, 4, "195967001"),),
    ),
    "medprocner_gazetteer": (
        linking("medprocner/medprocner_tsv_train_subtask2.tsv.gz", _LINKED, _PROCEDURE)
        | {"tasks/medprocner/brat_train_subtask1.zip": SHORT}
        | gazetteer("medprocner/medprocner_gazetteer/gazzeteer_medprocner_v1_noambiguity.tsv"),
        (Span.of(0, 4, "195967001"),),
    ),
    "symptemist_gazetteer": (
        linking(f"symptemist/{_SYMPTEMIST}", _LINKED, "SINTOMA|0|4|Asma|{}|EXACT|False|False|False")
        | {"tasks/symptemist/brat_train.zip": SHORT}
        | gazetteer("symptemist/symptemist_gazetteer/symptemist_gazetter_snomed_ES_v2.tsv"),
        (Span.of(0, 4, "195967001"),),
    ),
    "ct_ebm_sp": (
        brat(*(f"tasks/ct_ebm_sp/{p}/{s}" for p in ("train", "dev", "test") for s in ("abstracts", "eudract"))),
        (Span.of(0, 6, "DISO"),),
    ),
    "nubes": (brat(*(f"tasks/nubes/NUBes/SAMPLE-{n:03}" for n in range(1, 11))), (Span.of(0, 6, "DISO"),)),
    "socialdisner": (
        {
            **{
                f"tasks/socialdisner/train-valid-txt-files/{p}/{k}{n}.txt": f"tengo asma {n}"
                for p, k, count in (("training", 1, 30), ("validation", 2, 5))
                for n in range(count)
            },
            "tasks/socialdisner/mentions.tsv": [
                "tweets_id|begin|end|type|extraction",
                *(f"{k}{n}|6|10|ENFERMEDAD|asma" for k, count in ((1, 30), (2, 5)) for n in range(count)),
            ],
        },
        (Span.of(6, 10, "ENFERMEDAD"),),
    ),
    "casimedicos_it": (
        casimedicos("train", range(20, 40)) | casimedicos("dev", range(40, 44)) | casimedicos("test", range(50, 60)),
        (Span.of(42, 56, "Premise"),),
    ),
    "e3c_clinical_it": (
        {f"{_E3C_IT}/train.txt": e3c(range(20, 40)), f"{_E3C_IT}/test.txt": e3c(range(50, 60))},
        (Span.of(0, 13, "ety"),),
    ),
    "grascco": (
        {f"tasks/grascco/grascco_phi_annotation_json/d{n}.json": cas_json(n) for n in range(12)},
        (Span.of(5, 11, "NAME_PATIENT"),),
    ),
    "bronco150": (
        {"tasks/bronco150/bioCFiles/BRONCO150.xml": f"<collection><source>s</source>{BRONCO}</collection>"},
        (Span.of(9, 16, "MEDICATION"),),
    ),
    "clef_ehealth_2019": (
        clef("train_dev", {"training": range(20), "development": range(20, 24)}, "docs-training", "train_dev")
        | clef("test", {"test": range(30, 36)}, "docs", "test"),
        frozenset({"II", "C00-C97"}),
    ),
    "germanquad": (
        squad(f"{_GERMANQUAD}_train.json", range(40)) | squad(f"{_GERMANQUAD}_test.json", range(100, 110)),
        (Span.of(4, 10, "ANSWER"),),
    ),
    "gad": (
        {
            "tasks/gad/GAD/1/train.tsv": [f"@GENE$ and @DISEASE$ {n}|{n % 2}" for n in range(30)],
            "tasks/gad/GAD/1/test.tsv": [
                "index|sentence|label", *(f"{n}|@GENE$, not @DISEASE$ {n}|1" for n in range(5))
            ],
        },
        "1",
    ),
    "ddi": (
        brat(*(f"tasks/ddi/DDICorpusBrat/{p}/{s}" for p in ("Train", "Test") for s in ("DrugBank", "MedLine"))),
        (Span.of(0, 6, "DISO"),),
    ),
    "bioasq_yesno": (
        {
            "tasks/bioasq/training.json": json_of(
                {"questions": [question(n, kind) for n in range(40) for kind in ("yesno", "summary")]}
            )
        },
        "yes",
    ),
    "i2b2_2010": (
        {
            key: value
            for n in range(12)
            for key, value in i2b2(f"{_TRAIN}/beth/concept", f"{_TRAIN}/beth/txt", f"record-{n}").items()
        }
        | i2b2(f"{_I2B2}/reference_standard_for_test_data/concepts", f"{_I2B2}/test_data", "0001"),
        (Span.of(24, 34, "problem"),),
    ),
    "mednli": (mednli("train") | mednli("dev") | mednli("test"), "entailment"),
}  # fmt: skip
