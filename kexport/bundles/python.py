"""One Python file that needs numpy, Pillow and a runtime, and nothing of kexport."""

from __future__ import annotations

from kexport.bundles import Bundle, Files, common
from kexport.bundles.deployment import Deployment
from kexport.bundles.golden import Golden

RUNTIMES = {"onnx": "onnxruntime", "tflite": "ai-edge-litert"}


def _files(deployment: Deployment, _golden: Golden) -> Files:
    requirements = f"numpy\npillow\n{RUNTIMES[deployment.format]}\n"
    return {
        **common.model(deployment),
        "classify.py": common.client("classify.py"),
        "requirements.txt": requirements.encode(),
    }


def _readme(deployment: Deployment) -> str:
    return (
        "```\n"
        "pip install -r requirements.txt\n"
        "python classify.py photo.jpg        # the five likeliest classes\n"
        "python classify.py --json *.jpg     # the same, for machines\n"
        "python classify.py --self-test      # the golden inputs, through preprocessing and model\n"
        "```\n\n"
        f"In a program: `from classify import Classifier; Classifier().classify('photo.jpg')`. {deployment.model_file} "
        "runs on two threads unless `--threads` says otherwise."
    )


BUNDLE = Bundle(name="python", summary="a client of one file", formats=("onnx", "tflite"), files=_files, readme=_readme)
