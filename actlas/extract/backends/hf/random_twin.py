"""A random-weights twin of a checkpoint: its configuration and tokenizer, weights as before any training."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from dataclasses import replace
from pathlib import Path

import torch

from actlas.errors import ModelNotLoaded
from actlas.extract.backends.base import BackendSettings, LocatedCheckpoint
from actlas.extract.backends.hf.identify import in_one_line, load_config
from actlas.extract.backends.hf.loading import ONE_AT_A_TIME, auto_class, class_settings, quiet
from actlas.extract.checkpoints.weight_hash import INDEX_FILE

#: Kinds of files beside the weights that say what a model and its tokenizer are.
_ABOUT = (".json", ".txt", ".model", ".jinja", ".py")


def with_new_weights(source: LocatedCheckpoint, seed: int, settings: BackendSettings) -> LocatedCheckpoint:
    """The same checkpoint with the weights that its architecture begins training with.

    They are drawn on the CPU in float32, as the model's own code initialises itself, and saved in the dtype of the
    checkpoint in a temporary folder, which is removed with what is returned here. One seed gives the same weights again on
    one kind of processor with the same versions of torch and transformers.

    Args:
        source: Whose configuration and tokenizer it has.
        seed: Of the weights.
        settings: How models are run.

    Raises:
        ModelNotLoaded: If the model's code can make no new weights.
    """
    config = load_config(source.folder, trust_remote_code=settings.trust_remote_code)
    folder = Path(tempfile.mkdtemp(prefix="actlas-random-"))
    located = replace(source, folder=folder, is_download=False)
    weakref.finalize(located, shutil.rmtree, folder, ignore_errors=True)
    with ONE_AT_A_TIME, quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        saved_dtype = config.dtype or torch.float32
        try:
            model = auto_class(source.architecture).from_config(
                config,
                dtype=torch.float32,
                trust_remote_code=settings.trust_remote_code,
                **class_settings(source.architecture),
            )
            model.to(saved_dtype).save_pretrained(folder)
        # code that a checkpoint brings along can do anything
        except Exception as error:
            raise ModelNotLoaded(f"no new weights for the model in {source.folder}: {in_one_line(error)}") from error
    # last: what was written beside the weights says less than the checkpoint's own files
    for path in source.folder.iterdir():
        if path.suffix in _ABOUT and path.name != INDEX_FILE and path.is_file():
            shutil.copyfile(path, folder / path.name)
    return located
