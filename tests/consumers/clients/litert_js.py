"""LiteRT.js on WebAssembly, in headless Chromium."""

import browser


def version():
    return browser.version("@litertjs/core")


def answer(file, rows, pictures):
    return browser.answers("tflite.html", file, rows)
