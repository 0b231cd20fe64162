"""A checkpoint that runs: its weights are those that a store was made of, and its sites are proved when it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from actlas.errors import InterventionError, ModelNotLoaded, SiteNotProved, WeightsDiffer
from actlas.extract.backends.base import BackendSettings
from actlas.extract.backends.registry import get_backend
from actlas.extract.checkpoints.resolve import resolve_models
from actlas.extract.sites.families import family_of
from actlas.extract.sites.proofs import refuse_unproved
from actlas.names import CapturePoint, Checkpoint, Dtype, product_dtype
from actlas.query.atlas import Atlas, as_atlas
from actlas.store.store import Store
from actlas.words import listed

if TYPE_CHECKING:
    import torch

    from actlas.extract.backends.hf.backend import HfBackend
    from actlas.extract.backends.hf.tokenizer import HfTokenizer
    from actlas.extract.sites.resolve import SiteMap


@dataclass(frozen=True)
class ModuleColumns:
    """Neurons of a site in one layer that one module has: all of them, or its share where a site has several modules.

    Attributes:
        path: Of the module.
        side: "input" or "output".
        first: Number of its first neuron in the site.
        n_neurons: How many it has.
        start: Column of its first neuron in what the module takes or gives.
        width: Columns there.
    """

    path: str
    side: str
    first: int
    n_neurons: int
    start: int
    width: int


@dataclass(frozen=True)
class ProvedSites:
    """Where the sites of a loaded model are, after each was proved to be the tensor of its name.

    Attributes:
        places: Their capture points.
        columns: Site -> by layer, where its neurons are: one entry per module, in the order of the neurons.
        in_order: Modules and sides of all sites, in the order in which they run.
    """

    places: SiteMap
    columns: Mapping[str, Sequence[Sequence[ModuleColumns]]]
    in_order: tuple[tuple[str, str], ...]

    @classmethod
    def of(
        cls, model: Any, architecture: str, compute_dtype: str, device: torch.device, site_modules: Mapping[str, str]
    ) -> ProvedSites:
        """Prove the sites of a model on a few tokens.

        Args:
            model: In evaluation mode, on its device.
            architecture: The name under which its family is known.
            compute_dtype: What it computes in.
            device: Where it is.
            site_modules: Sites named by hand.

        Raises:
            SiteNotProved: If one is not the tensor of its name, or the model is of no family that says what it is.
            NotFiniteValues: If the model gives NaN or infinity.
        """
        from actlas.extract.backends.hf.backend import inference, pad_id_of
        from actlas.extract.backends.hf.loading import arithmetic
        from actlas.extract.backends.hf.proving import Prover

        family = family_of(architecture)
        if family is None:
            raise SiteNotProved(
                f"{architecture} is in no family, so that nothing proves where its sites are; only proved sites can be changed"
            )
        prover = Prover.of(
            model,
            architecture,
            family,
            compute_dtype,
            pad_id_of(model),
            device,
            has_head=model.get_output_embeddings() is not None,
            site_modules=site_modules,
        )
        with inference(device, arithmetic(compute_dtype)[1]):
            refuse_unproved(prover.prove(is_full=False), architecture, compute_dtype)
            widths = prover.widths()
        columns = {site: [_columns(point, widths) for point in points] for site, points in prover.places.points.items()}
        return cls(prover.places, columns, tuple(widths))


class LiveModel:
    """A loaded model with its sites. Made by `load_live`; a context manager that lets go of the model.

    Args:
        model: The transformers model, in evaluation mode, on `device`.
        proved: Its sites.
        checkpoint: Id of the checkpoint.
        weight_hash: Hash of its weights.
        compute_dtype: What it computes in.
        device: Where it is.
        load_tokenizer: Gives the tokenizer, as extraction uses it.

    `model`, `checkpoint`, `weight_hash`, `compute_dtype` and `device` are attributes too, and so is `n_layers`.
    """

    def __init__(
        self,
        model: Any,
        proved: ProvedSites,
        *,
        checkpoint: str,
        weight_hash: str,
        compute_dtype: str,
        device: torch.device,
        load_tokenizer: Callable[[], HfTokenizer],
    ) -> None:
        self.model = model
        self.checkpoint, self.weight_hash, self.compute_dtype, self.device = checkpoint, weight_hash, compute_dtype, device
        self.n_layers = int(model.config.get_text_config().num_hidden_layers)
        self._proved, self._load_tokenizer = proved, load_tokenizer

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.checkpoint} on {self.device}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the model; a second call does nothing.

        Example:
            >>> from actlas.testing import random_checkpoint
            >>> other = load_live(random_checkpoint(folder / "tiny"), device="cpu")
            >>> other.close()
            >>> other.model is None
            True
        """
        self.model = None
        if self.device.type == "cuda":
            import torch

            torch.cuda.empty_cache()

    @cached_property
    def tokenizer(self) -> Any:
        """The transformers tokenizer of the checkpoint; it pads on the left, as generation needs it.

        Raises:
            ModelNotLoaded: If the checkpoint has none.
        """
        tokenizer = self.text_tokenizer.tokenizer
        tokenizer.padding_side = "left"
        if tokenizer.pad_token_id is None and tokenizer.eos_token_id is not None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    @cached_property
    def text_tokenizer(self) -> HfTokenizer:
        """The same tokenizer as extraction uses it, which knows its hash.

        Raises:
            ModelNotLoaded: If the checkpoint has none.
        """
        return self._load_tokenizer()

    def inference(self) -> AbstractContextManager[None]:
        """A context in which the model runs for its outputs alone, in the arithmetic that it was loaded for.

        Returns:
            The context.

        Example:
            >>> with live.inference():
            ...     live.model(**live.tokenizer("abc", return_tensors="pt")).logits.requires_grad
            False
        """
        from actlas.extract.backends.hf.backend import inference
        from actlas.extract.backends.hf.loading import arithmetic

        return inference(self.device, arithmetic(self.compute_dtype)[1])

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites that were proved."""
        return tuple(self._proved.places.points)

    @property
    def modules_in_order(self) -> tuple[tuple[str, str], ...]:
        """Modules and sides of all proved sites, in the order in which they run."""
        return self._proved.in_order

    def points(self, site: str) -> tuple[CapturePoint, ...]:
        """Capture points of a site.

        Args:
            site: Its name.

        Returns:
            One for every layer.

        Raises:
            SiteNotProved: If the model has no such site that was proved.

        Example:
            >>> live.points("mlp_out")[1].modules
            ('model.layers.1.mlp.down_proj',)
        """
        if site not in self._proved.places.points:
            raise SiteNotProved(f"{self.checkpoint} has no proved site {site!r}; it has {listed(self.sites)}")
        return self._proved.places.points[site]

    def widths(self, site: str) -> tuple[int, ...]:
        """How many neurons a site has.

        Args:
            site: Its name.

        Returns:
            One number for every layer.

        Raises:
            SiteNotProved: If the model has no such site that was proved.

        Example:
            >>> live.widths("attn_qkv")
            (72, 72)
        """
        return tuple(sum(one.n_neurons for one in layer) for layer in self.columns(site))

    def columns(self, site: str) -> Sequence[Sequence[ModuleColumns]]:
        """Where the neurons of a site are in what modules take or give.

        Args:
            site: Its name.

        Returns:
            By layer, one entry per module, in the order of the neurons.

        Raises:
            SiteNotProved: If the model has no such site that was proved.

        Example:
            >>> [(one.path, one.first, one.n_neurons) for one in live.columns("attn_qkv")[0][:2]]
            [('model.layers.0.self_attn.q_proj', 0, 24), ('model.layers.0.self_attn.k_proj', 24, 24)]
        """
        self.points(site)
        return self._proved.columns[site]

    def takes_first(self, path: str) -> bool:
        """Whether the output of a module is a tuple of which the first entry is meant.

        Args:
            path: Of the module.

        Returns:
            True for the blocks of some families.

        Example:
            >>> live.takes_first("model.layers.0")
            False
        """
        return path in self._proved.places.takes_first


def load_live(
    store: Atlas | Store | str | Path,
    checkpoint: str | None = None,
    *,
    model: str | Path | None = None,
    device: str = "auto",
    compute_dtype: Literal["auto", Dtype] = "auto",
    tokenizer: str | None = None,
    trust_remote_code: bool = False,
) -> LiveModel:
    """Load a checkpoint to run it: the one that a store was made of, or one without a store.

    Args:
        store: A store, or the path of one; or, without a store, a model folder or a hub id with an optional ``@revision``.
        checkpoint: Which checkpoint of the store; of a folder with several, which one by its id.
        model: Folder or hub id of the checkpoint, where it is no longer where the store has it from.
        device: "cpu", "cuda", "cuda:1", or "auto".
        compute_dtype: What the model computes in; "auto" is float32 on the CPU, the checkpoint's own elsewhere.
        tokenizer: Folder or hub id of the tokenizer, where the checkpoint has none.
        trust_remote_code: Whether code that the checkpoint brings along may run.

    Returns:
        The model, whose sites were proved on a few tokens, and whose weights are the store's.

    Raises:
        WeightsDiffer: If the weights are not those that the store was made of.
        SiteNotProved: If a site of the model is not the tensor of its name, or the model is of no family that says what it is.
        InterventionError: If no checkpoint of a store is named, or the dtype is one of autocast.
        CheckpointNotFound: If the store has no such checkpoint.
        ModelNotLoaded: If the model is not there or not in safetensors.
        NotFiniteValues: If the model gives NaN or infinity.

    Example:
        >>> from actlas.testing import random_checkpoint
        >>> with load_live(random_checkpoint(folder / "tiny"), device="cpu") as live:
        ...     live.checkpoint, live.n_layers, live.widths("mlp_pre")
        ('tiny', 2, (40, 40))
    """
    if compute_dtype != product_dtype(compute_dtype):
        raise InterventionError(
            f"a live model has one dtype, and {compute_dtype} means two; load it in float32 and run it under torch.autocast"
        )
    settings = BackendSettings(
        device=device, compute_dtype=compute_dtype, trust_remote_code=trust_remote_code, tokenizer=tokenizer
    )
    backend: HfBackend = get_backend("hf", settings)  # type: ignore[assignment]
    opened = _opened(store)
    if opened is None:
        return _load(_chosen(store if model is None else model, checkpoint, backend), {}, backend)  # type: ignore[arg-type]
    if checkpoint is None:
        raise InterventionError(f"name a checkpoint of {opened.path}: it has {listed(opened.checkpoints)}")
    known = opened.checkpoint(checkpoint)
    record = opened.snapshot().checkpoints[checkpoint]
    asked = Checkpoint(checkpoint, record.model, record.step, record.revision, record.twin)
    if model is not None:
        found = _chosen(model, checkpoint, backend)
        asked = replace(asked, model=found.model, revision=found.revision)
    return _load(asked, dict(opened.recipe.site_modules), backend, known["weight_hash"], str(opened.path))


def _opened(store: Atlas | Store | str | Path) -> Store | None:
    """The store that is meant; None where it is a model."""
    if isinstance(store, Store):
        return store
    return None if Store.at(store) is None else as_atlas(store)


def _chosen(model: str | Path, checkpoint: str | None, backend: HfBackend) -> Checkpoint:
    """The one checkpoint that a folder or hub id means."""
    found = resolve_models(model, list_revisions=backend.revisions)
    named = found if len(found) == 1 else [each for each in found if each.id == checkpoint]
    if len(named) != 1:
        raise ModelNotLoaded(f"{model} holds {len(found)} checkpoints; name one: {listed([each.id for each in found])}")
    return named[0]


def _load(
    checkpoint: Checkpoint,
    site_modules: Mapping[str, str],
    backend: HfBackend,
    weight_hash: str | None = None,
    store: str = "",
) -> LiveModel:
    from actlas.extract.backends.hf.identify import load_config
    from actlas.extract.backends.hf.loading import load_weights

    try:
        located = backend.locate(checkpoint)
    except ModelNotLoaded as error:
        if not store:
            raise
        raise ModelNotLoaded(
            f"{error} (that is what {store} says of {checkpoint.id}; name where it is now as the model)"
        ) from error
    if store and located.weight_hash != weight_hash:
        raise WeightsDiffer(
            f"{located.folder} has weights {located.weight_hash[:12]}, and {store} says {str(weight_hash)[:12]} of "
            f"{checkpoint.id}; name the folder or hub id that it was extracted from"
        )
    config = load_config(located.folder, trust_remote_code=backend.settings.trust_remote_code)
    loaded = load_weights(located, config, backend.settings)
    located.check_unchanged()
    loaded.model.to(backend.device).eval()
    return LiveModel(
        loaded.model,
        ProvedSites.of(loaded.model, loaded.known_as(located.architecture), located.compute_dtype, backend.device, site_modules),
        checkpoint=checkpoint.id,
        weight_hash=located.weight_hash,
        compute_dtype=located.compute_dtype,
        device=backend.device,
        load_tokenizer=lambda: backend.tokenizer(located),
    )


def _columns(point: CapturePoint, widths: Mapping[tuple[str, str], int]) -> tuple[ModuleColumns, ...]:
    index, n_parts = point.part
    found: list[ModuleColumns] = []
    first = 0
    for path in point.modules:
        width = widths[path, point.side]
        found.append(ModuleColumns(path, point.side, first, width // n_parts, index * (width // n_parts), width))
        first += width // n_parts
    return tuple(found)
