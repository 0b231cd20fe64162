"""`prove_sites`: whether what is read under the name of a site is the tensor of that name, without a corpus or a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from actlas.errors import CapturePointNotFound
from actlas.extract.backends.base import BackendSettings, Capture
from actlas.extract.backends.registry import get_backend
from actlas.extract.checkpoints.resolve import resolve_models
from actlas.extract.run.prepare import Models
from actlas.extract.sites.resolve import parse_sites
from actlas.names import ComputeDtype

if TYPE_CHECKING:
    from actlas.extract.backends.hf.backend import HfBackend

#: Columns of the answer, and with them of table `site_proofs`.
_SCHEMA = {
    "checkpoint": pl.String(),
    "architecture": pl.String(),
    "compute_dtype": pl.String(),
    "site": pl.String(),
    "proof": pl.String(),
    "layer": pl.Int32(),
    "figure": pl.Float64(),
    "allowed": pl.Float64(),
    "is_proved": pl.Boolean(),
}


def prove_sites(
    models: Models,
    *,
    sites: Sequence[str] = (),
    compute_dtype: Literal["auto", ComputeDtype] = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
) -> pl.DataFrame:
    """Prove numerically, on a few tokens, that every site of a model is the tensor that its name says.

    Args:
        models: Local folders, folders of step folders, hub ids with an optional ``@revision``.
        sites: Sites to prove, also such as are named by hand ("mlp_hidden=path.{layer}.module:input"); all of the family if none
            are given.
        compute_dtype: What the models compute in; "auto" is float32 on the CPU, the checkpoint's own elsewhere.
        device: "cpu", "cuda", "cuda:1", or "auto".
        trust_remote_code: Whether code that a checkpoint brings along may run.

    Returns:
        A row per checkpoint, site and proof, with the layer where it holds least, its `figure` (a relative error, or a count),
        the figure that rounding explains (`allowed`), and whether it `is_proved`.

    Raises:
        CapturePointNotFound: If an architecture is in no family, or a family has no such site.
        ModelNotSupported: If a model has no one value per token and neuron, such as a mixture of experts.
        NotFiniteValues: If a model gives NaN or infinity.
        ModelNotLoaded: If a checkpoint is not there or not in safetensors.

    Example:
        >>> from actlas.testing import random_checkpoint
        >>> proofs = prove_sites(random_checkpoint(folder / "tiny"), device="cpu")
        >>> proofs["is_proved"].all()
        True
        >>> sorted(set(proofs["site"]))
        ['attn_out', 'attn_qkv', 'embed', 'mlp_hidden', 'mlp_out', 'mlp_pre', 'mlp_up', 'resid']
    """
    names, by_hand = parse_sites(list(sites))
    settings = BackendSettings(device=device, compute_dtype=compute_dtype, trust_remote_code=trust_remote_code)
    backend: HfBackend = get_backend("hf", settings)  # type: ignore[assignment]
    rows: list[tuple[Any, ...]] = []
    for checkpoint in resolve_models(models, list_revisions=backend.revisions):
        located = backend.locate(checkpoint)
        session = backend.open(located, Capture(names or ("resid",), site_modules=by_hand, dtype="float32"))
        try:
            proofs = session.prove(is_full=True)
        finally:
            session.close()
        if not proofs:
            raise CapturePointNotFound(f"{located.architecture} is in no family, so that there is nothing to prove its sites by")
        about = checkpoint.id, located.architecture, located.compute_dtype
        rows += [
            (*about, each.site, each.proof, each.layer, each.figure, each.allowed, each.is_proved)
            for each in proofs
            if not names or each.site in names
        ]
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")
