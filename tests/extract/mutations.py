"""Mistakes that values may come with, each of which every check has to see: "layers neurons texts" to the same."""

from collections.abc import Callable

import numpy as np

#: Unit roundoff of the dtypes that models compute in.
ROUNDOFF = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}


def typical(values: np.ndarray) -> tuple[int, int]:
    """Two neurons of the first layer that are neither massive nor small."""
    order = np.argsort(np.sqrt(np.mean(values[0] ** 2, axis=1)))
    return int(order[len(order) // 2]), int(order[2 * len(order) // 3])


def _two_neurons_swapped(values, _):
    one, other = typical(values)
    values[0, [one, other]] = values[0, [other, one]]


def _all_but_the_largest_neuron_permuted(values, _):
    rows = np.delete(np.arange(values.shape[1]), np.abs(values[0]).max(axis=1).argmax())
    values[:, rows] = values[:, np.random.default_rng(0).permutation(rows)]


def _neurons_shifted_by_one(values, _):
    values[:] = np.roll(values, 1, axis=1)


def _texts_shifted_by_one(values, _):
    values[:] = np.roll(values, 1, axis=2)


def _one_language_has_the_values_of_another(values, language):
    rows = np.flatnonzero(language == language[-1])
    values[:, :, rows] = values[:, :, [int(np.flatnonzero(language != language[-1])[0])]]


def _a_layer_taken_from_the_next(values, _):
    values[0] = values[1]


def _one_neuron_with_the_other_sign(values, _):
    values[0, typical(values)[0]] *= -1


def _one_neuron_a_tenth_larger(values, _):
    values[0, typical(values)[0]] *= 1.1


def _on_a_copy(mutate: Callable[[np.ndarray, np.ndarray], None]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def mutated(values: np.ndarray, language: np.ndarray) -> np.ndarray:
        values = values.copy()
        mutate(values, language)
        return values

    return mutated


#: Words -> what makes of values, and the language of each text, values with that mistake.
MUTATIONS = {
    mutate.__name__.strip("_").replace("_", " "): _on_a_copy(mutate)
    for mutate in (
        _two_neurons_swapped,
        _all_but_the_largest_neuron_permuted,
        _neurons_shifted_by_one,
        _texts_shifted_by_one,
        _one_language_has_the_values_of_another,
        _a_layer_taken_from_the_next,
        _one_neuron_with_the_other_sign,
        _one_neuron_a_tenth_larger,
    )
}
