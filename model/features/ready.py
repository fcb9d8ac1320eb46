"""Whether an extractor can run here on the images it gets, known before anything is trained."""

from importlib import import_module
from importlib.util import find_spec

from model.config import MetricsConfig
from model.errors import MissingFileError, UsageError
from model.features import vision_transformers as vit
from model.features.extractors import EXTRACTORS, check_extractor, load_network
from model.features.inception import cached_path, ensure_published


def check_range(config: MetricsConfig, *, bounded: bool, section: str = "metrics") -> None:
    """Raise UsageError if the extractor needs images in [0, 1], and theirs is not fixed.

    Args:
        config: Only its extractor is used.
        bounded: Whether pixels are confined to [0, 1].
        section: Section of the settings, for error messages.
    """
    if not (bounded or EXTRACTORS[config.extractor].takes_any_range):
        raise UsageError(
            f"{section}.extractor must be pixels for float images without a fixed range, got "
            f"{config.extractor!r}; if they lie in [0, 1], set --data.float-range unit, or save "
            "them as uint8"
        )


def check_ready(config: MetricsConfig, *, fetch: bool, section: str = "metrics") -> bool:
    """Raise an error unless the packages and weights of an extractor are here.

    Returns whether its published weights still have to be downloaded.

    Args:
        config: Only its extractor and weights are used.
        fetch: Download published weights that are missing, and load weights that the user gives.
            Otherwise nothing is downloaded or loaded, so that only the download, or a file's
            contents, can still fail.
        section: Section of the settings, for error messages.

    Raises:
        UsageError: A package is missing, or the weights are of another network.
        MissingFileError: The weights do not exist, or cannot be downloaded.
    """
    extractor = check_extractor(config, section=section)
    for module, install in extractor.packages.items():
        if find_spec(module) is None:
            raise UsageError(
                f"{section}.extractor {config.extractor} needs the package {install}, which is not "
                "installed; pip install 'collapse-sweep[all,vit]'"
            )
    if config.weights is not None:
        if fetch:
            load_network(config, "cpu")
    elif config.extractor in vit.PUBLISHED:
        _find_cached(config.extractor)
    elif config.extractor == "inception" and not cached_path().exists():
        if not fetch:
            return True
        ensure_published()
    return False


def _find_cached(extractor: str) -> None:
    """Raise MissingFileError unless the Hugging Face cache holds a published model."""
    hub = import_module("huggingface_hub")  # a dependency of transformers
    model, architecture = vit.PUBLISHED[extractor]
    if not isinstance(hub.try_to_load_from_cache(model, "config.json"), str):
        raise MissingFileError(vit.missing_model(extractor, model, architecture))
