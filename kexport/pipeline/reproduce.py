"""A stored record's model as a request again: for checks and measurements of what was made before.

A record may come from elsewhere: it is data. It says which model it was made from, and never what may run: code of
a factory or inside a model file runs only if the user has typed that very name (``--trust``).
"""

from __future__ import annotations

import shlex
from collections.abc import Collection

from kexport.errors import SourceError
from kexport.records import SourceFacts
from kexport.specs import ModelSpec, WeightsSpec

OPTIONS = ("alpha", "minimalistic", "classes", "include_top", "pooling")
"""What a record may say of its network beside its shape and taps."""


def model_of(
    facts: SourceFacts, *, weights: WeightsSpec | None = None, trusted: Collection[str] = frozenset()
) -> ModelSpec:
    """The `ModelSpec` that an artifact was made from, with other ``weights`` if given.

    ``trusted`` are the factories and model files, as the record calls them, whose code the user allows to run.
    Raises SourceError for a model of a Python program, which is gone, and for a factory that is not trusted.
    """
    options = {name: facts.options[name] for name in OPTIONS if name in facts.options}
    shape, layers = facts.options.get("input_shape"), facts.options.get("layers")
    if facts.kind == "live":
        raise SourceError(
            f"the artifact was made from a model of a Python program ({facts.source}), which is not there any more",
            hint='model.save("model.keras"), then kexport export model.keras',
        )
    if facts.kind == "factory" and facts.source not in trusted:
        raise SourceError(
            f"the record names Python code, {facts.source}, which would run: expected --trust with that name",
            hint=f"--trust {shlex.quote(facts.source)}, if that code is yours",
        )
    own = WeightsSpec(kind="model") if facts.weights == "model" else WeightsSpec.parse(facts.weights)
    return ModelSpec(
        application=facts.application,
        file=facts.source if facts.kind == "file" else None,
        factory=facts.source if facts.kind == "factory" else None,
        weights=own if weights is None or not facts.application else weights,
        input_shape=tuple(shape) if shape else None,
        layers=tuple(layers or ()),
        trust=facts.kind == "file" and facts.source in trusted,
        **options,
    )
