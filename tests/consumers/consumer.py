"""Who reads kexport's files elsewhere: each with the packages of its own environment and the formats that it takes."""

from __future__ import annotations

from dataclasses import dataclass

ONNX, TFLITE = "onnx", "tflite"


@dataclass(frozen=True, kw_only=True)
class Consumer:
    """``client`` is a module of ``clients/``; without ``packages`` it runs in the environment of kexport itself.

    ``node``: what it runs are packages of Node, and Chromium. ``remark`` is what a reader of the table has to know.
    """

    name: str
    client: str
    formats: tuple[str, ...]
    packages: tuple[str, ...] = ()
    node: bool = False
    remark: str = ""

    @property
    def folder(self) -> str:
        """A name for files of it."""
        return self.name.lower().replace(" ", "-")


CONSUMERS = (
    Consumer(name="ONNX Runtime", client="onnxruntime_", formats=(ONNX,)),
    Consumer(
        name="ONNX Runtime 1.17", client="onnxruntime_", formats=(ONNX,), packages=("onnxruntime==1.17.*", "numpy<2")
    ),
    Consumer(name="onnx.reference", client="onnx_reference", formats=(ONNX,), remark="numpy without any kernels: slow"),
    Consumer(
        name="OpenVINO",
        client="openvino_",
        formats=(ONNX, TFLITE),
        packages=("openvino",),
        remark="with `INFERENCE_PRECISION_HINT=f32`",
    ),
    Consumer(name="OpenCV 5", client="opencv_", formats=(ONNX, TFLITE), packages=("opencv-python-headless>=5",)),
    Consumer(name="OpenCV 4", client="opencv_", formats=(ONNX, TFLITE), packages=("opencv-python-headless>=4,<5",)),
    Consumer(name="tract", client="tract_", formats=(ONNX,), packages=("tract", "numpy")),
    Consumer(name="ONNX Runtime Web", client="onnxruntime_web", formats=(ONNX,), node=True, remark="Chromium, WASM"),
    Consumer(name="LiteRT", client="litert_", formats=(TFLITE,), remark="`Interpreter`"),
    Consumer(name="LiteRT CompiledModel", client="compiled_model", formats=(TFLITE,)),
    Consumer(
        name="tflite-runtime",
        client="tflite_runtime_",
        formats=(TFLITE,),
        packages=("tflite-runtime==2.14.*", "numpy<2"),
    ),
    Consumer(name="TensorFlow", client="tensorflow_", formats=(TFLITE,), remark="`tf.lite.Interpreter`"),
    Consumer(
        name="TFLite Micro",
        client="tflite_micro_",
        formats=(TFLITE,),
        packages=("tflite-micro",),
        remark="int8 that is right without an integer head is so by seeded weights: trained scales lie further apart",
    ),
    Consumer(
        name="MediaPipe", client="mediapipe_", formats=(TFLITE,), packages=("mediapipe",), remark="`ImageClassifier`"
    ),
    Consumer(name="LiteRT.js", client="litert_js", formats=(TFLITE,), node=True, remark="Chromium, WASM"),
)
