"""The figures of parity, from arrays of which the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from kexport.errors import ArtifactError, KexportError, SignalError
from kexport.evidence import parity as compare
from kexport.evidence import signal
from kexport.evidence.tolerances import Bound, load
from kexport.records import OutputParity
from kexport.sources.prepared import Reference

RNG = np.random.default_rng(3)
LOGITS = RNG.normal(size=(4, 10))


def softmax(logits: np.ndarray) -> np.ndarray:
    exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponent / exponent.sum(axis=1, keepdims=True)


def of(output: np.ndarray, **more: np.ndarray) -> Reference:
    return Reference(inputs={}, outputs={"output": output}, **{name: {"output": array} for name, array in more.items()})


def one(
    reference: np.ndarray | Reference,
    output: np.ndarray,
    *,
    activation: str = "",
    logits: np.ndarray | None = None,
    step: float = 0.0,
) -> OutputParity:
    known = reference if isinstance(reference, Reference) else of(reference)
    shown = {} if logits is None else {"output": logits}
    (parity,) = compare.compare(known, {"output": output}, logits=shown, activations={"output": activation}, step=step)
    return parity


def test_equal_outputs() -> None:
    parity = one(LOGITS, LOGITS)
    assert (parity.logits_max_abs_error, parity.output_max_abs_error, parity.sqnr_db) == (0.0, 0.0, float("inf"))
    assert (parity.top1_agreement, parity.top5_agreement) == (1.0, 1.0)
    assert parity.cosine == pytest.approx(1.0)
    assert parity.signal == pytest.approx(LOGITS.std(axis=0).mean())


def test_logits_are_recovered_from_a_softmax() -> None:
    """Up to the constant that softmax forgets; an error of one logit shows in full."""
    other = LOGITS.copy()
    other[1, 2] += 0.5
    parity = one(softmax(LOGITS), softmax(other), activation="softmax")
    assert parity.logits_max_abs_error == pytest.approx(0.45), "less its share of the mean"
    assert parity.output_max_abs_error < 0.25


def test_figures_of_known_noise() -> None:
    parity = one(LOGITS, LOGITS * 1.01)
    assert parity.sqnr_db == pytest.approx(40.0)
    assert parity.logits_mean_abs_error == pytest.approx(np.abs(LOGITS).mean() * 0.01)
    swapped = LOGITS.copy()
    order = np.argsort(-LOGITS[0])
    swapped[0, order[[0, 1]]] = LOGITS[0, order[[1, 0]]]
    parity = one(LOGITS, swapped)
    assert (parity.top1_agreement, parity.top5_agreement) == (0.75, 1.0)


@pytest.mark.parametrize("ends_in_softmax", [True, False])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_what_is_not_finite_fails(value: float, ends_in_softmax: bool) -> None:
    reference = softmax(LOGITS) if ends_in_softmax else LOGITS
    output = reference.copy()
    output[0, 0] = value
    checks = compare.judge(
        (one(reference, output, activation="softmax" if ends_in_softmax else ""),), load("onnx", "float32")
    )
    assert not any(check.passed for check in checks)


def test_one_check_per_bound_and_its_message() -> None:
    bounds = (Bound(name="logits_error_to_signal", limit=0.001, at_least=False, why="so"),)
    checks = compare.judge((one(LOGITS, LOGITS + 1),), bounds)
    (line,) = compare.failures(checks)
    assert line == f"logits_error_to_signal is {1 / LOGITS.std(axis=0).mean():.6g}, the bound is 0.001"
    with pytest.raises(KexportError, match=r"tolerances.toml: no figure is called 'sqnr'"):
        compare.judge((one(LOGITS, LOGITS),), (Bound(name="sqnr", limit=1, at_least=True, why=""),))


def test_absolute_bounds_are_for_probabilities() -> None:
    bounds = load("onnx", "float32")
    names = {check.name for check in compare.judge((one(LOGITS, LOGITS),), bounds)}
    assert names == {bound.name for bound in bounds} - {"output_max_abs_error", "top1_agreement", "equal_share"}
    assert {"logits_error_to_signal", "sqnr_db"} <= names, "features are judged by what knows their scale"
    large = LOGITS * 1e6
    checks = compare.judge((one(large, large * (1 + 1e-6)),), bounds)
    assert all(check.passed for check in checks)
    assert not all(check.passed for check in compare.judge((one(large, large * 1.01),), bounds))


@pytest.mark.parametrize(
    ("reference", "activation"),
    [
        (np.full((4, 10), 0.1), "softmax"),
        (np.repeat(LOGITS[:1], 4, axis=0), ""),
        (np.repeat(LOGITS[:, :1], 10, axis=1), ""),
        (np.full((4, 1), 0.5), "sigmoid"),
        (np.repeat(softmax(LOGITS * 1000)[:1], 4, axis=0), "softmax"),
        (np.zeros((4, 3), np.int32), ""),
    ],
    ids=["constant softmax", "same for all inputs", "same for all features", "one number", "saturated", "integers"],
)
def test_no_signal_no_evidence(reference: np.ndarray, activation: str) -> None:
    """It does not fail, and it never passes: but a constant that differs, or NaN, is an error still."""
    found = one(reference, reference, activation=activation)
    assert "comparing it proves nothing" in found.unproven
    assert list(compare.unproven((found,))) == [f"output 'output' {found.unproven}"]
    (check,) = compare.judge((found,), load("onnx", "float32"))
    assert (check.name, check.value, check.passed) == ("error_to_size", 0.0, True)
    for wrong in (reference + 1, reference * np.nan if reference.dtype.kind == "f" else reference - 1):
        found = one(reference, wrong, activation=activation)
        assert found.unproven
        assert not any(check.passed for check in compare.judge((found,), load("onnx", "float32")))


def test_what_keras_cannot_say_is_an_error() -> None:
    with pytest.raises(SignalError, match="holds NaN or infinity"):
        signal.check_finite(of(LOGITS * np.nan))
    with pytest.raises(SignalError, match="holds NaN or infinity"):
        signal.check_finite(of(LOGITS, logits=LOGITS * np.inf))


def test_names_and_shapes_are_the_models() -> None:
    with pytest.raises(ArtifactError, match=r"gives outputs \['b'\], Keras gives \['a'\]"):
        compare.compare(Reference(inputs={}, outputs={"a": LOGITS}), {"b": LOGITS}, activations={})
    with pytest.raises(ArtifactError, match=r"has shape \(3, 10\), Keras gives \(4, 10\)"):
        one(LOGITS, LOGITS[:3])


def test_equal_largest_features_are_no_changed_decision() -> None:
    reference = np.array([[1.0, 5.0, 5.0, 2.0], [4.0, 1.0, 0.0, 4.0]])
    output = reference + np.array([[0.0, 0.0, 1e-6, 0.0], [0.0, 0.0, 0.0, 1e-6]])
    found = (one(reference, output),)
    assert found[0].top1_agreement == 0.0
    bounds = load("onnx", "float32")
    assert all(check.passed for check in compare.judge(found, bounds))
    assert "top1_agreement" in {bound.name for bound in bounds}
