"""Compiles the table's variants for one target, in a process where Triton does not interpret; a JSON line for each.

python tests/kernels/gpu/compile_variants.py cuda 90 32
"""

import json
import sys

from actlas.kernels.gpu.variants import TARGETS, VARIANTS, Target, Variant
from benchmarks.gpu.resources import resources

#: Numbers that Triton would make variants of its own for, if it were let: 1, multiples of 16, and beyond 32 bits.
TELLING = {"i32": (1, 16, 7), "i64": (1, 16, 2**40 + 1), "fp32": (1.0, 16.0, 0.5)}


def as_launched(variant: Variant, target: Target, which: int) -> dict[str, str]:
    """Types that Triton's own launcher would compile for, given arrays and numbers; those of aligned arrays end in D."""
    import torch
    from triton.backends.compiler import GPUTarget
    from triton.compiler import make_backend
    from triton.runtime.jit import create_function_from_signature

    function = variant.function
    binder = create_function_from_signature(function.signature, function.params, make_backend(GPUTarget(*target)))
    dtypes = {"*fp16": "float16", "*bf16": "bfloat16", "*fp32": "float32", "*fp64": "float64", "*u8": "uint8"}
    dtypes |= {"*i16": "int16", "*i32": "int32", "*i64": "int64"}
    arguments = {
        name: torch.zeros(64, dtype=getattr(torch, dtypes[asked])) if asked in dtypes else TELLING[asked][which]
        for name, asked in variant.types.items()
    }
    _, found, _ = binder(**arguments, **variant.constants, **variant.options(target.warp_size))
    return {name: f"{kind}{extra or ''}" for name, (kind, extra) in zip(function.arg_names, found, strict=True)}


def main() -> None:
    target = next(target for target in TARGETS if [str(part) for part in target] == sys.argv[1:])
    for variant in VARIANTS:
        if target.backend not in variant.backends:
            continue
        kinds = [as_launched(variant, target, which) for which in range(3)]
        compiled = variant.compile(target)
        print(
            json.dumps(
                {"variant": str(variant), "as_launched": kinds, "stages": list(compiled.asm), **resources(variant, target)}
            )
        )


if __name__ == "__main__":
    main()
