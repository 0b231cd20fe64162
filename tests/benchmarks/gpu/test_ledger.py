"""The models of what kernels ask memory for, against every lane of the kernels themselves."""

import json

import numpy as np
import pytest
import torch

pytest.importorskip("triton", reason="needs triton (pip install 'actlas[gpu]')")
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="this is about Triton's interpreter")

from actlas.kernels import concept_scores, prepare_labels  # noqa: E402
from benchmarks.gpu import ledger as ledger_module  # noqa: E402
from benchmarks.gpu.ledger import CASE, GOALS, MODELS, Ledger, Problem, bits_of, differences, predicted_rows, slowest  # noqa: E402
from benchmarks.gpu.traffic import count_traffic  # noqa: E402
from benchmarks.harness import RESULTS  # noqa: E402

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


def problem_of(values, labels):
    distinct = [which for which in dict.fromkeys(labels.member_set.tolist()) if which >= 0]
    return Problem(
        *values.shape,
        str(values.dtype).removeprefix("torch."),
        n_positive=np.diff(labels.starts).tolist(),
        changes=[len(labels.sets[which]) for which in distinct],
        n_columns=labels.order.size + (1 if labels.is_member is None else labels.order.size),
        bits=bits_of(values),
    )


@pytest.mark.parametrize(
    ("n_neurons", "n_texts", "n_concepts", "dtype", "has_members", "stats"),
    [
        (3, 63, 3, "float16", False, ("ap", "mean")),
        (3, 63, 3, "float16", True, ("auroc", "std")),
        (3, 63, 3, "bfloat16", True, ("ap", "mean")),
        (2, 130, 2, "float32", False, ("ap", "mean")),
        (2, 63, 3, "float32", True, ("auroc", "std")),
        (40, 64, 2, "bfloat16", False, ("mean",)),
        (1, 130, 70, "float16", False, ("ap", "mean")),
    ],
)
def test_every_lane_is_in_the_model(n_neurons, n_texts, n_concepts, dtype, has_members, stats):
    rng = np.random.default_rng(0)
    values = torch.from_numpy(rng.standard_normal((n_neurons, n_texts))).to(DTYPES[dtype])
    is_concept = rng.random((n_texts, n_concepts)) < 0.1
    is_concept[:2] = [[True], [False]]
    is_member = rng.random((n_texts, n_concepts)) < 0.8 if has_members else None
    labels = prepare_labels(is_concept, is_member)
    with count_traffic() as launches:
        concept_scores(values, labels, stats, backend="gpu")
    problem = problem_of(values, labels)
    kernels = [launch for launch in launches if not launch.kernel.startswith("torch.")]
    for launch in kernels:
        ledger = MODELS[launch.kernel](problem, launch.numbers)
        for kind in ("loaded", "stored", "added"):
            assert dict(getattr(launch, kind)) == dict(getattr(ledger, kind)), (launch.kernel, kind)
    assert {launch.kernel for launch in kernels} <= MODELS.keys()


@pytest.mark.parametrize("what", GOALS)
@pytest.mark.parametrize("n_texts", [63, 256])
def test_what_torch_moves_grows_linearly_with_the_neurons(what, n_texts):
    labels = prepare_labels(np.random.default_rng(0).random((n_texts, 3)) < 0.3)
    problem = Problem(1, n_texts, "float16", np.diff(labels.starts).tolist(), n_columns=4)
    counts = [ledger_module._counted(what, problem, labels, n) for n in (64, 128, 192)]
    assert len({len(launches) for launches in counts}) == 1
    for launches in zip(*counts, strict=True):
        (kernel,) = {launch.kernel for launch in launches}
        for kind in ("loaded", "stored"):
            few, more, most = (sum(getattr(launch, kind).values()) for launch in launches)
            assert most - more == more - few, kernel


def test_the_slowest_level_counts_and_launches_follow_each_other():
    copy = Ledger("copy", {"a": 30}, {"b": 30}, main_memory=3_000_000_000)
    product = Ledger("product", {}, {}, main_memory=1_000_000_000, products=int(2e-3 * ledger_module.PRODUCT_RATE))
    seconds, level = slowest([copy, product], 3e12)
    assert (seconds, level) == (pytest.approx(3e-3), "products")
    assert slowest([copy, product], 1e12) == (pytest.approx(5e-3), "main memory")


def case(milliseconds, **changes):
    row = dict(zip(CASE, (1000, 100, 5, "float16", 0.05), strict=True)) | changes
    return {**row, "milliseconds": milliseconds, "copy_bytes_per_second": 2e12}


PREDICTED = [{"what": "ap", **case({}), "parts": [vars(Ledger("k", {}, {}, main_memory=20_000_000_000))]}]


@pytest.mark.parametrize(("measured", "is_near"), [(5.1, True), (10.0, True), (19.9, True), (4.9, False), (20.1, False)])
def test_a_measurement_is_held_to_the_prediction_for_its_device(measured, is_near):
    # 20 GB at the 2 TB/s of this device are 10 ms
    lines = differences(PREDICTED, [case({"ap": measured, "other": 1.0}), case({"ap": 1.0}, dtype="float32")])
    assert (lines == []) is is_near
    if not is_near:
        assert lines == [f"ap of 1,000 x 100 x 5 float16: measured {measured:.2f} ms, predicted 10.00 ms (main memory)"]


def test_a_comparison_of_nothing_is_refused():
    with pytest.raises(ValueError, match="nothing was measured that is predicted"):
        differences(PREDICTED, [case({"ap": 10.0}, n_neurons=7)])


@pytest.mark.parametrize("measured", [10.0, 30.0])
def test_the_script_ends_with_the_differences(measured, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ledger_module, "RESULTS", tmp_path)
    monkeypatch.setattr("sys.argv", ["ledger", "--compare"])
    for name, rows in (("gpu_predicted", PREDICTED), ("kernels_gpu", [case({"ap": measured})])):
        (tmp_path / f"{name}.json").write_text(json.dumps({"rows": rows}))
    if measured > 20:
        with pytest.raises(SystemExit, match="measured 30.00 ms, predicted 10.00 ms"):
            ledger_module.main()
    else:
        ledger_module.main()
        assert "within a factor of 2" in capsys.readouterr().out


def test_the_file_holds_what_the_engine_would_do(monkeypatch):
    smallest = min(ledger_module.CASES)
    monkeypatch.setattr(ledger_module, "CASES", [smallest])
    kept = json.loads((RESULTS / "gpu_predicted.json").read_text())["rows"]
    again = json.loads(json.dumps(predicted_rows()))
    assert [row for row in kept if tuple(row[name] for name in CASE[:4]) == smallest] == again, "python -m benchmarks.gpu.ledger"
