"""Imported by warm processes alone: what every cell does first is done once, before its process is forked.

The types that are read need to be built, versions to be looked up, and modules to be imported that a cell asks for only
when it writes and runs its file.
"""

from __future__ import annotations

from kexport import machine
from kexport.documents import adapter
from kexport.formats import onnx, savedmodel, tflite
from kexport.graph import file as graph_file
from kexport.pipeline.tasks import cell, recheck
from kexport.runtimes import litert, null, ort
from kexport.sources.prepared import Prepared
from kexport.sources.stored import Header

READ = (cell.CellRequest, Prepared, Header, graph_file.Document)
THERE = (onnx, savedmodel, tflite, litert, null, ort, recheck)

for kind in READ:
    adapter(kind)
machine.versions()
