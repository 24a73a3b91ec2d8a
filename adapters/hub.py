"""Whether a model that is no folder can be had from the Hugging Face hub: asked once, before the libraries try."""

from difflib import get_close_matches
from pathlib import Path

from huggingface_hub import HfApi, constants, try_to_load_from_cache
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
from medlingua.languages.errors import InputError, reason

_SECONDS = 5.0  # for the hub's answer
_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")


def check_reachable(base: str, revision: str | None) -> None:
    """InputError unless `base` is a folder, a model in the hub's cache, or one that the hub has.

    One request of a few seconds at most: from_pretrained asks for many files, and for each of them again and again
    where there is no network.
    """
    if Path(base).exists():
        return
    if base.count("/") > 1 or base.startswith((".", "/", "~")):
        raise InputError(f"model folder {base} does not exist{_near(Path(base))}")
    try:
        if any(isinstance(try_to_load_from_cache(base, name, revision=revision), str) for name in _FILES):
            return
        if constants.HF_HUB_OFFLINE:
            raise InputError(_unavailable(base, "the hub was not asked, because HF_HUB_OFFLINE is set"))
        HfApi().model_info(base, revision=revision, timeout=_SECONDS)
    except InputError:
        raise
    except HFValidationError as error:
        raise InputError(f"model folder {base} does not exist{_near(Path(base))}") from error
    except GatedRepoError as error:
        raise InputError(
            f"model '{base}': the hub gives it to those alone who have accepted its terms at "
            f"{constants.ENDPOINT}/{base}: accept them, then run 'hf auth login'"
        ) from error
    except RevisionNotFoundError as error:
        raise InputError(
            f"model '{base}': the hub has no revision '{revision}' of it; correct or leave it out"
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(
            _unavailable(base, "the hub has no such model, or none that it shows without 'hf auth login'")
        ) from error
    except Exception as error:  # whatever a network, a proxy or a mirror does
        raise InputError(_unavailable(base, f"the hub did not answer ({reason(error)})")) from error


def _unavailable(base: str, why: str) -> str:
    return (
        f"model '{base}': there is no folder {base} here{_near(Path(base))}, and {why}: give a folder with a "
        "model, or the name that its page on the hub shows (owner/name); without a network, fetch it where there is "
        f"one: adapt fetch --data ROOT --model {base}"
    )


def _near(folder: Path) -> str:
    """The folder beside it whose name is the nearest."""
    place = folder.expanduser().parent
    names = [entry.name for entry in place.iterdir() if entry.is_dir()] if place.is_dir() else []
    close = get_close_matches(folder.name, names, n=1, cutoff=0.7)
    return f" (did you mean {folder.with_name(close[0])}?)" if close else ""
