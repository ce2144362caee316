"""A Gradle module in Kotlin: LiteRT's CompiledModel, the contract's own preprocessing, an instrumented golden test."""

from __future__ import annotations

from kexport.bundles import Bundle, Files, common, contract, golden
from kexport.bundles.deployment import Deployment
from kexport.bundles.golden import Golden

LITERT = "2.3.0"
MEDIAPIPE = "0.10.21"
MODULE, PACKAGE = "classifier", "dev/kexport/classifier"
TYPES = ("float32", "int8", "uint8")


def _files(deployment: Deployment, made: Golden) -> Files:
    main, test = f"{MODULE}/src/main", f"{MODULE}/src/androidTest"
    gradle = common.client("android/build.gradle.kts").decode().replace("@LITERT@", LITERT)
    kotlin = ("Classifier.kt", "Contract.kt", "Images.kt")
    found = {
        f"{MODULE}/build.gradle.kts": gradle.encode(),
        f"{main}/AndroidManifest.xml": common.client("android/AndroidManifest.xml"),
        **{f"{main}/kotlin/{PACKAGE}/{name}": common.client(f"android/{name}") for name in kotlin},
        **{f"{main}/assets/{name}": content for name, content in common.model(deployment).items()},
        f"{main}/assets/contract.json": contract.text(contract.of(deployment)),
        f"{test}/kotlin/{PACKAGE}/GoldenTest.kt": common.client("android/GoldenTest.kt"),
        f"{test}/assets/golden/golden.json": contract.text(golden.described(made, deployment)),
        **{f"{test}/assets/{name}": content for name, content in golden.files(made).items()},
    }
    if deployment.labels:
        found[f"{main}/assets/labels.txt"] = common.labels(deployment)
    return found


def _refusal(deployment: Deployment) -> str:
    if deployment.classes is None:
        return "its outputs are no row of classes for the module to name"
    strange = [f"{spec.name} {spec.dtype}" for spec in (*deployment.inputs, *deployment.outputs)
               if spec.dtype not in TYPES]  # fmt: skip
    return f"LiteRT's Kotlin interface has no {', '.join(strange)}" if strange else ""


def _readme(deployment: Deployment) -> str:
    del deployment
    return (
        f'Copy `{MODULE}/` into an Android project and add `include(":{MODULE}")` to its settings.gradle.kts and '
        f'`implementation(project(":{MODULE}"))` to the app. It needs minSdk 26 and LiteRT {LITERT}.\n\n'
        "```kotlin\n"
        "Classifier(context).use { classifier -> classifier.classify(bitmap) }   // off the main thread\n"
        "```\n\n"
        f"`./gradlew :{MODULE}:connectedAndroidTest` runs the golden test on a device or emulator.\n\n"
        "**This module was not built or run where it was written: there is no Android SDK.** Its Kotlin follows LiteRT "
        f"{LITERT}'s documented interface; the model file was run with LiteRT on Linux, which MODEL_CARD.md tells.\n\n"
        "Where MediaPipe Tasks is in the app already, and the file has standard metadata, five lines "
        f"do (`com.google.mediapipe:tasks-vision:{MEDIAPIPE}`; its resize is a squash of its own):\n\n"
        "```kotlin\n"
        'val base = BaseOptions.builder().setModelAssetPath("model.tflite").build()\n'
        "val options = ImageClassifier.ImageClassifierOptions.builder().setBaseOptions(base).setMaxResults(5).build()\n"
        "val classifier = ImageClassifier.createFromOptions(context, options)\n"
        "val result = classifier.classify(BitmapImageBuilder(bitmap).build())\n"
        "result.classificationResult().classifications()[0].categories().forEach { println(it.categoryName()) }\n"
        "```\n"
    )


BUNDLE = Bundle(
    name="android", summary="a module for Android", formats=("tflite",), files=_files, readme=_readme, refusal=_refusal
)
