"""Where the time of a checkpoint went."""

from actlas.cli import run
from actlas.extract.run.profile import STAGES
from actlas.store.store import Store


def test_the_command_line_says_where_the_time_went(tiny_models, small_corpus, tmp_path, capsys):
    small_corpus.write(tmp_path / "corpus")
    arguments = ["--corpus", str(tmp_path / "corpus"), "--store", str(tmp_path / "s"), "--device", "cpu", "--profile"]
    assert run(["--quiet", "extract", str(tiny_models("llama")), *arguments, "--max-tokens", "60"]) == 0
    said = capsys.readouterr().out
    kept = Store(tmp_path / "s").checkpoint("llama")["profile"]
    assert set(kept["seconds"]) == set(STAGES) - {"accumulate"}
    assert set(kept["waits"]) == {name for name in kept["seconds"] if STAGES[name]}
    for name, spent in kept["seconds"].items():
        assert f"\n  {name:9} {spent:9.2f} s" in said
    for name, spent in kept["waits"].items():
        assert f" s  waited {spent:9.2f} s for {STAGES[name]}\n" in said
    assert f"bound by {kept['bound_by']}\n" in said
