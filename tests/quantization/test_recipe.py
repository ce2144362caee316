"""Recipes: what rules mean for nodes, files that are read strictly, and what is written reads as the same value."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kexport.errors import UsageError
from kexport.quantization import recipe, recipe_file
from kexport.quantization.recipe import Wishes
from kexport.records.recipe import LayerKernels, LayerPrecision, LayerRange, Recipe, Rule
from tests.quantization.test_layers import network

FLOAT, INT8 = LayerPrecision.FLOAT, LayerPrecision.INT8
FULL, PORTABLE = LayerKernels.FULL, LayerKernels.PORTABLE
WIDE = LayerRange.EXTREMES


def wishes(*rules: Rule, kept: tuple[str, ...] = (), kernels: LayerKernels | None = None) -> Wishes:
    return recipe.wishes(network(), Recipe(rules=rules, kernels=kernels), kept, source="net.keras")


@pytest.mark.parametrize(
    ("rules", "wanted"),
    [
        ((Rule(layer="stem", precision=FLOAT),), Wishes(in_float=frozenset({"first"}))),
        (
            (Rule(layer="*", precision=FLOAT), Rule(layer="block?_conv", precision=INT8)),
            Wishes(in_float=frozenset({"first", "sum", "act", "mean", "head"}), in_int8=frozenset({"second", "third"})),
        ),
        (
            (Rule(layer="block2_conv", precision=FLOAT), Rule(layer="add", precision=INT8)),
            Wishes(in_float=frozenset({"third", "act", "mean"}), in_int8=frozenset({"sum"})),
        ),
        ((Rule(layer="stem*", range=WIDE),), Wishes(extremes=frozenset({"first"}))),
        (
            (Rule(layer="*_conv", kernels=FULL), Rule(layer="block1*", kernels=PORTABLE)),
            Wishes(other_kernels=frozenset({"third"}), in_int8=frozenset({"second"})),
        ),
        (
            (Rule(layer="stem", precision=FLOAT), Rule(layer="stem", kernels=FULL, range=WIDE)),
            Wishes(extremes=frozenset({"first"}), other_kernels=frozenset({"first"}), in_int8=frozenset({"first"})),
        ),
    ],
    ids=["float", "all but", "a sum of a float layer", "range", "kernels", "later rules"],
)
def test_rules_become_wishes_for_nodes(rules: tuple[Rule, ...], wanted: Wishes) -> None:
    assert wishes(*rules) == wanted


def test_kernels_of_the_whole_and_layers_that_differ() -> None:
    assert wishes(Rule(layer="stem", kernels=PORTABLE), kernels=FULL).other_kernels == {"first"}
    assert wishes(Rule(layer="stem", kernels=FULL), kernels=FULL).other_kernels == frozenset()


def test_what_is_typed_stands_over_the_file() -> None:
    assert wishes(Rule(layer="*", precision=INT8), kept=("stem",)).in_float == {"first"}


@pytest.mark.parametrize(
    ("rules", "kept", "told"),
    [
        ((Rule(layer="stm", precision=FLOAT),), (), "unknown layer of --recipe 'stm': did you mean stem?"),
        ((), ("clases",), "unknown layer of --keep-float 'clases': did you mean classes?"),
        (
            (Rule(layer="stem", precision=FLOAT), Rule(layer="stem_bn", range=WIDE)),
            (),
            "--recipe: the rule of stem_bn has range, and none of its layers computes in int8",
        ),
        (
            (Rule(layer="add", kernels=FULL),),
            (),
            "--recipe: the rule of add has kernels, and none of its layers computes with an int8 kernel",
        ),
    ],
)
def test_rules_that_nothing_could_follow(rules: tuple[Rule, ...], kept: tuple[str, ...], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        wishes(*rules, kept=kept)
    assert (caught.value.message, caught.value.hint) == (told, "kexport list layers net.keras")


def read(folder: Path, text: str) -> Recipe:
    path = folder / "r.toml"
    path.write_text(text, encoding="utf-8")
    return recipe_file.read(str(path))


def test_a_file(tmp_path: Path) -> None:
    text = (
        'kernels = "full"\n[[rules]]\nlayer = "a*"\nprecision = "float"\n[[rules]]\nlayer = "b"\nrange = "extremes"\n'
    )
    rules = (Rule(layer="a*", precision=FLOAT), Rule(layer="b", range=WIDE))
    assert read(tmp_path, text) == Recipe(kernels=FULL, rules=rules)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            '[[rules]]\nlayr = "a"\nprecision = "float"',
            "rules.0.layr: unknown key, did you mean layer? expected one of ",
        ),
        ('[[rules]]\nlayer = "a"\nprecision = "flaot"', "rules.0.precision: expected 'int8' or 'float', got \"flaot\""),
        ('[[rules]]\nlayer = "a"', "rules.0: the rule of a says nothing: expected precision, range or kernels"),
        (
            '[[rules]]\nlayer = "a"\nprecision = "float"\nkernels = "full"',
            "rules.0: the rule of a: a float layer has neither range nor kernels of int8",
        ),
        ('kernel = "full"', "kernel: unknown key, did you mean kernels? expected one of description, kernels"),
        ('description = "nothing"', "says nothing: expected rules, kernels or integer_head"),
        ("[[rules]", "is not TOML: "),
        ("a" + ".a" * 400 + " = 1", "is not TOML: a line with more than 200 dots"),
        ("#" * (recipe_file.MAX_BYTES + 1), "cannot be read: "),
    ],
    ids=range(9),
)
def test_mistakes_of_a_file(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    assert f"--recipe {tmp_path / 'r.toml'}: {told}" in caught.value.message
    assert caught.value.hint == "kexport inspect ARTIFACT --recipe writes one"


def test_every_mistake_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, 'kernels = 3\n[[rules]]\nlayer = 2\nrange = "all"\n')
    assert len(caught.value.message.splitlines()) == 3


RULES = st.builds(
    Rule,
    layer=st.text(min_size=1, alphabet=st.characters(exclude_categories=["Cs"])),
    precision=st.sampled_from([INT8, None]),
    range=st.sampled_from(LayerRange),
    kernels=st.sampled_from([*LayerKernels, None]),
    optional=st.booleans(),
)


@given(recipe_=st.builds(Recipe, rules=st.lists(RULES, min_size=1, max_size=3).map(tuple), integer_head=st.booleans()))
@settings(max_examples=60, deadline=None)
def test_what_is_written_reads_as_the_same(recipe_: Recipe) -> None:
    import tomllib

    assert recipe_file.parse(tomllib.loads(recipe_file.written(recipe_))) == recipe_
