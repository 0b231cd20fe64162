"""Statistics of texts that pass by once: states that are updated block by block, merged across processes, then finished.

Every state holds integers, so blocks in any order, on any number of machines, merged in any order give the same state and the
same answer, bit for bit. What the answers are worth differs:

* `CountState` (active tokens per language) and `MomentState` (`mean`, `std`, `p_active` and their `_off`) are exact for float16.
  Values of other dtypes are rounded to multiples of 2**-24 one by one, before anything is added; counts are always exact.
* `HistogramState` (`ap`, `ap_anti`, `auroc`, `best_f1`, quantiles) is exact for the 8-bit codes: the statistics of the values
  rounded to 256 levels, in which texts of one level are tied.
"""

from actlas.kernels.states.counts import CountState
from actlas.kernels.states.histogram import HISTOGRAM_STATS, HistogramState
from actlas.kernels.states.moments import MOMENT_STATS, MomentState

__all__ = ["HISTOGRAM_STATS", "MOMENT_STATS", "CountState", "HistogramState", "MomentState"]
