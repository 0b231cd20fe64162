"""What the kernels are compared with, each written as well as its library allows, and the values and labels they are run on.

Every peer takes values "neurons texts" in numpy and labels "texts concepts" and returns float64 "neurons concepts"; those of
torchmetrics take ranks instead of values, and what they return was computed in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import numpy as np
import torch
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

SHAPES = ("gaussian", "gelu", "relu90", "ties")


def make_values(shape: str, n_neurons: int, n_texts: int, dtype: str, seed: int = 0) -> np.ndarray:
    """Random values; bfloat16 comes as its bits in uint16."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_neurons, n_texts), dtype=np.float32)
    if shape == "gelu":
        x = x / (1 + np.exp(-1.702 * x))
    elif shape == "relu90":
        x = np.maximum(x - np.float32(1.2816), 0)  # the 90 % point of a Gaussian
    elif shape == "ties":
        x = np.round(x * 4) / 4
    if dtype == "bfloat16":
        return torch.from_numpy(x).bfloat16().view(torch.int16).numpy().view(np.uint16)
    return x.astype(dtype)


def make_labels(n_texts: int, n_concepts: int, prevalence: float, seed: int = 1) -> np.ndarray:
    """Independent labels; every concept has at least one positive and one negative."""
    is_concept = np.random.default_rng(seed).random((n_texts, n_concepts)) < prevalence
    is_concept[0], is_concept[1] = True, False
    return is_concept


def as_numbers(values: np.ndarray) -> np.ndarray:
    """Floats that any library can sort: bfloat16 becomes float32."""
    if values.dtype == np.uint16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values


def order_keys(values: np.ndarray) -> np.ndarray:
    """Integers in the order of the values, -0.0 with 0.0; int16 for 16-bit values: torch sorts those fastest."""
    bits = values.view(np.int16 if values.itemsize == 2 else np.int32)
    lowest = np.iinfo(bits.dtype).min
    return np.where(bits < 0, lowest - bits, bits)


def sklearn_loop(values: np.ndarray, is_concept: np.ndarray, score: Callable[..., float] = average_precision_score) -> np.ndarray:
    """The loop that published scripts run."""
    x = as_numbers(values).astype(np.float64)
    return np.array([[score(y, row) for y in is_concept.T] for row in x])


def sklearn_auroc(values: np.ndarray, is_concept: np.ndarray) -> np.ndarray:
    """The same loop for AUROC."""
    return sklearn_loop(values, is_concept, roc_auc_score)


def numpy_positives(values: np.ndarray, is_concept: np.ndarray) -> np.ndarray:
    """One sort per neuron for all concepts, then positives only."""
    n_neurons, n_texts = values.shape
    keys = -order_keys(values).astype(np.int64)
    packed = keys * (1 << 31) + np.arange(n_texts)
    packed.sort(axis=1)
    ranked, text = packed >> 31, packed & ((1 << 31) - 1)
    is_end = np.ones(values.shape, bool)
    np.not_equal(ranked[:, 1:], ranked[:, :-1], out=is_end[:, :-1])
    end = np.where(is_end, np.arange(1, n_texts + 1, dtype=np.int32), np.int32(n_texts))
    end = np.minimum.accumulate(end[:, ::-1], axis=1)[:, ::-1]
    n_at_least = np.empty(values.shape, np.int32)
    np.put_along_axis(n_at_least, text, end, axis=1)
    scores = np.empty((n_neurons, is_concept.shape[1]))
    for concept, y in enumerate(is_concept.T):
        n = np.sort(n_at_least[:, np.flatnonzero(y)], axis=1)
        is_last = np.ones(n.shape, bool)
        np.not_equal(n[:, 1:], n[:, :-1], out=is_last[:, :-1])
        n_found = np.where(is_last, np.arange(1, n.shape[1] + 1), n.shape[1])
        n_found = np.minimum.accumulate(n_found[:, ::-1], axis=1)[:, ::-1]
        scores[:, concept] = (n_found / n).mean(1)
    return scores


def _torch_ends(sortable: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Per rank: the text, and 1 + the last rank of its group of ties."""
    ranked, text = torch.sort(sortable, dim=1, descending=True)
    n_texts = ranked.shape[1]
    is_end = torch.ones(ranked.shape, dtype=torch.bool)
    torch.ne(ranked[:, 1:], ranked[:, :-1], out=is_end[:, :-1])
    end = torch.where(is_end, torch.arange(1, n_texts + 1, dtype=torch.int32), n_texts)
    return text, end.flip(1).cummin(1).values.flip(1)


def _torch_positives(n_at_least: torch.Tensor, is_concept: np.ndarray) -> np.ndarray:
    scores = torch.empty((n_at_least.shape[0], is_concept.shape[1]), dtype=torch.float64)
    for concept, y in enumerate(is_concept.T):
        n = n_at_least[:, torch.from_numpy(np.flatnonzero(y))].sort(dim=1).values
        n_found = torch.searchsorted(n, n, right=True, out_int32=True)
        scores[:, concept] = (n_found / n.double()).mean(1)
    return scores.numpy()


def torch_plain(values: np.ndarray, is_concept: np.ndarray) -> np.ndarray:
    """One torch.sort of the values as they are, then positives only: what one writes first."""
    short = (
        torch.from_numpy(values.view(np.int16)).view(torch.bfloat16) if values.dtype == np.uint16 else torch.from_numpy(values)
    )
    text, end = _torch_ends(short)
    return _torch_positives(torch.empty_like(end).scatter_(1, text, end), is_concept)


def torch_positives(values: np.ndarray, is_concept: np.ndarray) -> np.ndarray:
    """The same on integer keys, which torch sorts faster than 16-bit floats."""
    text, end = _torch_ends(torch.from_numpy(order_keys(values)))
    return _torch_positives(torch.empty_like(end).scatter_(1, text, end), is_concept)


def torch_counting(values: np.ndarray, is_concept: np.ndarray) -> np.ndarray:
    """No sort: texts per distinct 16-bit value, summed from the top, then positives only."""
    keys = torch.from_numpy(-order_keys(values).astype(np.int64) + (1 << 15))
    counts = torch.zeros((len(keys), 1 << 16), dtype=torch.int32)
    counts.scatter_add_(1, keys, torch.ones((1, 1), dtype=torch.int32).expand(keys.shape))
    return _torch_positives(counts.cumsum(1, dtype=torch.int32).gather(1, keys), is_concept)


def torch_dense(values: np.ndarray, is_concept: np.ndarray) -> np.ndarray:
    """One torch.sort per neuron, then labels in rank order and their running sums: the usual formulation."""
    text, end = _torch_ends(torch.from_numpy(order_keys(values)))
    labels = torch.from_numpy(np.ascontiguousarray(is_concept.T)).to(torch.int32)
    scores = torch.empty((len(text), len(labels)), dtype=torch.float64)
    place = (end - 1).long()
    weight = 1.0 / end.double()
    for concept, y in enumerate(labels):
        ranked = y[text]
        n_found = ranked.cumsum(1, dtype=torch.int32).gather(1, place)
        scores[:, concept] = (ranked * n_found * weight).sum(1) / y.sum()
    return scores.numpy()


def unit_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks within (0, 1], float32, ties kept: torchmetrics puts other numbers through a sigmoid, which ties what differs.

    Two ranks of one neuron stay apart up to some millions of texts. This is made outside what is timed.
    """
    return (rankdata(as_numbers(values), axis=1) / values.shape[1]).astype(np.float32)


def torchmetrics_loop(ranks: np.ndarray, is_concept: np.ndarray, score: str = "average_precision") -> np.ndarray:
    """torchmetrics, one call per neuron and concept, on `unit_ranks`."""
    from torchmetrics.functional import classification

    binary = getattr(classification, f"binary_{score}")
    rows, labels = torch.from_numpy(ranks), torch.from_numpy(is_concept.T.astype(np.int64))
    return np.array([[binary(row, y, validate_args=False).item() for y in labels] for row in rows])


def torchmetrics_multilabel(ranks: np.ndarray, is_concept: np.ndarray, score: str = "average_precision") -> np.ndarray:
    """torchmetrics, one call per concept, in which every neuron stands as a label of its own, on `unit_ranks`."""
    from torchmetrics.functional import classification

    multilabel = getattr(classification, f"multilabel_{score}")
    # stored "neurons texts" and seen as "texts neurons": each neuron is sorted alone, from memory that lies together
    predicted, labels = torch.from_numpy(ranks).T, torch.from_numpy(is_concept.astype(np.int64))
    scores = np.empty((len(ranks), is_concept.shape[1]))
    for concept in range(labels.shape[1]):
        target = labels[:, concept : concept + 1].expand(-1, len(ranks))
        n_found = multilabel(predicted, target, num_labels=len(ranks), average="none", validate_args=False)
        scores[:, concept] = n_found.numpy()
    return scores


def torch_auroc(values: np.ndarray, is_concept: np.ndarray) -> np.ndarray:
    """AUROC from mid-ranks by one torch.sort per neuron on integer keys, all concepts in one matrix product."""
    text, end = _torch_ends(torch.from_numpy(order_keys(values)))
    n_texts = end.shape[1]
    first = torch.zeros_like(end)
    first[:, 1:] = torch.where(end[:, 1:] != end[:, :-1], end[:, :-1], torch.zeros((), dtype=end.dtype))
    middle = (first.cummax(1).values + end).double()
    ranks = torch.empty_like(middle).scatter_(1, text, middle)
    n = torch.from_numpy(is_concept.sum(0))
    positives = ranks @ torch.from_numpy(is_concept.astype(np.float64))
    return (1 - (positives - n * n) / (2 * n * (n_texts - n))).numpy()


def scipy_auroc(values: np.ndarray, is_concept: np.ndarray) -> np.ndarray:
    """AUROC from scipy's mid-ranks, all concepts in one matrix product."""
    ranks = rankdata(as_numbers(values), axis=1)
    n = is_concept.sum(0)
    return (ranks @ is_concept.astype(np.float64) - n * (n + 1) / 2) / (n * (len(is_concept) - n))


Peer = Callable[[np.ndarray, np.ndarray], np.ndarray]
AP_PEERS: dict[str, Peer] = {
    "scikit-learn loop": sklearn_loop,
    "numpy positives": numpy_positives,
    "torch plain": torch_plain,
    "torch positives": torch_positives,
    "torch counting": torch_counting,
    "torch dense": torch_dense,
}
AUROC_PEERS: dict[str, Peer] = {"scikit-learn loop": sklearn_auroc, "scipy ranks": scipy_auroc, "torch ranks": torch_auroc}
TORCHMETRICS_PEERS = ("torchmetrics loop", "torchmetrics multilabel")
if find_spec("torchmetrics"):
    for _peers, _score in ((AP_PEERS, "average_precision"), (AUROC_PEERS, "auroc")):
        _peers["torchmetrics loop"] = partial(torchmetrics_loop, score=_score)
        _peers["torchmetrics multilabel"] = partial(torchmetrics_multilabel, score=_score)
PEERS = {"ap": AP_PEERS, "auroc": AUROC_PEERS}
#: Peers that are compared with every neuron; the others are with as many as they are timed on.
WHOLE = ("numpy positives", "scipy ranks")
#: Peers whose time is the same for each concept, and long: they are given a few concepts.
PER_CONCEPT = ("scikit-learn loop", *TORCHMETRICS_PEERS)
TORCH_PEERS = ("torch plain", "torch positives", "torch counting", "torch dense", "torch ranks")
