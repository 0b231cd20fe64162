"""Occupancy and instructions of loops, from figures and code that are known; the table's variants are in tests/kernels/gpu."""

import pytest

from benchmarks.gpu.resources import inner_loop, kind_of, programs_per_multiprocessor


@pytest.mark.parametrize(
    ("registers", "shared", "warps", "arch", "programs"),
    [
        (255, 1024, 4, 90, 2),  # 65,536 registers are 8 warps of 256 each
        (128, 1024, 8, 90, 2),
        (129, 1024, 8, 90, 1),  # 136 each are 15 warps, which are 12 in quarters
        (32, 100 << 10, 4, 90, 2),
        (32, 100 << 10, 4, 80, 1),
        (16, 0, 1, 90, 32),
    ],
)
def test_programs_are_bound_by_the_scarcest(registers, shared, warps, arch, programs):
    assert programs_per_multiprocessor(registers, shared, warps, arch) == programs


def test_the_loop_with_the_tensor_cores_is_counted():
    lines = [".L_x_0:", "LDG.E R1", "BAR.SYNC", "IADD3 R1", "IADD3 R2", "@P1 BRA `(.L_x_0)"]
    lines += [".L_x_1:", "HMMA.16816.F32 R1", "FADD R1", "@!UP0 BRA `(.L_x_1)", "EXIT", ".L_x_2:", "BRA `(.L_x_2)"]
    sass = "\n".join(line if line.startswith(".") else f"        /*0000*/    {line} ;" for line in lines)
    assert inner_loop(sass) == {"tensor core": 1, "float": 1, "integer and other": 1}
    assert inner_loop("") == {}


@pytest.mark.parametrize(
    ("opcode", "kind"),
    [
        ("LDGSTS.E", "global"),
        ("LDGDEPBAR", "barrier"),
        ("LDSM.16", "shared"),
        ("F2FP.F16.F32.PACK_AB", "conversion"),
        ("HADD2.F32", "conversion"),
        ("HADD2", "float"),
        ("IMAD", "integer and other"),
        ("HGMMA.64x32x16.F32", "tensor core"),
    ],
)
def test_kinds(opcode, kind):
    assert kind_of(opcode) == kind
