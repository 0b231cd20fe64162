"""Weights into a model, every one of them out of the checkpoint, and what the checkpoint has too much or too little."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import transformers

from actlas.errors import CapturePointNotFound, ModelNotLoaded
from actlas.extract.backends.base import BackendSettings, LocatedCheckpoint
from actlas.extract.backends.hf.identify import in_one_line
from actlas.extract.pooling.stage import TORCH_DTYPES
from actlas.extract.sites.families import family_of
from actlas.extract.sites.resolve import SiteMap
from actlas.names import product_dtype

#: transformers puts its own functions in the place of torch's for new weights while it loads a model, in every thread.
ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class LoadedModel:
    """A model with its weights.

    Attributes:
        model: The model.
        missing_head: Path of its head where the checkpoint was saved without one, whose numbers are then made up; else empty.
        unused: Tensors of the checkpoint that the model has no place for.
    """

    model: Any
    missing_head: str = ""
    unused: tuple[str, ...] = ()

    def known_as(self, architecture: str) -> str:
        """The name under which the table of families knows it; a base model has another one than its checkpoint."""
        own = type(self.model).__name__
        return own if family_of(own) else architecture

    def why_no_loss(self, *, has_head: bool) -> str | None:
        """Why the model can predict no next token; None where it can."""
        if self.missing_head:
            return f"the checkpoint was saved without its head ({self.missing_head})"
        return None if has_head else "the model predicts no next token"


def auto_class(architecture: str) -> Any:
    """Encoders are loaded without a head: nothing that is read depends on it."""
    return transformers.AutoModelForCausalLM if _is_causal(architecture) else transformers.AutoModel


def class_settings(architecture: str) -> dict[str, Any]:
    """What `auto_class` is told beside the configuration."""
    return {} if _is_causal(architecture) else {"add_pooling_layer": False}


def _is_causal(architecture: str) -> bool:
    family = family_of(architecture)
    return family is None or family.is_causal


def arithmetic(compute_dtype: str) -> tuple[torch.dtype, torch.dtype | None]:
    """Dtype of the weights, and the one that matrix products are taken in where that is another."""
    is_cast = compute_dtype.startswith("autocast-")
    dtype = TORCH_DTYPES[product_dtype(compute_dtype)]
    return (torch.float32, dtype) if is_cast else (dtype, None)


def load_weights(located: LocatedCheckpoint, config: Any, settings: BackendSettings) -> LoadedModel:
    """The model with its weights, on the CPU.

    Raises:
        ModelNotLoaded: If a weight is missing or does not fit, where transformers alone would make one up; or if the checkpoint
            holds layers that its configuration does not mention, which transformers alone would leave out.
    """
    auto = auto_class(located.architecture)
    try:
        with ONE_AT_A_TIME, quiet():
            model, info = auto.from_pretrained(
                located.folder,
                config=config,
                dtype=arithmetic(located.compute_dtype)[0],
                use_safetensors=True,
                trust_remote_code=settings.trust_remote_code,
                local_files_only=True,
                output_loading_info=True,
                # or transformers would say that some do not fit, and not which
                ignore_mismatched_sizes=True,
                **class_settings(located.architecture),
            )
    # a setting of the wrong kind can break anything in there
    except Exception as error:
        raise ModelNotLoaded(f"{located.folder} could not be loaded: {in_one_line(error)}") from error
    for name, there, wanted in sorted(info["mismatched_keys"]):
        raise ModelNotLoaded(
            f"tensor {name} in {located.folder} has shape {tuple(there)} and its configuration asks for {tuple(wanted)}; "
            "config.json and weights are of two models"
        )
    head = _missing_head(model, located.architecture, set(info["missing_keys"]))
    missing = sorted(name for name in info["missing_keys"] if not (head and name.startswith(f"{head}.")))
    if missing:
        raise ModelNotLoaded(
            f"the weights in {located.folder} lack {len(missing)} tensors of {type(model).__name__}: "
            f"{', '.join(missing[:3])}; they would have been random"
        )
    unused = sorted(info["unexpected_keys"])
    _refuse_more_layers(located, model, int(config.get_text_config().num_hidden_layers), unused)
    if not _is_causal(located.architecture):
        # its heads are left out on purpose
        unused = [name for name in unused if name.startswith(f"{model.base_model_prefix}.")]
    return LoadedModel(model, head, tuple(unused))


def _missing_head(model: Any, architecture: str, missing: set[str]) -> str:
    """Path of the head of a model that was saved as its base model; empty where it has one or should have one."""
    head = model.get_output_embeddings()
    if head is None or architecture == type(model).__name__:
        return ""
    path = next(name for name, module in model.named_modules() if module is head)
    return path if any(name.startswith(f"{path}.") for name in missing) else ""


def _refuse_more_layers(located: LocatedCheckpoint, model: Any, n_layers: int, unused: list[str]) -> None:
    lists = [path for path, part in model.named_modules() if isinstance(part, torch.nn.ModuleList) and len(part) == n_layers]
    numbers = []
    for name in unused:
        found = re.match(r"(.+?)\.(\d+)\.", name)
        # a base model's names lack what stands before them in a model with a head
        if found is not None and any(_is_end(found[1], path) or _is_end(path, found[1]) for path in lists):
            numbers.append(int(found[2]))
    if numbers and max(numbers) >= n_layers:
        raise ModelNotLoaded(
            f"the configuration in {located.folder} says {n_layers} layers and its weights hold {max(numbers) + 1} "
            f"({unused[0]} and {len(unused) - 1} more tensors would not be used); config.json and weights are of two models"
        )


def _is_end(part: str, path: str) -> bool:
    return f".{path}".endswith(f".{part}")


def refuse_head_sites(places: SiteMap, head: str) -> None:
    """Refuse to read the head of a model that has none.

    Raises:
        CapturePointNotFound: Naming the site.
    """
    for site, points in places.points.items():
        if any(path == head or path.startswith(f"{head}.") for point in points for path in point.modules):
            raise CapturePointNotFound(f"site {site!r} reads {head}, and the checkpoint was saved without it; leave the site out")


@contextmanager
def quiet() -> Iterator[None]:
    """A run says what is wrong itself, in one line, and reports through its progress callback."""
    was_on, was_loud = transformers.logging.is_progress_bar_enabled(), transformers.logging.get_verbosity()
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity(max(was_loud, transformers.logging.ERROR))
    try:
        yield
    finally:
        transformers.logging.set_verbosity(was_loud)
        if was_on:
            transformers.logging.enable_progress_bar()
