"""ONNX Runtime Web on WebAssembly, in headless Chromium."""

import browser


def version():
    return browser.version("onnxruntime-web")


def answer(file, rows, pictures):
    return browser.answers("onnx.html", file, rows)
