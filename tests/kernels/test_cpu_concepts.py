"""The compiled loops with every index checked: in a process of its own, because the machine code differs."""

import os
import subprocess
import sys

SCRIPT = """
import numpy as np
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


def test_no_index_is_out_of_bounds(tmp_path):
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
