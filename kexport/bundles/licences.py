"""What is known of the licence of the weights: as their publishers state it, for a reader who has to decide.

The licences of the original weights are those that https://keras.io/api/applications and the sources that its pages
name state. Nothing here is legal advice, and the text says so.
"""

from __future__ import annotations

from kexport.bundles.deployment import Deployment
from kexport.errors import UnknownNameError
from kexport.reports.md import escape
from kexport.sources import catalog

KERAS = "https://github.com/keras-team/keras/blob/master/LICENSE (Apache-2.0)"
_ORIGINAL = {
    "vgg": "the weights were ported from those of the Visual Geometry Group at Oxford, released under CC BY 4.0",
    "resnet": "ResNet50, 101 and 152 were ported from those of Kaiming He, released under the MIT licence",
    "densenet": "the weights were ported from those of the DenseNet authors, released under the BSD 3-clause licence",
    "convnext": "the weights were ported from those of Meta's ConvNeXt repository, released under the MIT licence",
    "mobilenet_v3": "the weights were ported from those of the TensorFlow models repository, released under Apache-2.0",
    "efficientnet": "the weights were ported from those of the TensorFlow TPU repository, released under Apache-2.0",
    "efficientnet_v2": "the weights were ported from those of google/automl, released under Apache-2.0",
    "inception_v3": "the weights were ported from those of the TensorFlow models repository, released under Apache-2.0",
    "nasnet": "the weights were ported from those of the TensorFlow models repository, released under Apache-2.0",
}


def text(deployment: Deployment) -> str:
    """``LICENCES.md``."""
    facts = deployment.facts
    known = facts is not None and facts.application and facts.weights == "imagenet"
    weights = _application(facts.application) if known and facts is not None else _own(deployment)
    digest = f"sha256 `{facts.weights_sha256}`" if facts is not None else "no record says which"
    return (
        "# Licences\n\n"
        "## Weights\n\n"
        f"{weights}\n\n"
        f"Source of the weights: {escape(deployment.weights)}, {digest}.\n\n"
        "## Code\n\n"
        "The client code of this bundle comes from kexport (Apache-2.0) and may be changed and shipped freely.\n\n"
        "This note repeats what publishers state; it is no legal advice.\n"
    )


def _application(name: str) -> str:
    try:
        family = catalog.application(name).family
    except UnknownNameError:
        family = ""
    original = _ORIGINAL.get(family)
    lines = [f"`{name}` of keras.applications, published with Keras: {KERAS}."]
    lines += [f"As its sources state, {original}."] if original else []
    lines.append(
        "They were trained on ImageNet (ILSVRC), whose images are for research; whether that binds what was trained "
        "on them is for you to decide."
    )
    return "\n".join(lines)


def _own(deployment: Deployment) -> str:
    return (
        f"The weights are those of `{escape(deployment.weights)}`: their licence is that of whoever trained them, and "
        "of what they were trained from and on. State it here before you pass this bundle on."
    )
