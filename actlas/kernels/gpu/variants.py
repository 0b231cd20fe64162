"""Every form in which a Triton kernel is launched: one table, which engines launch through and tests compile from.

Triton compiles a kernel once for each combination of its arguments' types, constants and options, and would also do so for
arguments that happen to be 1 or multiples of 16. Here nothing happens to be: arguments that are numbers carry their type in the
kernel's own signature and are not specialised, every array has to start at a multiple of 16 bytes, and whatever else the code may
rely on is a constant. So what was compiled ahead of time, and looked at, is what runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module
from itertools import product
from typing import Any, NamedTuple

#: Bytes that arrays' addresses are multiples of, so that loads can be as wide as the hardware has them.
ALIGNMENT = 16
#: Products and sums are rounded as they are written, on every device and in the interpreter. Triton's own default is changing.
_OPTIONS = {"enable_fp_fusion": False}


class Target(NamedTuple):
    """A kind of device, as `triton.backends.compiler.GPUTarget` takes it."""

    backend: str
    arch: int | str
    warp_size: int


#: What kernels are compiled for ahead of time: A100, H100 and H200, B200, MI300.
TARGETS = (Target("cuda", 80, 32), Target("cuda", 90, 32), Target("cuda", 100, 32), Target("hip", "gfx942", 64))


@dataclass(frozen=True)
class Variant:
    """One compiled form of a kernel.

    Attributes:
        kernel: Its name.
        module: The file it stands in.
        types: Of its arguments, in order: "*fp16" is an array of float16, "i32" a number.
        constants: What is known when it is compiled.
        num_warps: Warps of a program, of 32 lanes; where a warp has 64, half as many.
        num_stages: Tiles that are on their way from memory at once.
        backends: Of the targets that it is for.
    """

    kernel: str
    module: str
    types: Mapping[str, str]
    constants: Mapping[str, int | bool]
    num_warps: int
    num_stages: int = 1
    backends: tuple[str, ...] = ("cuda", "hip")

    def __str__(self) -> str:
        sizes = " ".join(f"{name}={value}" for name, value in self.constants.items())
        arrays = list(self.types.values())[:2]
        return f"{self.kernel} {' '.join(arrays).replace('*', '')} {sizes}, {self.num_warps} warps, {self.num_stages} stages"

    @cached_property
    def function(self) -> Any:
        """The kernel: compiled on its first launch, or interpreted, as Triton decided when its file was imported."""
        return getattr(import_module(self.module), self.kernel)

    def options(self, warp_size: int = 32) -> dict[str, Any]:
        """What Triton's compiler is told beside types and constants."""
        return {"num_warps": self.num_warps * 32 // warp_size, "num_stages": self.num_stages, **_OPTIONS}

    def launch(self, grid: tuple[int, ...], *arguments: Any) -> None:
        """Run it.

        Raises:
            TypeError: If an argument is of another type than the table says, or an array starts at an odd address.
        """
        named = dict(zip(self.types, arguments, strict=True))
        for name, asked in self.types.items():
            _refuse_other(self.kernel, name, named[name], asked)
        import torch

        self.function[grid](**named, **self.constants, **self.options(64 if torch.version.hip else 32))

    def compile(self, target: Target) -> Any:
        """Triton's compiled kernel for a device that need not be there; `.asm` has its texts and binaries."""
        import triton
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource

        names = self.function.arg_names
        source = ASTSource(
            fn=self.function,
            signature={name: self.types.get(name, "constexpr") for name in names},
            constexprs={(names.index(name),): value for name, value in self.constants.items()},
            attrs={
                (names.index(name),): [["tt.divisibility", ALIGNMENT]] for name, asked in self.types.items() if asked[0] == "*"
            },
        )
        return triton.compile(source, target=GPUTarget(*target), options=self.options(target.warp_size))


_RANGES = {"i32": range(-(2**31), 2**31), "i64": range(-(2**63), 2**63)}
_ARRAYS = {
    "*fp16": "float16",
    "*bf16": "bfloat16",
    "*fp32": "float32",
    "*fp64": "float64",
    "*u8": "uint8",
    "*i16": "int16",
    "*i32": "int32",
    "*i64": "int64",
}


def _refuse_other(kernel: str, name: str, value: Any, asked: str) -> None:
    if asked in _ARRAYS:
        dtype = str(getattr(value, "dtype", type(value))).removeprefix("torch.")
        if dtype != _ARRAYS[asked]:
            raise TypeError(f"{kernel} was not compiled for {name} of {dtype}, only for {_ARRAYS[asked]}")
        if value.data_ptr() % ALIGNMENT:
            raise TypeError(f"{kernel}: {name} starts at an address that is no multiple of {ALIGNMENT} bytes; copy it")
    elif asked in _RANGES:
        if not isinstance(value, int) or value not in _RANGES[asked]:
            raise TypeError(f"{kernel}: {name} is {value!r}, which is no {asked}")
    elif not isinstance(value, float):
        raise TypeError(f"{kernel}: {name} is {value!r}, which is no number with a fraction")


def array_type(dtype: Any) -> str:
    """How the table calls an array of a torch dtype."""
    name = str(dtype).removeprefix("torch.")
    return next(short for short, long in _ARRAYS.items() if long == name)


@cache
def find(kernel: str, **asked: Any) -> Variant:
    """The variant of a kernel whose types and constants are the ones asked for, which no other variant has.

    Raises:
        LookupError: If there is none, or more than one.
    """
    found = [
        variant
        for variant in VARIANTS
        if variant.kernel == kernel and asked.items() <= {**variant.types, **variant.constants}.items()
    ]
    if len(found) != 1:
        raise LookupError(f"{len(found)} variants of {kernel} have {asked}; `VARIANTS` has to have one")
    return found[0]


def _moments() -> Sequence[Variant]:
    """Values in either order; where sizes are no multiples of 8, the engine copies those whose texts stand apart.

    What bounds the kernel is instructions, so the tile is one with few of them per value that spills nothing on any target. 4
    warps share 64 neurons by rows, so that each value is taken apart once, where of 32 neurons each is by two or four warps; 64
    texts halve the corrections. A thread then holds 16 of each of the tile's sums in up to 255 registers: two programs, 8 warps,
    to a multiprocessor, and three tiles on their way keep those busy. Twice the columns spill. So do 64 texts where values are
    loaded one by one, and there float32 spills with 64 neurons too: 8 warps for 32 take half the registers.
    """
    module = "actlas.kernels.gpu.moments_kernels"
    rest = {"labels": "*u8", "pivot": "*fp32", "scale": "*fp32", "sums": "*fp64", "squares": "*fp64", "active": "*i32"}
    rest |= dict.fromkeys(("n_neurons", "n_texts", "n_columns", "row_columns"), "i32") | {"stride": "i64", "threshold": "fp32"}
    variants = []
    for values, (is_text_major, step) in product(("*fp16", "*bf16", "*fp32"), ((False, 8), (False, 1), (True, 8))):
        is_short = values != "*fp32"
        tile, warps = ((64, 64, 32), 4) if step > 1 else ((64, 32, 32), 4) if is_short else ((32, 32, 64), 8)
        constants = {"IS_SHORT": is_short, "IS_TEXT_MAJOR": is_text_major, "STEP": step}
        constants |= dict(zip(("BM", "BN", "BC"), tile, strict=True))
        variants.append(Variant("moments_kernel", module, {"values": values, **rest}, constants, warps, num_stages=3))
    return variants


def _orders() -> Sequence[Variant]:
    rest = {"n_distinct": "*i32", "counters": "*i32", "n_neurons": "i32", "n_texts": "i32", "neuron_stride": "i64"}
    return [
        Variant(
            "order_kernel",
            "actlas.kernels.gpu.rank_kernels",
            {"bits": bits, "order": order, "spare": order, **rest, "n_programs": "i32"},
            {"IS_SHORT": bits == "*i16", **_counters(size, warps, on_chip), "BLOCK": 4096 if on_chip or bits == "*i16" else 2048},
            warps,
            backends=_backends(on_chip),
        )
        for bits, order in product(("*i16", "*i32"), repeat=2)
        for on_chip, size, warps in ((True, 16384, 16), (False, 8192, 8))
    ]


def _concepts() -> Sequence[Variant]:
    labels = dict.fromkeys(("starts", "texts", "member_set", "member_starts", "members"), "*i32")
    rest = {"n_distinct": "*i32", **labels, "counters": "*i32", "sums": "*fp64", "best_text": "*i32"}
    rest |= dict.fromkeys(("n_neurons", "n_texts", "n_concepts", "n_programs"), "i32")
    short = ((False, 2048), (False, 8192), (True, 2048), (True, 4096))
    # in float64 the best F1 takes registers that other sizes lack
    long = {True: ((False, 8192), (True, 4096)), False: ((False, 8192), (True, 2048))}
    sizes = {("*i16", True): short, ("*i16", False): short, ("*i32", True): long[True], ("*i32", False): long[False]}
    return [
        Variant(
            "concepts_kernel",
            "actlas.kernels.gpu.rank_kernels",
            {"order": order, **rest},
            {
                "IS_SHORT": order == "*i16",
                "HAS_ALL": has_all,
                **_counters(size, 8, on_chip),
                # of 512 texts it would spill four bytes on sm_90
                "BLOCK": 256 if order == "*i32" and has_all and not on_chip else 512,
            },
            num_warps=8,
            backends=_backends(on_chip),
        )
        for order, on_chip in product(("*i16", "*i32"), (True, False))
        for has_all, size in sizes[order, on_chip]
    ]


def _backends(on_chip: bool) -> tuple[str, ...]:
    # Triton counts in AMD's shared memory only after comparing each number with every possible one
    return ("cuda",) if on_chip else ("cuda", "hip")


def _counters(size: int, num_warps: int, on_chip: bool) -> dict[str, int | bool]:
    """Counters in rows of one for each thread, where a warp has 32."""
    return {"SIZE": size, "ROW_BITS": (size // (32 * num_warps)).bit_length() - 1, "ON_CHIP": on_chip}


VARIANTS: tuple[Variant, ...] = (*_moments(), *_orders(), *_concepts())
