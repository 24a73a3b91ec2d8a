"""medlingua: adapt encoder language models to long biomedical and clinical text in French, Spanish and German.

The names below are the Python API. They are loaded when they are first used, so that `import medlingua` takes no
time and imports neither torch nor transformers. Everything else is reached by its room (`medlingua.adapters`, ...)
and may change from one version to the next.

>>> import medlingua
>>> medlingua.known_languages()
('de', 'en', 'es', 'fr', 'it')
>>> medlingua.load_pack("fr").name
'français'
>>> encoder = medlingua.load_model("clinical-bert")
>>> long = medlingua.convert_to_longformer(encoder, length=512, window=64)
>>> medlingua.save_model(long, "clinical-longformer")
>>> medlingua.load_model("clinical-longformer").length
512
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medlingua.adapters.encoder import Encoder
    from medlingua.adapters.longformer_attention import accelerate_longformer
    from medlingua.languages.errors import InputError
    from medlingua.languages.pack import Pack, known_languages, load_pack
    from medlingua.recipes.inference.annotator import Annotation, Annotator
    from medlingua.recipes.settings import Run

    from .models import (
        convert_to_longformer,
        convert_to_rope,
        extend_vocabulary,
        load_model,
        prune_vocabulary,
        repair_vocabulary,
        replace_vocabulary,
        rescale_rope,
        save_model,
    )
    from .runs import adapt, evaluate, finetune, sweep

__version__ = "0.1.0"

__all__ = [
    "Annotation",
    "Annotator",
    "Encoder",
    "InputError",
    "Pack",
    "Run",
    "__version__",
    "accelerate_longformer",
    "adapt",
    "convert_to_longformer",
    "convert_to_rope",
    "evaluate",
    "extend_vocabulary",
    "finetune",
    "known_languages",
    "load_model",
    "load_pack",
    "prune_vocabulary",
    "repair_vocabulary",
    "replace_vocabulary",
    "rescale_rope",
    "save_model",
    "sweep",
]

_MODULES = {
    "Annotation": "medlingua.recipes.inference.annotator",
    "Annotator": "medlingua.recipes.inference.annotator",
    "Encoder": "medlingua.adapters.encoder",
    "InputError": "medlingua.languages.errors",
    "Pack": "medlingua.languages.pack",
    "Run": "medlingua.recipes.settings",
    "accelerate_longformer": "medlingua.adapters.longformer_attention",
    "adapt": f"{__name__}.runs",
    "evaluate": f"{__name__}.runs",
    "finetune": f"{__name__}.runs",
    "known_languages": "medlingua.languages.pack",
    "load_pack": "medlingua.languages.pack",
    "sweep": f"{__name__}.runs",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES.get(name, f"{__name__}.models")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
