"""OpenCV's dnn module, releases 4 and 5. It takes a TFLite network's images with channels first."""

import cv2
import numpy as np


def version():
    cv2.setNumThreads(1)
    return cv2.__version__


def answer(file, rows, pictures):
    onnx = file.endswith(".onnx")
    network = cv2.dnn.readNetFromONNX(file) if onnx else cv2.dnn.readNetFromTFLite(file)
    return np.stack([once(network, row[None] if onnx else row[None].transpose(0, 3, 1, 2)) for row in rows])


def once(network, image):
    network.setInput(np.ascontiguousarray(image))
    return network.forward().reshape(-1).copy()
