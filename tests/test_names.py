"""The words of the field: what of them is written down must read and hash alike in every version."""

import json

import pytest

from actlas.names import Recipe, StateRules, TokenSample

RECIPES = [
    Recipe("c", "t", ("mlp_pre",)),
    Recipe("c", "t", ("mlp_pre",), count_thresholds=(0.5, 1.0)),
    Recipe("c", "t", (), tokens=TokenSample(0, sites=()), states=StateRules(("moments",), ("resid",))),
    Recipe("c", "t", ("mlp_pre", "resid"), site_dtypes=(("resid", "float32"),)),
    Recipe("c", "t", ("gate",), site_modules=(("gate", "net.{layer}.gate:output"),)),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.fingerprint)
def test_a_recipe_survives_json(recipe):
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_a_recipe_keeps_its_fingerprint_from_version_to_version():
    # as the first version computed them: a store is told to be of another recipe by nothing else
    assert [recipe.fingerprint for recipe in RECIPES[:2]] == ["51b29789f829c54d", "d71535097ec58e89"]
    assert RECIPES[1].to_json()["count_threshold"] == 0.5
    assert RECIPES[1].to_json()["more_count_thresholds"] == [1.0]
    assert {"more_count_thresholds", "site_dtypes"}.isdisjoint(RECIPES[0].to_json())


def test_recipes_that_store_the_same_are_equal():
    recipe = Recipe("c", "t", ("mlp_hidden", "mlp_pre", "resid"), tokens=TokenSample(2, sites=("embed", "resid")))
    assert recipe.dtypes == dict.fromkeys(("embed", "mlp_hidden", "mlp_pre", "resid"), "float16")
    wide = recipe.with_dtypes(dict.fromkeys(recipe.value_sites, "float32"))
    assert wide == Recipe(**{**vars(recipe), "dtype": "float32"})
    mixed = wide.with_dtypes({"resid": "float16"})
    assert (mixed.dtype, mixed.site_dtypes) == ("float32", (("resid", "float16"),))
    for one in (recipe, wide, mixed):
        assert one.with_dtypes(mixed.dtypes) == mixed
        assert mixed.with_dtypes(one.dtypes) == one
    assert mixed.dtype_of("resid") == "float16"
    with pytest.raises(ValueError, match="dtype of resid 'int8' is not known"):
        recipe.with_dtypes({"resid": "int8"})


def test_a_recipe_counts_above_thresholds_that_differ():
    with pytest.raises(ValueError, match="named twice"):
        Recipe("c", "t", ("mlp_pre",), count_thresholds=(0.0, 0.0))
    with pytest.raises(ValueError, match="at least one count threshold"):
        Recipe("c", "t", ("mlp_pre",), count_thresholds=())
