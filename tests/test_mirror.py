"""Every source file has a test file of the same place and name, or is named below with the tests that cover it."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
SOURCES = [
    path.relative_to(ROOT / "actlas").as_posix()
    for path in sorted((ROOT / "actlas").rglob("*.py"))
    if path.name not in ("__init__.py", "__main__.py")
]

#: Source file -> test files, below tests/, that cover it from elsewhere: protocols and records by what uses them, processes
#: by those who start them, the command line by its verbs.
COVERED_BY: dict[str, tuple[str, ...]] = {
    "cli/verbs/stores.py": ("cli/test_cli.py", "demo/test_run.py"),
    "compiled/chunks.py": ("store/files/test_loops.py", "store/files/test_shard_reader.py"),
    "demo/settings.py": ("demo/test_run.py", "demo/test_condition.py"),
    "errors.py": ("test_exports.py",),
    "explore/server/tables.py": ("explore/server/test_app.py",),
    "explore/views/compare.py": ("query/test_views.py", "query/test_compare.py"),
    "explore/views/concept.py": ("query/test_views.py",),
    "explore/views/interventions.py": ("query/test_views.py",),
    "explore/views/languages.py": ("query/test_views.py",),
    "explore/views/neuron.py": ("query/test_views.py",),
    "explore/views/pieces.py": ("query/test_views.py",),
    "explore/views/probe.py": ("query/test_views.py",),
    "explore/views/sql.py": ("query/test_views.py",),
    "explore/views/store.py": ("query/test_views.py",),
    "intervene/tokens/reader.py": ("intervene/tokens/test_elsewhere.py",),
    "kernels/cpu/wide.py": ("kernels/cpu/test_neuron.py", "kernels/cpu/test_sums.py"),
    "kernels/states/counts.py": ("kernels/test_states.py",),
    "kernels/states/histogram.py": ("kernels/test_states.py",),
    "kernels/states/moments.py": ("kernels/test_states.py",),
    "kernels/states/texts.py": ("kernels/test_states.py",),
    "kernels/gpu/moments_kernels.py": ("kernels/gpu/test_moments.py", "kernels/gpu/test_compile.py"),
    "kernels/gpu/rank_kernels.py": ("kernels/gpu/test_ranks.py", "kernels/gpu/test_compile.py"),
    "query/probing/run.py": ("query/probing/test_probes.py", "query/probing/test_controls.py"),
    "query/probing/settings.py": ("query/probing/test_probes.py", "query/probing/test_solvers.py"),
    "query/lookups/thresholds.py": ("query/test_index.py", "query/sql/test_session.py"),
    "query/schema/answers.py": ("query/schema/test_table.py",),
    "query/schema/interventions.py": ("query/schema/test_table.py",),
    "query/sql/plan/once.py": ("query/sql/plan/test_planner.py",),
    "query/sql/plan/places.py": ("query/sql/plan/test_planner.py",),
    "query/schema/measures.py": ("query/measures/test_asked.py",),
    "query/schema/stored.py": ("query/schema/test_table.py",),
    "query/sql/grids.py": ("query/sql/test_scan.py", "query/sql/test_stream.py"),
    "query/texts/groups.py": ("query/texts/test_group_texts.py",),
    "query/workers/process.py": ("query/workers/test_client.py",),
    "query/workers/started.py": ("query/workers/test_client.py",),
    "query/space/distances.py": ("query/space/test_parameters.py",),
    "store/dtypes.py": ("extract/run/test_dtypes.py",),
    "store/integrity/groups.py": ("store/integrity/test_whole.py",),
    "store/write/score_import.py": ("query/imports/test_scores.py",),
    "testing/planted.py": ("query/test_planted_store.py", "test_can_read_old.py"),
}


def mirror(source: str) -> Path:
    folder, _, name = source.rpartition("/")
    return TESTS / folder / f"test_{name}"


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_file_has_its_tests(source: str) -> None:
    if mirror(source).is_file():
        assert source not in COVERED_BY, f"{source} has tests of its own; its line in the table can go"
        return
    assert source in COVERED_BY, f"actlas/{source} has neither {mirror(source).relative_to(ROOT)} nor a line in the table"
    missing = [name for name in COVERED_BY[source] if not (TESTS / name).is_file()]
    assert not missing, f"{source} is covered by files that are not there: {', '.join(missing)}"


def test_the_table_names_only_what_is_there() -> None:
    assert COVERED_BY.keys() <= set(SOURCES)
