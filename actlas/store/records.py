"""What commit records say."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class ShardRecord:
    """What the commit record of a block says about one shard: enough to tell later whether it is whole."""

    path: str
    n_bytes: int
    crc32c: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
