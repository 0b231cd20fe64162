"""Every variant compiles for every target, on a machine without a device, spills nothing, and is what a launch would ask for."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="needs triton (pip install 'actlas[gpu]')")

from actlas.kernels.gpu.variants import TARGETS, VARIANTS

ROOT = Path(__file__).resolve().parents[3]


def compiled_for(target):
    """What `compile_variants` says, one entry for each variant; in this process kernels may be interpreted ones."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-W", "error", str(Path(__file__).with_name("compile_variants.py")), *map(str, target)]
    done = subprocess.run(command, env=environment | {"PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {entry["variant"]: entry for entry in map(json.loads, done.stdout.splitlines())}


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_every_variant_compiles_without_spills_and_is_what_a_launch_asks_for(target):
    entries = compiled_for(target)
    variants = [variant for variant in VARIANTS if target.backend in variant.backends]
    assert list(entries) == [str(variant) for variant in variants]
    for variant in variants:
        entry = entries[str(variant)]
        assert {"cubin", "hsaco"} & set(entry["stages"])
        assert (entry["spill_stores"], entry["spill_loads"]) == (0, 0), variant
        # on AMD arrays below 2 GiB are marked too ("S"), which changes addressing, not arithmetic
        asked = {name: f"{kind}D" if kind[0] == "*" else kind for name, kind in variant.types.items()}
        for launched in entry["as_launched"]:
            found = {name: kind.removesuffix("S") for name, kind in launched.items() if kind.split("(")[0] != "constexpr"}
            assert {name: found[name] for name in asked} == asked, variant
