"""The plan of a model under ``--max-drop``: each plan that is tried becomes an ONNX file that sees the photographs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from kexport.errors import UsageError
from kexport.evidence import scoring
from kexport.evidence.gates import LABELS_HINT
from kexport.evidence.scores import Measure
from kexport.formats import write
from kexport.graph import Graph
from kexport.graph import file as graph_file
from kexport.images import evaluation
from kexport.images.calibration import CalibrationSet
from kexport.operations import Conv, Dense
from kexport.quantization import Compile, mixed, sensitivity
from kexport.quantization.embed import embedded_plan
from kexport.quantization.mixed import Make, Mixed
from kexport.quantization.plan import QuantPlan
from kexport.quantization.ranking import LayerDamage, worst_first
from kexport.records import AccuracyRecord, SourceFacts
from kexport.sources import embedding
from kexport.specs import Boundary, Cell, Engine, Format, Scheme

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What the drop of a plan is measured with: the cell that asks, and the folder where its model is prepared.

    ``tell`` hears what is done now; ``own`` is the user's own figure, ``said`` the nodes that stay in float anyway.
    """

    cell: Cell
    facts: SourceFacts
    folder: Path
    threads: int
    tell: Tell
    own: Measure | None = None
    said: frozenset[str] = frozenset()

    def search(self, graph: Graph, images: CalibrationSet, *, make: Make, compile_: Compile) -> Mixed:
        """The plan of the optimized ``graph`` with the fewest float layers inside the bound, or the best one.

        Raises UsageError if the photographs have no labels.
        """
        assert self.cell.max_drop is not None
        self._require_labels()

        def told(kept: frozenset[str]) -> QuantPlan:
            self.tell(f"quantize, {len(kept)} nodes in float32" if kept else "quantize")
            return make(kept)

        return mixed.search(
            self.cell.max_drop, make=told, measure=self.measure, rank=lambda: self.ranked(graph, images, compile_)
        )

    def measure(self, plan: QuantPlan) -> AccuracyRecord:
        """The plan as a file, against Keras on the evaluation images.

        With integer inputs or outputs it is the very file that is asked for, whose steps of 1/256 decide too. All
        others share one plan, which is measured as an int8 ONNX file.
        """
        cell = self.cell
        if cell.io is Boundary.FLOAT32:
            cell = replace(cell, format=Format("onnx"), scheme=Scheme.INT8, engine=Engine.AUTO, batch=None)
        self.tell("drop of a plan")
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            path = Path(place) / cell.file_name
            write.write_quantized(self._as_in_a_file(plan), cell, path, {})
            scored = scoring.score(path, cell, self.facts, self.folder, threads=self.threads, own=self.own)
        assert scored is not None, "_require_labels has found the images"
        return scored

    def _as_in_a_file(self, plan: QuantPlan) -> QuantPlan:
        """With the preprocessing inside, where files have it: they are fed with pixels."""
        embeds = self.cell.model.embed_preprocessing
        return embedded_plan(plan, embedding.contract_of(self.facts)) if embeds else plan

    def ranked(self, graph: Graph, images: CalibrationSet, compile_: Compile) -> tuple[LayerDamage, ...]:
        """The layers that could stay in float, most sensitive first, by the names of those that hold the weights."""
        self.tell("rank layers")
        chosen = list(sensitivity.few(images, sensitivity.usual_images(images.shape)))
        damages = sensitivity.rank(graph, lambda: iter(chosen), compile_)
        free = [damage for damage in damages if not self.said.issuperset(damage.nodes)]
        return worst_first(sensitivity.named(free, _carriers(graph_file.load(self.folder))))

    def _require_labels(self) -> None:
        stored = evaluation.load(self.folder)
        if stored is None or not (stored[0].images.measurable or self.own):
            raise UsageError(
                f"--max-drop {self.cell.max_drop:g}: --eval {self.cell.evaluation} has no labels, so that no drop "
                "can be measured",
                hint=LABELS_HINT,
            )


def _carriers(graph: Graph) -> dict[str, tuple[str, int]]:
    """Class and weights of the Keras layers with a kernel, from a graph in which nothing is joined yet."""
    return {
        name: (type(node.operation).__name__, node.operation.kernel.size)
        for node in graph
        if isinstance(node.operation, (Conv, Dense))
        for name in node.layers
    }
