"""What a recipe means for a network: rules for layers become wishes for nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from kexport.errors import UsageError
from kexport.graph import Graph, Node
from kexport.operations import Conv, Dense
from kexport.quantization import layers
from kexport.quantization.prepare.assign import assign
from kexport.records.recipe import LayerKernels, LayerPrecision, LayerRange, Recipe, Rule

FILE, KEEP = "--recipe", "--keep-float"
Settings = Mapping[str, Rule]
"""What holds for a layer in the end, by its name."""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """By names of nodes of a rewritten graph: what a recipe wants otherwise than it is usual.

    ``in_float`` stay float32, ``in_int8`` do not even where a first layer usually does, ``extremes`` have ranges as
    wide as what was seen, ``other_kernels`` what others have not: all of int8 where those are portable.
    """

    in_float: frozenset[str] = frozenset()
    in_int8: frozenset[str] = frozenset()
    extremes: frozenset[str] = frozenset()
    other_kernels: frozenset[str] = frozenset()


def with_kept(recipe: Recipe, names: Iterable[str]) -> Recipe:
    """The recipe, and layers that stay in float32 whatever it says."""
    kept = (Rule(layer=name, precision=LayerPrecision.FLOAT) for name in names)
    return replace(recipe, rules=tuple(dict.fromkeys((*recipe.rules, *kept))))


def require(graph: Graph, recipe: Recipe, kept: Iterable[str], *, source: str) -> None:
    """Raise UnknownNameError for a rule, or a layer that is ``kept`` in float, that the network has not."""
    for _ in _matched(graph, recipe, kept, source):
        pass


def idle(graph: Graph, recipe: Recipe) -> bool:
    """Whether it has rules, all of them optional, and the network none of the layers that they mean."""
    return bool(recipe.rules) and all(each.optional and not layers.meant(graph, each.layer) for each in recipe.rules)


def wishes(graph: Graph, recipe: Recipe, kept: Iterable[str], *, source: str) -> Wishes:
    """What the recipe wants of the nodes of a rewritten graph; layers that are ``kept`` are float whatever it says.

    Raises UnknownNameError for a rule of no layer, UsageError for one of layers that have no int8 to speak of.
    """
    settings = _settings(_matched(graph, recipe, kept, source))
    named = {name for name, rule in settings.items() if rule.precision is LayerPrecision.FLOAT}
    stay = {name for name, rule in settings.items() if rule.precision is LayerPrecision.INT8}
    apart = {node.name for node in graph if not stay.isdisjoint(node.layers) and named.isdisjoint(node.layers)}
    in_float = layers.nodes(graph, named, integer_head=recipe.integer_head) - apart
    found = Wishes(
        in_float=in_float,
        in_int8=frozenset(apart),
        extremes=frozenset(node.name for node in graph if _says(settings, node, LayerRange.EXTREMES)),
        other_kernels=frozenset(node.name for node in graph if _other(settings, node, recipe)),
    )
    _check(graph, recipe, in_float, source)
    return found


def _said(recipe: Recipe, kept: Iterable[str]) -> Iterator[tuple[str, Rule]]:
    """Every rule in order, and the option that says it."""
    yield from ((FILE, rule) for rule in recipe.rules)
    yield from ((KEEP, Rule(layer=name, precision=LayerPrecision.FLOAT)) for name in kept)


def _matched(graph: Graph, recipe: Recipe, kept: Iterable[str], source: str) -> Iterator[tuple[Rule, frozenset[str]]]:
    """Every rule in order, and the layers that it means: none only where it is optional."""
    for option, rule in _said(recipe, kept):
        named = layers.meant(graph, rule.layer)
        if not named and not rule.optional:
            layers.matching(graph, rule.layer, option=option, source=source)
        yield rule, named


def _settings(matched: Iterable[tuple[Rule, frozenset[str]]]) -> Settings:
    settings: dict[str, Rule] = {}
    for rule, named in matched:
        for name in named:
            settings[name] = _over(settings.get(name), rule)
    return settings


def _over(before: Rule | None, rule: Rule) -> Rule:
    """The later rule over the earlier one of a layer; what is float has nothing else."""
    if before is None or rule.precision is LayerPrecision.FLOAT:
        return rule
    return Rule(
        layer=rule.layer,
        precision=rule.precision or (LayerPrecision.INT8 if rule.range or rule.kernels else before.precision),
        range=rule.range or before.range,
        kernels=rule.kernels or before.kernels,
    )


def _says(settings: Settings, node: Node, wanted: LayerRange) -> bool:
    return any(settings[name].range is wanted for name in node.layers if name in settings)


def _other(settings: Settings, node: Node, recipe: Recipe) -> bool:
    """Whether a rule says other kernels than what holds for all layers."""
    if not isinstance(node.operation, (Conv, Dense)):
        return False
    said = [settings[name].kernels for name in node.layers if name in settings and settings[name].kernels]
    return bool(said) and (said[-1] is LayerKernels.FULL) != (recipe.kernels is LayerKernels.FULL)


def _check(graph: Graph, recipe: Recipe, in_float: frozenset[str], source: str) -> None:
    """UsageError for a rule about int8 of layers that are float all of them."""
    precisions = assign(graph, keep_float=in_float, integer_head=recipe.integer_head)
    for rule, named in _matched(graph, recipe, (), source):
        if (rule.range is None and rule.kernels is None) or not named:
            continue
        nodes = [node for node in graph if node.name in precisions and not named.isdisjoint(node.layers)]
        if not nodes or (rule.range is None and not any(isinstance(node.operation, (Conv, Dense)) for node in nodes)):
            what = "range" if rule.range else "kernels"
            raise UsageError(
                f"{FILE}: the rule of {rule.layer} has {what}, and none of its layers computes "
                f"{'in int8' if rule.range else 'with an int8 kernel'}",
                hint=f"kexport list layers {source}",
            )
