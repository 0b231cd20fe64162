"""The compiled loops with every index checked, and as they are compiled for a processor that can less: in processes of their own,
because the machine code differs."""

import os
import subprocess
import sys

import pytest

from actlas.compiled.jit import cache_root

SCRIPT = """
import numpy as np
from actlas.kernels.cpu import wide

is_wide, wide.IS_SUPPORTED = wide.IS_SUPPORTED, not {is_other} and wide.IS_SUPPORTED
if {is_other} and not is_wide:
    import llvmlite.binding

    llvmlite.binding.get_host_cpu_features = dict
from actlas.kernels import NAMED_STATS, concept_scores

rng = np.random.default_rng(0)
for n_texts in (2, 63, 64, 65, 1000):
    for dtype in (np.float16, np.float32):
        for values in (rng.standard_normal((3, n_texts)), np.maximum(rng.standard_normal((3, n_texts)), 0)):
            for prevalence in (0.02, 0.6):
                is_concept = rng.random((n_texts, 35)) < prevalence
                is_concept[:2] = [[True], [False]]
                is_member = rng.random(is_concept.shape) < (1.1 if prevalence > 0.5 else 0.8)
                for stats in (("ap",), ("ap", "auroc"), ("mean", "std"), (*NAMED_STATS, "q0.25")):
                    for members in (None, is_member):
                        found = concept_scores(values.astype(dtype), is_concept, stats, members, threads=1)
                        expected = concept_scores(values.astype(dtype), is_concept[:, :1], stats, backend="reference")
                        if members is None:
                            for stat in stats:
                                np.testing.assert_allclose(found[stat][:, :1], expected[stat], atol=1e-12)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("is_other", "checks"), [(False, "1"), (True, "0")], ids=["indices checked", "lesser registers"])
def test_every_path_gives_the_same(is_other, checks):
    # machine code is found again by its sources, beside that of all other tests, which is another
    cache = cache_root().parent / "tested" / f"{is_other}-{checks}"
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": checks, "NUMBA_CACHE_DIR": str(cache)}
    script = SCRIPT.replace("{is_other}", str(is_other))
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
