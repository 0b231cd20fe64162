"""What decides the numbers of probes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

#: Inverse strengths of the penalty that a probe chooses from where none is named.
C_GRID = (0.01, 0.1, 1.0, 10.0)
#: What a vector is: one sampled token, or one text with its pooled values.
Values = Literal["tokens", "pooled"]
SolverName = Literal["sklearn", "batched"]


@dataclass(frozen=True)
class ProbeSettings:
    """The arguments of `train_probes` of the same names; no grid where `c` is named."""

    label: str = "language"
    values: Values = "tokens"
    seeds: tuple[int, ...] = (0, 1, 2)
    sites: tuple[str, ...] | None = None
    c: float | None = None
    c_grid: tuple[float, ...] | None = C_GRID
    test_share: float = 0.2
    max_iterations: int = 1000
    max_train: int | None = 20_000
    solver: SolverName = "sklearn"

    @property
    def grid(self) -> tuple[float, ...]:
        """Penalties to choose from; one where it was named."""
        if self.c is not None:
            return (self.c,)
        assert self.c_grid, "without a penalty there is a grid"
        return self.c_grid

    def to_json(self) -> dict[str, Any]:
        """As it is kept with the table."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
