"""The zoo: small models as people build them, exported to ONNX and TFLite and compared with Keras.

``python tests/zoo.py --all`` runs every model and writes docs/zoo.md; ``--int8`` adds the quantized files; names
(or beginnings of names) run a few. The gate runs a seeded third of it (tests/test_zoo.py).
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "zoo.md"
BOUND = 1e-4
"""Largest error over the spread of an output."""
LEAST_SPREAD = 1e-4
ROWS, SEED = 4, 11
NATIVE, ENGINE, WRONG = "native", "engine", "wrong"
FORMATS = ("onnx", "tflite")
PLAIN_DECIBELS = 15.0
CALIBRATION, UNSEEN = range(20, 44), range(60, 68)
"""Seeds of the batches that an int8 plan is made from, about a hundred rows, and of those that it is measured on."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one model: by format how it was made, the largest error, and why it is not native.

    In int8: the signal-to-noise ratio, and the layers with weights that stayed float.
    """

    name: str
    made: dict[str, str]
    error: float
    reason: str = ""
    decibels: float | None = None
    floats: tuple[str, ...] = ()

    @property
    def right(self) -> bool:
        """Whether no file is wrong."""
        return WRONG not in self.made.values()


def built(make: Any, name: str) -> Any:
    """The model with seeded weights, its normalisations adjusted to what reaches them."""
    import keras

    keras.utils.set_random_seed(SEED)
    model = make()
    rng = np.random.default_rng([SEED, len(name)])
    for variable in model.weights:
        one_dimensional = len(variable.shape) == 1 and "float" in str(variable.dtype)
        if one_dimensional and not any(part in variable.path for part in ("moving", "seed", "mean", "variance")):
            current = np.asarray(variable)
            variable.assign(current + rng.normal(0, 0.1, variable.shape).astype(np.float32))
    layers = [each for each in model._flatten_layers() if type(each).__name__ == "BatchNormalization"]
    before = [each.momentum for each in layers]
    for each in layers:
        each.momentum = 0.0
    if layers:
        model(fed(model, values_for(model)), training=True)
    for each, momentum in zip(layers, before, strict=True):
        each.momentum = momentum
    return model


def values_for(model: Any, seed: int = 5) -> list[np.ndarray]:
    """Smooth images, numbers of the input's own type."""
    return [_values(tensor, np.random.default_rng([seed, number])) for number, tensor in enumerate(model.inputs)]


def _values(tensor: Any, rng: np.random.Generator) -> np.ndarray:
    shape, dtype = (ROWS, *tensor.shape[1:]), str(tensor.dtype)
    if len(shape) == 2 and "int" in dtype:
        return rng.integers(0, 30, shape).astype(dtype)
    values = rng.normal(size=shape) + rng.normal(size=(ROWS, *(1,) * (len(shape) - 1)))
    if len(shape) == 4 and ("int" in dtype or shape[-1] == 3):
        return np.clip(values * 50 + 128, 0, 255).astype(dtype)
    return values.astype(dtype)


def fed(model: Any, values: Sequence[np.ndarray]) -> Any:
    """The values as the model is called with them."""
    from kexport.sources.keras_walk import packed

    return packed(model, values)


def expected(model: Any, values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What Keras computes, by `Model.predict_on_batch`."""
    from keras import tree

    return [np.asarray(each) for each in tree.flatten(model.predict_on_batch(fed(model, values)))]


def run_onnx(path: Path, names: Sequence[str], values: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs of an ONNX file on ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(zip(names, values, strict=True))))


def run_tflite(path: Path, inputs: Sequence[str], outputs: Sequence[str], values: Sequence[np.ndarray]) -> Any:
    """The outputs of a TFLite file on LiteRT with its default delegate."""
    from kexport.runtimes import SessionOptions
    from kexport.runtimes.litert import LitertSession

    session = LitertSession.open(path, options=SessionOptions(threads=1))
    found = session.execute(dict(zip(inputs, values, strict=True)))
    return [found[name] for name in outputs]


def error_of(found: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> float:
    """The largest error over the spread; infinite where shapes, types or whole numbers differ."""
    worst = 0.0
    for one, other in zip(found, wanted, strict=True):
        if one.shape != other.shape or one.dtype != other.dtype:
            return float("inf")
        if other.dtype.kind in "iub":
            worst = max(worst, 0.0 if same_numbers(one, other) else float("inf"))
            continue
        spread = max(float(other.std()), LEAST_SPREAD)
        error = float(np.abs(one.astype(np.float64) - other).max() / spread)
        worst = max(worst, error if np.isfinite(error) else float("inf"))
    return worst


def same_numbers(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Whole numbers are the same; of eight bits, which were cut off from reals, one of a hundred may be the next."""
    apart = np.abs(found.astype(np.int64) - wanted.astype(np.int64))
    return bool(apart.max() <= 1 and (apart > 0).mean() < 0.01) if wanted.dtype == np.uint8 else not apart.any()


def has_signal(wanted: Sequence[np.ndarray]) -> bool:
    """Whether every output differs between the images, or inside of them."""
    return all(float(each.astype(np.float64).std()) > LEAST_SPREAD for each in wanted)


def outcome_of(name: str, folder: Path, *, int8: bool = False) -> Outcome:
    """One model through lowering, passes and both writers, or the reason why not."""
    from kexport.errors import UnsupportedError
    from kexport.lowerings.model import lower_model
    from kexport.passes import optimize
    from tests.zoo_models import MODELS

    model = built(MODELS[name], name)
    values = values_for(model)
    wanted = expected(model, values)
    assert has_signal(wanted), f"{name}: an output carries no signal: {[float(each.std()) for each in wanted]}"
    try:
        graph = optimize(lower_model(model))
    except UnsupportedError as refusal:
        return Outcome(name=name, made=dict.fromkeys(FORMATS, ENGINE), error=0.0, reason=refusal.message)
    made, worst, reason = {}, 0.0, ""
    for file_format in FORMATS:
        try:
            error = error_of(_written(graph, file_format, folder, values), wanted)
        except UnsupportedError as refusal:
            made[file_format], reason = ENGINE, f"{file_format}: {refusal.message}"
            continue
        made[file_format] = NATIVE if error <= BOUND else WRONG
        worst = max(worst, error)
    decibels, floats = _quantized(graph, model, folder) if int8 else (None, ())
    return Outcome(name=name, made=made, error=worst, reason=reason, decibels=decibels, floats=floats)


def _written(graph: Any, file_format: str, folder: Path, values: Sequence[np.ndarray]) -> list[np.ndarray]:
    from kexport.formats.onnx import writer as onnx
    from kexport.formats.tflite import writer as tflite

    names, path = [spec.name for spec in graph.inputs], folder / f"m.{file_format}"
    if file_format == "onnx":
        onnx.write(graph, path)
        return run_onnx(path, names, values)
    tflite.write(graph, path, batch=ROWS)
    return list(run_tflite(path, names, list(graph.outputs), values))


def _quantized(graph: Any, model: Any, folder: Path) -> tuple[float | None, tuple[str, ...]]:
    """The signal-to-noise ratio of the worst float output of both int8 files, and which layers stayed float.

    Measured on rows that the calibration has not seen. Nothing where all outputs are whole numbers.
    """
    from kexport.formats.onnx.qdq import writer as onnx_qdq
    from kexport.formats.tflite.quantized import writer as tflite_int8
    from kexport.quantization.quantize import quantize
    from kexport.quantization.scales.limits import scale_limits
    from kexport.runtimes.ort_graph import GraphSession

    names = [spec.name for spec in graph.inputs]
    plan = quantize(
        graph,
        lambda: [dict(zip(names, values_for(model, seed=seed), strict=True)) for seed in CALIBRATION],
        lambda part: GraphSession(part, threads=1).run,
        refused=lambda made: {limit.node for limit in scale_limits(made)},
        fit=False,
    )
    onnx_qdq.write(plan, folder / "q.onnx")
    tflite_int8.write(plan, folder / "q.tflite", batch=ROWS)
    unseen = [values_for(model, seed=seed) for seed in UNSEEN]
    wanted = _together([expected(model, values) for values in unseen])
    shown = list(graph.outputs)
    found = (
        _together([run_onnx(folder / "q.onnx", names, values) for values in unseen]),
        _together([run_tflite(folder / "q.tflite", names, shown, values) for values in unseen]),
    )
    ratios = [
        _decibels(one, other)
        for outputs in found
        for one, other in zip(outputs, wanted, strict=True)
        if other.dtype.kind == "f"
    ]
    return min(ratios, default=None), plan.float_layers


def _together(batches: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


def _decibels(found: np.ndarray, wanted: np.ndarray) -> float:
    real = wanted.astype(np.float64)
    return float(10 * np.log10(np.square(real - real.mean()).mean() / max(np.square(found - real).mean(), 1e-20)))


def third(names: Iterable[str], seed: int = SEED) -> list[str]:
    """A seeded third of the names, in order."""
    ordered = list(names)
    chosen = np.random.default_rng(seed).permutation(len(ordered))[: -(-len(ordered) // 3)]
    return [ordered[place] for place in sorted(chosen)]


def page(outcomes: Sequence[Outcome]) -> str:
    """docs/zoo.md: counts first, then a row for each model."""
    counts = Counter(how for each in outcomes for how in each.made.values())
    measured = [each for each in outcomes if each.decibels is not None]
    mixed = [each for each in outcomes if each.floats]
    lines = [
        "# The zoo",
        "",
        "Small models in the shapes that people use, with seeded weights, written by `python tests/zoo.py --all`. Each",
        "is exported to ONNX and TFLite by the native writers and run beside Keras on equal inputs; the error is the",
        f"largest difference over the standard deviation of the output, and a file above {BOUND:g} is wrong.",
        "",
        f"* {len(outcomes)} models, {len(outcomes) * len(FORMATS)} files",
        *(f"* {how}: {counts[how]} files" for how in (NATIVE, ENGINE, WRONG)),
    ]
    if measured:
        enough = sum(1 for each in measured if (each.decibels or 0) >= PLAIN_DECIBELS)
        seen, unseen = len(CALIBRATION) * ROWS, len(UNSEEN) * ROWS
        lines += [
            f"* int8: {enough} of {len(measured)} models with real outputs have at least {PLAIN_DECIBELS:g} dB",
            f"  (calibrated on {seen} rows, measured on {unseen} others, the worst output of ONNX and TFLite)",
            f"* int8 with layers that stay float: {len(mixed)} models",
        ]
    heads = ["model", *FORMATS, "error", *(["int8 dB", "float in int8"] if measured else []), "reason"]
    lines += ["", f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for each in outcomes:
        decibels = [_text(each.decibels), ", ".join(each.floats)] if measured else []
        cells = [each.name, *(each.made[form] for form in FORMATS), f"{each.error:.0e}", *decibels, each.reason]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _text(decibels: float | None) -> str:
    return "" if decibels is None else "exact" if decibels > 100 else f"{decibels:.0f}"


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments name; 1 if a file is wrong."""
    from tests.zoo_models import MODELS

    wanted = [name for name in MODELS if any(name.startswith(each) for each in arguments if not each.startswith("-"))]
    names = wanted or (list(MODELS) if "--all" in arguments else third(MODELS))
    outcomes = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            outcomes.append(outcome_of(name, Path(folder), int8="--int8" in arguments))
            last = outcomes[-1]
            ratio = (
                ""
                if last.decibels is None
                else f" {_text(last.decibels)} dB, float: {', '.join(last.floats) or 'none'}"
            )
            print(f"{name}: {last.made} {last.error:.1e}{ratio} {last.reason}", flush=True)
    if "--all" in arguments and not wanted:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page(outcomes), encoding="utf-8")
    print(Counter(how for each in outcomes for how in each.made.values()))
    return 0 if all(each.right for each in outcomes) else 1


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main(sys.argv[1:]))
