"""Values of tokens to one value per text, on the device, and the block that they are gathered in."""

from actlas.extract.pooling.pool import count_active, pool, pool_segments, pool_spans

__all__ = ["count_active", "pool", "pool_segments", "pool_spans"]
