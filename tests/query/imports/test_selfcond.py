"""Files of ml-selfcond, as its `ExpertiseResult.export_as_pandas` writes them, into a store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from actlas.cli import run
from actlas.errors import ScoreImportError
from actlas.query import read_selfcond
from actlas.store import Store

WIDTHS = {"attn.c_attn": 6, "attn.c_proj": 2, "mlp.c_fc": 8, "mlp.c_proj": 2}


def write_expertise(root: Path, concept: str, seed: int, names: dict[str, int] | None = None) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    layers = {f"transformer.h.{layer}.{end}:0": width for layer in range(2) for end, width in (names or WIDTHS).items()}
    units = {name: np.arange(width, dtype=np.uint32) for name, width in sorted(layers.items())}
    frame = pl.concat([pl.DataFrame({"layer": name, "unit": own}) for name, own in units.items()])
    numbers = {name: rng.random(frame.height).astype(np.float32) for name in ("ap", "off_mean", "on_p50", "on_p90")}
    frame = frame.with_columns(
        **{name: pl.Series(values) for name, values in numbers.items()},
        uuid=np.arange(frame.height),
        concept=pl.lit(concept),
        group=pl.lit("sense"),
    ).select("ap", "off_mean", "on_p50", "on_p90", "layer", "unit", "uuid", "concept", "group")
    folder = root / "sense" / concept / "expertise"
    folder.mkdir(parents=True)
    frame.write_csv(folder / "expertise.csv")
    return frame


def test_folders_become_a_store_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = {
        (language, concept): write_expertise(tmp_path / language, concept, seed)
        for seed, (language, concept) in enumerate((a, b) for a in ("en", "fr") for b in ("football-1", "water-1"))
    }
    folders = [f"{language}={tmp_path / language}" for language in ("en", "fr")]
    about = ["--store", str(tmp_path / "s"), "--checkpoint", "gpt2=100", "--provenance", "by hand"]
    assert run(["import-scores", "selfcond", *folders, *about]) == 0
    assert "attn_qkv" in capsys.readouterr().out
    store = Store(tmp_path / "s")
    assert store.checkpoint("gpt2")["step"] == 100
    for (language, concept), frame in written.items():
        for site, end in (("mlp_pre", "mlp.c_fc"), ("attn_qkv", "attn.c_attn")):
            rows = frame.filter(pl.col("layer") == f"transformer.h.1.{end}:0")
            cube = store.scores("gpt2", site)
            np.testing.assert_allclose(cube.read("ap", language, concept, 1), rows["ap"].to_numpy(), rtol=1e-6)
            np.testing.assert_allclose(cube.read("median", language, concept, 1), rows["on_p50"].to_numpy(), rtol=1e-6)
            np.testing.assert_allclose(cube.read("mean_off", language, concept, 1), rows["off_mean"].to_numpy(), rtol=1e-6)


def test_other_modules_are_refused_or_named(tmp_path: Path) -> None:
    write_expertise(tmp_path / "en", "water", 0, {"mlp.gate": 3, "mlp.up": 3})
    with pytest.raises(ScoreImportError, match=r"transformer\.h\.0\.mlp\.gate:0, .* of no site that is known"):
        read_selfcond({"en": tmp_path / "en"}, "m")
    frame = read_selfcond({"en": tmp_path / "en"}, "m", modules={"mlp.up": "mlp_up"})
    assert frame.select("site", "layer", "neuron").rows() == [
        ("mlp_up", layer, neuron) for layer in range(2) for neuron in range(3)
    ]
    with pytest.raises(ScoreImportError, match="has none of the modules"):
        read_selfcond({"en": tmp_path / "en"}, "m", modules={"mlp.down": "mlp_out"})


def test_folders_that_hold_something_else(tmp_path: Path) -> None:
    with pytest.raises(ScoreImportError, match=r"no expertise\.csv below"):
        read_selfcond({"en": tmp_path}, "m")
    write_expertise(tmp_path / "a", "water", 0)
    write_expertise(tmp_path / "b", "water", 1)
    with pytest.raises(ScoreImportError, match="concept 'water' is in"):
        read_selfcond({"en": tmp_path}, "m")
    (tmp_path / "c").mkdir()
    (tmp_path / "c/expertise.csv").write_text("ap,unit\n0.5,0\n")
    with pytest.raises(ScoreImportError, match="it has no column layer, concept"):
        read_selfcond({"en": tmp_path / "c"}, "m")
