"""`planted_model`: the series of checkpoints of a plan, in folders that any code which reads GPT-2 can load."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from actlas.testing.planted_gpt2.plan import N_HEADS, N_HIDDEN, N_LAYERS, N_POSITIONS, WIDTH, ModelPlan
from actlas.testing.planted_gpt2.weights import weights_of
from actlas.testing.planted_gpt2.words import vocabulary, write_tokenizer


def planted_model(folder: Path | str, plan: ModelPlan | None = None) -> Path:
    """Write a series of GPT-2 checkpoints with written weights, one folder per step.

    A word's embedding says which concept it names. Block 0 finds the language of the last word, the MLP of block 1 detects
    concepts, the attention of block 2 carries the concept of the last noun to every later token, the MLP of block 3 has the
    neurons of languages, and the head says: the kind of word that the grammar wants, of that concept, in that language. All other
    weights are random, of one seed: checkpoints differ in the detectors of block 1 alone. Detectors answer to ``<pad>`` more than
    to any word, and almost as much to ``<s>``, the full stop and words that have to do with a concept, so that a wrong pooling
    shows.

    Args:
        folder: Folder to write to; its name becomes that of the model.
        plan: What to plant; None for the plan with default values.

    Returns:
        The folder, with one folder per step (``step-64``).

    Example:
        >>> sorted(path.name for path in planted_model(folder / "planted").iterdir())
        ['step-0', 'step-128', 'step-64']
    """
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    plan, folder = plan or ModelPlan(), Path(folder)
    tokens = vocabulary()
    ids = {token.kind: number for number, token in enumerate(tokens)}
    config = GPT2Config(
        vocab_size=len(tokens),
        n_positions=N_POSITIONS,
        n_embd=WIDTH,
        n_layer=N_LAYERS,
        n_head=N_HEADS,
        n_inner=N_HIDDEN,
        activation_function="relu",
        tie_word_embeddings=False,
        bos_token_id=ids["start"],
        eos_token_id=ids["end"],
        pad_token_id=ids["pad"],
    )
    with torch.random.fork_rng(devices=[]):
        model = GPT2LMHeadModel(config)
    for step in plan.steps:
        weights = {name: torch.from_numpy(array.astype(np.float32)) for name, array in weights_of(plan, step).items()}
        model.load_state_dict(weights)
        model.save_pretrained(folder / f"step-{step}")
        write_tokenizer(folder / f"step-{step}")
    return folder
