"""ONNX Runtime: the CPU, CUDA and TensorRT execution providers.

onnxruntime-gpu on a machine without a GPU lists CUDAExecutionProvider as available and then runs on the CPU
(its Python layer also catches provider errors and retries on the CPU). Both are refused here: fallback is
switched off, the provider is read back from the session, and so are the nodes that it was given.
CUDA latencies include the copies from and to host memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kexport import machine
from kexport.errors import ArtifactError, DeviceError
from kexport.formats.onnx.sound import require_sound
from kexport.records import Signature
from kexport.runtimes import Session, SessionOptions, Signatures, Tensor

CPU_PROVIDER = "CPUExecutionProvider"
PROVIDERS = {"cpu": CPU_PROVIDER, "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
RECORD_ASSIGNMENT = "session.record_ep_graph_assignment_info"  # config key, ONNX Runtime 1.24 and later
DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
CURE = "pip uninstall -y onnxruntime && pip install 'kexport[cuda]', on a machine where nvidia-smi lists a GPU"


class OrtSession(Session):
    """An ONNX file in ONNX Runtime."""

    name = "onnxruntime"
    formats = ("onnx",)
    distribution = "onnxruntime"
    devices = tuple(PROVIDERS)

    def __init__(self, session: Any, *, assigned: Mapping[str, int]) -> None:
        self._session = session
        self._assigned = assigned
        self._signature = _signatures(session.get_inputs()), _signatures(session.get_outputs())
        self._outputs = [spec.name for spec in self._signature[1]]

    @classmethod
    def require_sound(cls, path: Path) -> None:
        """The file is an ONNX model by itself: all its data inside, nothing that the checker refuses."""
        require_sound(path)

    @classmethod
    def open(cls, source: Path, *, options: SessionOptions) -> OrtSession:
        """The file at ``source``. Raises ArtifactError or DeviceError, never runs elsewhere than asked."""
        provider = PROVIDERS[options.device]
        _check_available(provider, device=options.device)
        session = create(source, provider=provider, device=options.device, settings=session_options(options))
        _check_effective(session.get_providers(), provider=provider, device=options.device)
        assigned = _assignment(session)
        if assigned and not assigned.get(provider):
            raise DeviceError(
                f"device {options.device}: {provider} was given none of the nodes of {source.name} ({dict(assigned)})",
                hint="--device cpu",
            )
        return cls(session, assigned=assigned)

    @property
    def signature(self) -> Signatures:
        """Inputs and outputs in file order."""
        return self._signature

    @property
    def effective(self) -> str:
        """Version, execution provider and, where ONNX Runtime tells, the nodes that each provider runs."""
        import onnxruntime as ort

        nodes = ", ".join(f"{count} nodes on {name}" for name, count in self._assigned.items())
        return f"onnxruntime {ort.__version__} {self._session.get_providers()[0]}" + (f" ({nodes})" if nodes else "")

    def execute(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All outputs. Raises ArtifactError when ONNX Runtime fails while running."""
        from onnxruntime.capi import onnxruntime_pybind11_state as native

        try:
            values = self._session.run(self._outputs, dict(inputs))
        except (native.Fail, native.EPFail, native.RuntimeException, native.InvalidArgument) as error:
            raise ArtifactError(f"onnxruntime failed while running: {error}", hint="kexport parity ARTIFACT") from error
        return dict(zip(self._outputs, (np.asarray(value) for value in values), strict=True))


def _check_available(provider: str, *, device: str) -> None:
    machine.no_telemetry()
    import onnxruntime as ort

    available = ort.get_available_providers()
    if provider not in available:
        raise DeviceError(
            f"device {device}: onnxruntime {ort.__version__} has no {provider}, it has {', '.join(available)}",
            hint=CURE,
        )


def _check_effective(providers: list[str], *, provider: str, device: str) -> None:
    if not providers or providers[0] != provider:
        raise DeviceError(
            f"device {device}: {provider} was asked for, but the session runs on {', '.join(providers) or 'nothing'}: "
            "the NVIDIA driver, the CUDA or the cuDNN libraries could not be loaded",
            hint=CURE,
        )


def create(source: Path, *, provider: str, device: str, settings: Any) -> Any:
    """ONNX Runtime's session with these settings. Raises ArtifactError or DeviceError."""
    import onnxruntime as ort
    from onnxruntime.capi import onnxruntime_pybind11_state as native

    providers = list(dict.fromkeys([provider, CPU_PROVIDER]))
    try:
        return ort.InferenceSession(str(source), settings, providers=providers, enable_fallback=0)
    except (native.EPFail, native.RuntimeException) as error:
        if provider == CPU_PROVIDER:
            raise _does_not_load(source, error) from error
        raise DeviceError(f"device {device}: {provider} failed: {error}", hint=CURE) from error
    except (
        native.Fail, native.InvalidArgument, native.InvalidGraph, native.InvalidProtobuf, native.NoSuchFile,
        native.NotImplemented, native.NoModel,
    ) as error:  # fmt: skip
        raise _does_not_load(source, error) from error


def _does_not_load(source: Path, error: Exception) -> ArtifactError:
    return ArtifactError(f"{source} does not load in onnxruntime: {error}", hint="kexport verify DIR")


def session_options(options: SessionOptions) -> Any:
    """Those of every session here: errors alone are logged, one node runs at a time, placement is recorded."""
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.log_severity_level = 3  # errors; what warnings say about providers is checked here instead
    settings.inter_op_num_threads = 1
    if options.threads is not None:
        settings.intra_op_num_threads = options.threads
    settings.add_session_config_entry(RECORD_ASSIGNMENT, "1")
    return settings


def _assignment(session: Any) -> dict[str, int]:
    """Execution provider -> nodes given to it; empty where ONNX Runtime (before 1.24) cannot tell."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return {}
    counts: Counter[str] = Counter()
    for subgraph in session.get_provider_graph_assignment_info():
        counts[subgraph.ep_name] += len(subgraph.get_nodes())
    return dict(counts)


def _signatures(values: Any) -> tuple[Signature, ...]:
    return tuple(
        Signature(
            name=value.name,
            shape=tuple(size if isinstance(size, int) else None for size in value.shape),
            dtype=DTYPES.get(value.type, value.type.removeprefix("tensor(").removesuffix(")")),
        )
        for value in values
    )
