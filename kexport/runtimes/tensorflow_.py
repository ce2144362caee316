"""What the TensorFlow runtimes share: the device that is checked, and the threads of the process."""

from __future__ import annotations

from typing import Any

from kexport.errors import DeviceError

CPU = "/CPU:0"


def check_device(value: Any) -> None:
    """Raise DeviceError unless TensorFlow placed ``value`` on the CPU."""
    placed = str(value.device)
    if not placed.endswith(CPU.removeprefix("/")):
        raise DeviceError(f"TensorFlow computed on {placed}, expected {CPU}", hint="export CUDA_VISIBLE_DEVICES=-1")


def limit_threads(threads: int | None) -> None:
    """Let TensorFlow compute with ``threads`` threads; possible only before its first operation.

    Raises DeviceError when TensorFlow already runs with another number. ``None`` changes nothing.
    """
    import tensorflow as tf

    if threads is None or tf.config.threading.get_intra_op_parallelism_threads() == threads:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        now = tf.config.threading.get_intra_op_parallelism_threads() or "its own choice of"
        raise DeviceError(
            f"{threads} threads were asked for, but TensorFlow already runs with {now} threads in this process",
            hint="kexport bench (which measures in a process of its own)",
        ) from error
