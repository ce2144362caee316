"""A stored record's model as a request again: for checks and measurements of what was made before."""

from __future__ import annotations

from kexport.errors import SourceError
from kexport.records import SourceFacts
from kexport.specs import ModelSpec, WeightsSpec


def model_of(facts: SourceFacts, *, weights: WeightsSpec | None = None) -> ModelSpec:
    """The `ModelSpec` that an artifact was made from, with other ``weights`` if given.

    Raises SourceError for a model of a Python program, which is gone.
    """
    options = dict(facts.options)
    shape, layers = options.pop("input_shape", None), options.pop("layers", None)
    if facts.kind == "live":
        raise SourceError(
            f"the artifact was made from a model of a Python program ({facts.source}), which is not there any more",
            hint='model.save("model.keras"), then kexport export model.keras',
        )
    own = WeightsSpec(kind="model") if facts.weights == "model" else WeightsSpec.parse(facts.weights)
    return ModelSpec(
        application=facts.application,
        file=facts.source if facts.kind == "file" else None,
        factory=facts.source if facts.kind == "factory" else None,
        weights=own if weights is None or not facts.application else weights,
        input_shape=tuple(shape) if shape else None,
        layers=tuple(layers or ()),
        **options,
    )
