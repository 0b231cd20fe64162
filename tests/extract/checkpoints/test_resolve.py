import pytest

from actlas.errors import ModelNotLoaded
from actlas.extract.checkpoints.resolve import random_twins, resolve_models
from actlas.names import Checkpoint, RandomTwin


def make(folder):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def test_a_folder_is_one_checkpoint(tmp_path):
    (found,) = resolve_models(make(tmp_path / "my model"))
    assert (found.id, found.step, found.model) == ("my-model", None, str(tmp_path / "my model"))


def test_a_folder_of_steps_is_many_by_step(tmp_path):
    for name in ("step1000", "step64", "global_step2"):
        make(tmp_path / "xglm" / name)
    (tmp_path / "xglm" / "notes").mkdir()
    found = resolve_models([str(tmp_path / "xglm")])
    assert [c.id for c in found] == ["xglm-step2", "xglm-step64", "xglm-step1000"]
    assert [c.step for c in found] == [2, 64, 1000]


def test_a_step_in_the_folder_name_is_not_said_twice(tmp_path):
    (found,) = resolve_models(make(tmp_path / "tiny-step64"))
    assert (found.id, found.step) == ("tiny-step64", 64)


def test_hub_ids_with_and_without_revision():
    found = resolve_models(["bigscience/bloom-560m-intermediate@global_step1000", "org/m", "org/n@main", "gpt2"])
    assert [(c.id, c.model, c.step, c.revision) for c in found] == [
        ("bloom-560m-intermediate-step1000", "bigscience/bloom-560m-intermediate", 1000, "global_step1000"),
        ("gpt2", "gpt2", None, None),
        ("m", "org/m", None, None),
        ("n@main", "org/n", None, "main"),
    ]


def test_steps_can_be_given(tmp_path):
    found = resolve_models([make(tmp_path / "b"), make(tmp_path / "a")], steps=[20, 10])
    assert [(c.id, c.step) for c in found] == [("a-step10", 10), ("b-step20", 20)]
    with pytest.raises(ModelNotLoaded, match="1 steps were given for 2 checkpoints"):
        resolve_models([tmp_path / "a", tmp_path / "b"], steps=[1])


def test_a_checkpoint_is_taken_as_it_is():
    asked = Checkpoint("mine", "org/model", 3, "abc")
    assert resolve_models(asked) == [asked]


def test_two_checkpoints_with_one_id_are_refused(tmp_path):
    make(tmp_path / "a" / "run" / "step1")
    make(tmp_path / "b" / "run" / "step1")
    with pytest.raises(ModelNotLoaded, match="2 checkpoints would be stored as 'run-step1'"):
        resolve_models([tmp_path / "a" / "run", tmp_path / "b" / "run"])


@pytest.mark.parametrize("argument", ["./nowhere", "/nowhere", "a/b/c", "org/model@", ""])
def test_arguments_that_name_no_model_are_refused(argument):
    with pytest.raises(ModelNotLoaded):
        resolve_models([argument])


def test_an_empty_folder_and_an_empty_list_are_refused(tmp_path):
    with pytest.raises(ModelNotLoaded, match="holds no step folders"):
        resolve_models(tmp_path)
    with pytest.raises(ModelNotLoaded, match="no model was named"):
        resolve_models([])


def test_a_pattern_takes_every_revision_that_carries_a_step():
    asked = []

    def revisions(model):
        asked.append(model)
        return ["main", "global_step10", "global_step2", "float16", "global_step2", "other_step7"]

    found = resolve_models("org/m@global_step*", list_revisions=revisions)
    assert [(c.id, c.revision) for c in found] == [("m-step2", "global_step2"), ("m-step10", "global_step10")]
    assert asked == ["org/m"]
    assert [c.id for c in resolve_models("org/m@*", list_revisions=revisions)] == ["m-step2", "m-step7", "m-step10"]
    with pytest.raises(ModelNotLoaded, match=r"no revision that matches 'nothing\*'"):
        resolve_models("org/m@nothing*", list_revisions=revisions)


def test_patterns_can_be_given_apart_from_the_models(tmp_path):
    names = ["main", "step10", "step2", "stage1-step30-tokens4B", "step4-float16"]
    found = resolve_models(["org/a", "org/b"], revisions=["step?", "stage1-*"], list_revisions=lambda _: names)
    assert [(c.id, c.revision) for c in found] == [
        ("a-step2", "step2"),
        ("b-step2", "step2"),
        ("a-step30", "stage1-step30-tokens4B"),
        ("b-step30", "stage1-step30-tokens4B"),
    ]
    asked = resolve_models("org/a", revisions=["step2", "step10"])
    assert [c.revision for c in asked] == ["step2", "step10"]
    with pytest.raises(ModelNotLoaded, match="names a revision already"):
        resolve_models("org/a@step2", revisions=["step*"], list_revisions=lambda _: names)
    with pytest.raises(ModelNotLoaded, match="it matches main, whose steps the option steps can give"):
        resolve_models("org/a", revisions=["ma*"], list_revisions=lambda _: names)
    for name in ("step1", "step12", "step3"):
        make(tmp_path / "run" / name)
    assert [c.step for c in resolve_models(tmp_path / "run", revisions=["step1*"])] == [1, 12]
    with pytest.raises(ModelNotLoaded, match=r"no step folders .* that match nothing"):
        resolve_models(tmp_path / "run", revisions=["nothing"])
    with pytest.raises(ModelNotLoaded, match="is one checkpoint; the option revisions chooses among"):
        resolve_models(tmp_path / "run" / "step1", revisions=["step*"])


def test_steps_given_by_hand_settle_what_names_leave_open(tmp_path):
    for name in ("100", "20"):
        make(tmp_path / "run" / name)
    with pytest.raises(ModelNotLoaded, match="the steps of 20, 100 can be given by the option steps"):
        resolve_models(tmp_path / "run")
    assert [(c.id, c.step) for c in resolve_models(tmp_path / "run", [20, 100])] == [("run-step20", 20), ("run-step100", 100)]
    revisions = ["step2-iter_7", "step1-iter_9"]
    with pytest.raises(ModelNotLoaded, match="more than one number"):
        resolve_models("org/m@*", list_revisions=lambda _: revisions)
    found = resolve_models("org/m@*", [9, 7], list_revisions=lambda _: revisions)
    assert [(c.id, c.revision) for c in found] == [("m-step7", "step2-iter_7"), ("m-step9", "step1-iter_9")]
    (found,) = resolve_models(make(tmp_path / "tiny-step3"), [5])
    assert (found.id, found.step) == ("tiny-step5", 5)


def test_one_step_in_two_stages_is_refused():
    revisions = ["stage1-step1000-tokens4B", "stage2-step1000-tokens4B"]
    with pytest.raises(ModelNotLoaded, match="2 checkpoints would be stored as 'm-step1000'.*option steps"):
        resolve_models("org/m@stage*", list_revisions=lambda _: revisions)


def test_an_adapter_alone_is_named(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelNotLoaded, match=r"holds an adapter \(adapter_config\.json\) and no model"):
        resolve_models(tmp_path)


def test_every_run_of_checkpoints_has_a_random_twin_after_its_last():
    asked = resolve_models(["org/a@global_step10", "org/a@global_step2", "org/b@main", "org/c", Checkpoint("mine", "org/d", 3)])
    assert random_twins(asked, 7) == [
        Checkpoint("a-random7", "org/a", None, "global_step10", RandomTwin("a-step10", 7)),
        Checkpoint("mine-random7", "org/d", None, None, RandomTwin("mine", 7)),
        Checkpoint("b-random7", "org/b", None, "main", RandomTwin("b@main", 7)),
        Checkpoint("c-random7", "org/c", None, None, RandomTwin("c", 7)),
    ]
    # as a store lists them: after all others
    assert [c.id for c in sorted([*random_twins(asked, 7)[:2], *asked], key=lambda c: c.order)][-2:] == [
        "a-random7",
        "mine-random7",
    ]


def test_a_checkpoint_with_the_name_of_a_twin_is_refused(tmp_path):
    asked = resolve_models([make(tmp_path / "m"), make(tmp_path / "m-random0")])
    with pytest.raises(ModelNotLoaded, match="'m-random0' is what the random-weights twin would be stored as"):
        random_twins(asked, 0)
