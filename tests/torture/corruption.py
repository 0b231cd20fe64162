"""Every damage of `damage.damages` against `actlas verify` and every reader: ``python -m tests.torture.corruption``.

Verify has to name each damage. A reader has to give what it gives of the whole store, or to raise one error of actlas.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actlas.errors import ActlasError
from actlas.store import verify
from tests.torture.damage import Damage, contents, damaged, damages, working_copy
from tests.torture.readers import READERS, read
from tests.torture.stores import KINDS, make_store


@dataclass
class Result:
    """What became of the damages of one store.

    Attributes:
        n_damages: Damages that were done.
        n_reads: Damages times readers.
        verified: How verify took them: named, noticed (a fault, but of no file that was damaged), missed, traceback.
        reads: How readers took them: same, refused, silent (other numbers), traceback.
        faults: Every one that should not be.
    """

    n_damages: int = 0
    n_reads: int = 0
    verified: Counter[str] = field(default_factory=Counter)
    reads: Counter[str] = field(default_factory=Counter)
    silent_damages: int = 0
    faults: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "damages": self.n_damages,
            "reads": self.n_reads,
            "verify": dict(sorted(self.verified.items())),
            "readers": dict(sorted(self.reads.items())),
            "damages that some reader took silently": self.silent_damages,
            "faults": self.faults,
        }


def verdict(store: Path, damage: Damage) -> tuple[str, str]:
    """How verify takes a damage, and what it said."""
    try:
        lines = list(verify(store).damage)
    except ActlasError as error:
        lines = [str(error)]
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return "traceback", f"{type(error).__name__}: {error}"
    if any("\n" in line for line in lines):
        return "traceback", "several lines for one fault"
    if any(_names(line, place) for place in damage.places for line in lines):
        return "named", ""
    return ("noticed", lines[0]) if lines else ("missed", "")


def _names(line: str, place: str) -> bool:
    """Whether a line names a file: by its path, or by the folder of the array or the records that it is part of."""
    folder = line.partition(":")[0]
    return place in line or (folder.count("/") >= 2 and place.startswith(f"{folder}/"))


def reading(kind: str, reader: str, store: Path, expected: Any) -> tuple[str, str]:
    """How one reader takes the store as it is now, and what it said."""
    try:
        return ("same", "") if read(READERS[kind][reader], store) == expected else ("silent", "")
    except ActlasError as error:
        return ("traceback", f"{type(error).__name__} of several lines") if "\n" in str(error) else ("refused", str(error))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return "traceback", f"{type(error).__name__}: {str(error)[:200]}"


def torture(
    kind: str, folder: Path, *, n_sampled: int | None = None, seed: int = 0, store: Path | None = None
) -> Iterator[Result]:
    """Do every damage, or a sample of them, to a store of a kind; the result so far after each."""
    store = working_copy(store or make_store(kind, folder / f"{kind}.actlas"), folder / "copy")
    assert verify(store).damage == ()
    expected = {reader: read(READERS[kind][reader], store) for reader in READERS[kind]}
    whole, result = contents(store), Result()
    chosen: Sequence[Damage] = damages(whole, seed)
    if n_sampled is not None:
        chosen = random.Random(seed).sample(chosen, n_sampled)
    for damage in chosen:
        with damaged(store, damage, whole):
            result.n_damages += 1
            how, said = verdict(store, damage)
            result.verified[how] += 1
            if how != "named":
                result.faults.append(f"verify {how}: {damage.name}{said and f' ({said})'}")
            silent = []
            for reader in READERS[kind]:
                how, said = reading(kind, reader, store, expected[reader])
                result.n_reads += 1
                result.reads[how] += 1
                if how == "silent":
                    silent.append(reader)
                elif how == "traceback":
                    result.faults.append(f"{reader} {how}: {damage.name} ({said})")
            if silent:
                result.silent_damages += 1
                result.faults.append(f"silent: {damage.name}: {', '.join(silent)}")
        yield result
    assert contents(store) == whole


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kind", choices=KINDS, action="append", help="default: all")
    options.add_argument("--sample", type=int, help="so many damages of each store (default: all)")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--out", type=Path, help="JSON with all counts and faults")
    chosen = options.parse_args()
    found, is_whole = {}, True
    for kind in chosen.kind or KINDS:
        began, result = time.monotonic(), Result()
        with tempfile.TemporaryDirectory() as folder:
            for result in torture(kind, Path(folder), n_sampled=chosen.sample, seed=chosen.seed):
                if result.n_damages % 100 == 0:
                    print(f"{kind}: {result.n_damages} damages, {len(result.faults)} faults", file=sys.stderr, flush=True)
        found[kind] = {**result.as_json(), "seconds": round(time.monotonic() - began, 1)}
        is_whole = is_whole and not result.faults
        print(json.dumps({kind: {name: value for name, value in found[kind].items() if name != "faults"}}))
        for line in result.faults[:20]:
            print(f"  {line}")
    if chosen.out is not None:
        chosen.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
