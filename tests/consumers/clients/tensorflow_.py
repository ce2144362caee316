"""The interpreter that TensorFlow carries: ``tf.lite.Interpreter``."""

import warnings

import tensorflow as tf
from interpreted import answers


def version():
    return tf.__version__


def answer(file, rows, pictures):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it will be removed
        return answers(tf.lite.Interpreter(file, num_threads=1), rows)
