"""What is measured of honest runs, in every dtype and comparison, stays below the limits."""

from actlas.testing import random_checkpoint
from benchmarks.rounding import DTYPES, OTHERS, measured, random_block, summed, write_family


def test_a_tiny_model_stays_below_the_limits_in_every_comparison(tmp_path):
    rows = list(measured("llama", write_family(tmp_path / "llama", "llama", 0), "max", random_block(0)))
    checks = [(each["check"], each["dtype"]) for each in rows]
    assert checks == [
        *(("together", dtype) for dtype in DTYPES),
        *(("other", dtype) for dtype, _ in OTHERS),
        ("known", OTHERS[-1][0]),
    ]
    assert all(each["share_of_limit"] < 0.5 for each in rows)
    # rounding differs from float32, and does so less where nothing but batches does
    assert all(each["share_of_limit"] > 0.01 for each in rows if each["check"] == "other")
    found = summed("tiny", "other", "float16", rows[4:5])
    assert (found["n"], found["largest_share"]) == (1, rows[4]["share_of_limit"])
    assert found["where"] == f"llama, max: {rows[4]['where']}"


def test_a_file_of_lines_is_a_language(tmp_path):
    for language in ("aa", "bb"):
        (tmp_path / f"{language}.txt").write_text("kala mone\nsuti re\n\n")
    rows = list(measured("m", random_checkpoint(tmp_path / "m"), "max", [tmp_path / "aa.txt", tmp_path / "bb.txt"]))
    assert {each["n_texts"] for each in rows} == {4}
