"""One call on Dask workers: the same bytes as in one process, also when a worker is lost."""

import os
import signal

import pytest

from actlas.errors import ExtractionError, ModelNotLoaded
from actlas.extract import extract_activations

distributed = pytest.importorskip("distributed")

OPTIONS = {"sites": ["mlp_pre"], "max_tokens": 60, "texts_per_block": 4, "device": "cpu"}


pytestmark = pytest.mark.usefixtures("one_thread")


def test_workers_share_a_checkpoint_and_a_lost_one_is_survived(contents, tiny_models, corpus_folder, tmp_path):
    models = [tiny_models("llama")]
    extract_activations(models, corpus_folder, tmp_path / "alone", **OPTIONS)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        victim = cluster.workers[0].process.pid
        reports = []

        def kill_one(report):
            if report.stage == "extract" and not reports:
                os.kill(victim, signal.SIGKILL)
            reports.append(report)

        summary = extract_activations(
            models, corpus_folder, tmp_path / "s", **OPTIONS, dask=cluster.scheduler_address, progress=kill_one
        )
        assert reports
        assert [(result.checkpoint, result.status) for result in summary.checkpoints] == [("llama", "extracted")]
        assert contents(tmp_path / "s") == contents(tmp_path / "alone")
        with pytest.raises(ModelNotLoaded, match="no model folder"):
            extract_activations(tmp_path / "no", corpus_folder, tmp_path / "n", **OPTIONS, dask=cluster.scheduler_address)


def test_a_cluster_of_this_machine(contents, tiny_models, corpus_folder, tmp_path):
    extract_activations(tiny_models("llama"), corpus_folder, tmp_path / "alone", **OPTIONS)
    extract_activations(tiny_models("llama"), corpus_folder, tmp_path / "s", **OPTIONS, dask="local:2")
    assert contents(tmp_path / "s") == contents(tmp_path / "alone")


def test_clusters_that_are_not_there(tiny_models, corpus_folder, tmp_path):
    for address, message in (("local:two", "names no number"), ("tcp://127.0.0.1:1", "no Dask scheduler answers")):
        with pytest.raises(ExtractionError, match=message):
            extract_activations(tiny_models("llama"), corpus_folder, tmp_path / "s", **OPTIONS, dask=address)
