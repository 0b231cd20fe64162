"""What each variant of a kernel takes of a device, from its assembler and its machine code: python -m benchmarks.gpu.resources

No device is needed, and none was asked: registers and spills are what the assembler beside Triton reports, occupancy follows from
them, and instructions are counted in the loop that has most of the tensor cores' work, or is longest.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from actlas.kernels.gpu.variants import TARGETS, VARIANTS, Target, Variant, find

#: Per multiprocessor: registers, bytes of shared memory, warps, programs. An H200 differs from an H100 in its main memory only.
DEVICES = {
    80: ("A100", 65536, 164 << 10, 64, 32),
    90: ("H100, H200", 65536, 228 << 10, 64, 32),
    100: ("B200", 65536, 228 << 10, 64, 32),
}
#: Kind -> beginnings of opcodes; the first kind that fits counts.
KINDS = {
    "tensor core": ("HMMA", "IMMA", "HGMMA", "IGMMA", "UTCHMMA"),
    "global": ("LDG.", "LDGSTS", "STG", "ATOMG", "RED", "LD.", "ST.", "UBLKCP"),
    "shared": ("LDS", "STS", "ATOMS", "MOVM", "STSM"),
    "conversion": ("F2", "I2F", "HADD2.F32", "PRMT"),
    "float": (
        "FADD",
        "FMUL",
        "FFMA",
        "FSET",
        "FSEL",
        "FMNMX",
        "HADD",
        "HMUL",
        "HFMA",
        "HSET",
        "DADD",
        "DMUL",
        "DFMA",
        "DSET",
        "MUFU",
    ),
    "barrier": ("BAR", "DEPBAR", "LDGDEPBAR", "WARPSYNC", "SYNCS", "MEMBAR", "ERRBAR"),
}


def assembler(arch: int) -> str:
    """The one that Triton takes for this architecture: not each accepts its PTX."""
    from triton.backends.nvidia.compiler import get_ptxas

    return str(get_ptxas(arch).path)


def assembled(ptx: str, arch: int) -> dict[str, int]:
    """Registers and bytes of stack and spills, by the assembler, with the options that Triton gives it."""
    with tempfile.NamedTemporaryFile(suffix=".ptx") as file:
        file.write(ptx.encode())
        file.flush()
        name = f"sm_{arch}{'a' if arch >= 90 else ''}"
        command = [assembler(arch), "-v", "--fmad=false", f"--gpu-name={name}", file.name, "-o", "/dev/null"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    numbers = {
        "registers": r"Used (\d+) registers",
        "stack": r"(\d+) bytes stack frame",
        "spill_stores": r"(\d+) bytes spill stores",
        "spill_loads": r"(\d+) bytes spill loads",
    }
    return {name: max(map(int, re.findall(pattern, said))) for name, pattern in numbers.items()}


def programs_per_multiprocessor(registers: int, shared: int, warps: int, arch: int) -> int:
    """Programs that fit beside each other: registers go to warps by 256, warps to quarters, and a program takes 1 KiB besides."""
    _, all_registers, all_shared, most_warps, most_programs = DEVICES[arch]
    per_warp = -(-registers * 32 // 256) * 256
    by_registers = all_registers // per_warp // 4 * 4 // warps
    return min(by_registers, all_shared // (shared + 1024), most_warps // warps, most_programs)


def kind_of(opcode: str) -> str:
    return next((kind for kind, starts in KINDS.items() if opcode.startswith(starts)), "integer and other")


def inner_loop(sass: str) -> dict[str, int]:
    """Instructions of the main loop by kind."""
    opcodes: list[str] = []
    labels: dict[str, int] = {}
    loops: list[list[str]] = []
    for line in sass.splitlines():
        if match := re.match(r"(\.L_x_\d+):", line):
            labels[match[1]] = len(opcodes)
        elif match := re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)", line):
            opcodes.append(match[1])
            back = re.search(r"BRA.*`\((\.L_x_\d+)\)", line)
            if back and labels.get(back[1], len(opcodes)) < len(opcodes) - 1:
                loops.append(opcodes[labels[back[1]] :])
    if not loops:
        return {}
    main = max(loops, key=lambda loop: (sum(kind_of(code) == "tensor core" for code in loop), len(loop)))
    return dict(Counter(map(kind_of, main)))


def disassembled(cubin: bytes) -> str:
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "nvdisasm"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([tool, "-c", file.name], capture_output=True, text=True, check=True).stdout


def resources(variant: Variant, target: Target) -> dict[str, Any]:
    """What a variant takes on one kind of device; on AMD as its code object says."""
    compiled = variant.compile(target)
    warps = variant.options(target.warp_size)["num_warps"]
    row: dict[str, Any] = {
        "kernel": variant.kernel,
        "variant": str(variant),
        "target": str(target.arch),
        "warps": warps,
        "shared": compiled.metadata.shared,
    }
    if target.backend == "hip":
        said = dict(re.findall(r"\.(vgpr_count|vgpr_spill_count|private_segment_fixed_size):\s+(\d+)", compiled.asm["amdgcn"]))
        spilled = int(said["vgpr_spill_count"])
        return row | {
            "registers": int(said["vgpr_count"]),
            "stack": int(said["private_segment_fixed_size"]),
            "spill_stores": 4 * spilled,
            "spill_loads": 4 * spilled,
        }
    arch = int(target.arch)
    row |= assembled(compiled.asm["ptx"], arch)
    programs = programs_per_multiprocessor(row["registers"], row["shared"], warps, arch)
    return row | {"device": DEVICES[arch][0], "programs": programs, "resident_warps": programs * warps}


#: Tiles of moments that were tried, neurons x texts x columns and warps, on float16 and float32 values.
TILES = ((32, 32, 64, 8), (32, 64, 64, 4), (32, 64, 64, 8), (64, 32, 32, 4), (64, 64, 32, 4), (64, 64, 64, 4), (64, 64, 64, 8))
TILES += ((128, 64, 32, 8), (128, 64, 64, 8))


def tiles() -> list[dict[str, Any]]:
    """The moments kernel with other tiles, for an H100: what it takes, and instructions of one lane per value and 64 columns."""
    rows = []
    for values in ("*fp16", "*fp32"):
        shipped = find("moments_kernel", values=values, IS_TEXT_MAJOR=False, STEP=8)
        for bm, bn, bc, warps in TILES:
            tile = {"BM": bm, "BN": bn, "BC": bc}
            variant = replace(shipped, constants={**shipped.constants, **tile}, num_warps=warps)
            row = resources(variant, Target("cuda", 90, 32))
            loop = inner_loop(disassembled(variant.compile(Target("cuda", 90, 32)).asm["cubin"]))
            per_value = sum(loop.values()) * warps / (bm * bn) * 64 / bc
            is_shipped = variant.constants == shipped.constants and warps == shipped.num_warps
            rows.append({"values": values, "tile": [bm, bn, bc], **row, "instructions": per_value, "is_shipped": is_shipped})
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    from benchmarks.harness import save

    print(save("gpu_tiles", {"is_predicted": True}, tiles()))
    rows = []
    for variant in VARIANTS:
        for target in TARGETS:
            if target.backend not in variant.backends:
                continue
            row = resources(variant, target)
            if target.backend == "cuda":
                row["inner_loop"] = inner_loop(disassembled(variant.compile(target).asm["cubin"]))
            rows.append(row)
            print({name: part for name, part in row.items() if name != "kernel"}, flush=True)
    print(save("gpu_resources", {"is_predicted": True}, rows))


if __name__ == "__main__":
    main()
