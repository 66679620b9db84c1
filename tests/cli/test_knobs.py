"""From arguments to a recipe."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instil.cli.knobs import recipe_from, split_args
from instil.core.errors import UserError


@pytest.mark.parametrize(
    ("arguments", "plain", "flags"),
    [
        ([], [], {}),
        (["r.yaml"], ["r.yaml"], {}),
        (["r.yaml", "--train.batch", "32"], ["r.yaml"], {"train.batch": "32"}),
        (["--train.batch=32", "r.yaml"], ["r.yaml"], {"train.batch": "32"}),
        (["--system", "", "r.yaml"], ["r.yaml"], {"system": ""}),
        (["--system="], [], {"system": ""}),
        (["--system=a=b --c"], [], {"system": "a=b --c"}),
        (["--seed", "-1"], [], {"seed": "-1"}),
        # switches stand alone, also before the recipe
        (["--train.tensorboard", "r.yaml"], ["r.yaml"], {"train.tensorboard": True}),
        (["--train.tensorboard", "false", "r.yaml"], ["r.yaml"], {"train.tensorboard": "false"}),
        (["--train.tensorboard", "--train.batch", "3"], [], {"train.tensorboard": True, "train.batch": "3"}),
        (["--trust_remote_code"], [], {"trust_remote_code": True}),
        # lists may be given in parts
        (["--data", "a", "--data", "b", "--data=c"], [], {"data": ["a", "b", "c"]}),
        (["--allow", "no_stop", "--allow", "[a, b]"], [], {"allow": ["no_stop", "[a, b]"]}),
        (["--data.0.path", "a", "--data.1.path", "b"], [], {"data.0.path": "a", "data.1.path": "b"}),
        (["--unheard.of", "x"], [], {"unheard.of": "x"}),
    ],
)
def test_arguments(arguments, plain, flags):
    assert split_args(arguments) == (plain, flags)


def test_a_flag_given_twice():
    with pytest.raises(UserError, match=r"--train\.batch is given twice: keep one"):
        split_args(["--train.batch", "3", "--train.batch=4"])


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: not text.startswith("--")), max_size=4))
def test_plain_arguments_stay_in_order(arguments):
    assert split_args(arguments) == (arguments, {})


@given(st.text())
def test_any_text_passes_behind_an_equals_sign(text):
    assert recipe_from(["--model", "m", "--data", "d", f"--system={text}"]).system == (None if text == "null" else text)


def test_a_recipe_from_flags_alone():
    recipe = recipe_from(["--model", "m", "--data", "a", "--data", "b", "--data.1.take", "5%", "--train.steps", "3", "--name", "7"])
    assert [(s.path, s.take) for s in recipe.data] == [("a", None), ("b", "5%")]
    assert (recipe.train.steps, recipe.name) == (3, "7")


def test_one_recipe_or_none(tmp_path):
    with pytest.raises(UserError, match="one recipe at a time, not a and b"):
        recipe_from(["a", "b"])
    with pytest.raises(UserError, match="no recipe: give a YAML file"):
        recipe_from([])
    (tmp_path / "r.yaml").write_text("model: m\ndata: a\ntrain: {batch: 2}\n")
    assert recipe_from([str(tmp_path / "r.yaml"), "--train.batch", "3"]).train.batch == 3
