"""What ``import kexport`` offers: the commands as functions. Records come back, nothing is printed.

Requests are refused with the errors and in the words of the command line (`kexport.errors`); what goes
wrong with one artifact is in its record, as ``status`` and ``reason``.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from kexport import files, reports, store
from kexport.bundles.write import bundle as bundle  # noqa: PLC0414 - offered from here
from kexport.errors import UsageError
from kexport.evidence.artifact_file import ArtifactFile
from kexport.evidence.artifact_file import read as read_artifact
from kexport.evidence.classification import Classification
from kexport.evidence.classification import classify as classify_images
from kexport.evidence.protocols import settings_of
from kexport.evidence.scores import Function
from kexport.images import given, photographs
from kexport.options import PYTHON, ExportOptions, Goes, Option, keywords, of, read
from kexport.options.place import Url, here, place
from kexport.pipeline import Request, recheck, requests, run
from kexport.pipeline import bench as measure
from kexport.pipeline.events import Event
from kexport.pipeline.own_figure import own_figure, require_data
from kexport.pipeline.running import fields_of
from kexport.pipeline.sensitivity import ranking as rank
from kexport.quantization.ranking import Ranking
from kexport.records import Record
from kexport.runtimes import DEFAULT_DEVICE
from kexport.sources.loading import live
from kexport.sources.names import Live, select
from kexport.specs import Cell
from kexport.store import mirror

Place = str | PathLike[str]
DEFAULT_DIRECTORY = "artifacts"
RANKED = of(Goes.MODEL)
CALIBRATION = next(option for option in PYTHON if option.name == "calibration")


class Quiet:
    """An observer that keeps every event to itself."""

    def observe(self, event: Event) -> None:
        """Do nothing."""


@keywords(*PYTHON)
def export(
    sources: str | Any | Iterable[str | Any], *, evaluate: Function | tuple[str, Function] | Any = None, **options: Any
) -> tuple[Record, ...]:
    """Export models and prove each file against Keras: one record per model and format, in that order.

    ``sources`` names an application, a family, a glob, a model file or a factory (``package.module:function``), or
    is a `keras.Model`; or several of them. A model of the program is lowered and asked here, where it is, and left
    as it was: its classes, Lambdas and closures need no file.

    ``output`` is a folder, or the URL of one (``s3://bucket/models``). ``calibration`` and ``eval`` may be data as
    well: an array, a dictionary of arrays by input, a pair ``(images, labels)``, or batches of these, as a
    `tf.data.Dataset` gives them. ``evaluate`` is such data, or a function of ``(outputs, labels)`` whose number, of
    which more is better, stands in place of the usual figure (its name, or the first of a pair, is the figure's);
    ``max_drop`` is then in its unit.

    A file that stands under the same name, and was made from something else, is replaced with a warning.

    Raises UsageError for a request that cannot be, StoreError for a directory that cannot be written, and
    EnvironmentFailure where this environment can do none of it.
    """
    own, options = own_figure(evaluate, options)
    with tempfile.TemporaryDirectory(prefix="kexport-data-") as folder:
        options, data = _data(options, Path(folder))
        several = (sources,) if isinstance(sources, (str, PathLike)) or live.is_model(sources) else tuple(sources)
        asked = _asked(PYTHON, options)
        require_data(own, asked)
        cells = requests.cells(select([_named(each) for each in several]), asked)
        with mirror.opened(asked.output, {cell.model.name for cell in cells}) as where:
            replaced = list(requests.skipped(asked))
            request = _request(cells, asked, where, live=_live(several), data=data, own=own, note=replaced.append)
            try:
                return run(request, Quiet())
            finally:
                for line in replaced:
                    warnings.warn(line, stacklevel=3)


def _request(cells: tuple[Cell, ...], asked: ExportOptions, where: mirror.Folder, **more: Any) -> Request:
    return Request(
        **more,
        cells=cells,
        directory=where.path,
        mirror=where.mirror,
        **fields_of(asked),
    )


def _data(options: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:
    """The options with data written into ``folder`` and named, and the files by these names."""
    found, data = dict(options), {}
    for word in ("calibration", "eval", "evaluation"):
        if given.is_data(options.get(word)):
            found[word], path = given.written(options[word], folder, option=word)
            data[found[word]] = path
    return found, data


def _asked(table: Iterable[Option], options: Mapping[str, Any]) -> ExportOptions:
    """The request that keyword arguments are."""
    values = read(table, options)
    values |= {"output": place(values["output"])} if "output" in values else {}
    return ExportOptions(**values)


def _named(source: Any) -> str | Live:
    """A source as `select` takes it."""
    return Live(name=live.name(source)) if live.is_model(source) else str(source)


def _live(sources: Sequence[Any]) -> dict[str, Any]:
    """The models of this program by name. UsageError where two different ones have the same."""
    found: dict[str, Any] = {}
    for model in filter(live.is_model, sources):
        if found.setdefault(live.name(model), model) is not model:
            raise UsageError(
                f"two models are called {live.name(model)!r}, and so would be their artifacts",
                hint='keras.Model(..., name="another")',
            )
    return found


def parity(
    paths: Place | Iterable[Place] = DEFAULT_DIRECTORY,
    *,
    with_keras: bool = False,
    evaluation: Place | None = None,
    trust: str | Iterable[str] = (),
) -> tuple[Record, ...]:
    """Compare stored artifacts with what Keras answered, where they lie; their records are written anew.

    A path is an artifact directory, a model's folder in one, or an artifact. Keras's answers lie beside an artifact;
    where they do not, or ``with_keras``, Keras builds the model again. On ``evaluation``, the data that Keras saw at
    the export, accuracy is measured again. ``trust`` names the factories and model files, as records call them, whose
    code may run then; without it none does. Raises UsageError for a path without artifacts.
    """
    shown = None if evaluation is None else str(evaluation)
    return recheck(_paths(paths, "parity"), Quiet(), trusted=_several(trust), with_keras=with_keras, photographs=shown)


def bench(
    paths: Place | Iterable[Place] = DEFAULT_DIRECTORY,
    *,
    device: str = DEFAULT_DEVICE,
    threads: int | None = None,
    repetitions: int | None = None,
    warmup: int | None = None,
    batch: int | Iterable[int] | None = None,
    protocol: str | None = None,
    profile: bool = False,
    with_keras: bool = False,
    trust: str | Iterable[str] = (),
) -> tuple[Record, ...]:
    """Measure the latency of stored artifacts, each in its own process; the records hold all samples.

    ``threads`` of None is every usable core, and no more can be asked for; ``batch`` is one number or several,
    ``protocol`` a published way to measure (``keras.io``), over which what else is given stands. ``profile``
    measures the operators as well. ``trust`` is for ``with_keras``, as in `parity`. Raises DeviceError if
    ``device`` would not really run.
    """
    batches = None if batch is None else ",".join(map(str, (batch,) if isinstance(batch, int) else batch))
    asked = settings_of(
        protocol, batches=batches, device=device, threads=threads, repetitions=repetitions, warmup=warmup,
        profile=profile,
    )  # fmt: skip
    places, trusted = _paths(paths, "bench"), _several(trust)
    records: tuple[Record, ...] = ()
    for settings in asked:
        records = measure(places, settings, Quiet(), with_keras=with_keras, trusted=trusted)
    return records


def inspect(
    artifact: Place,
    *,
    labels: Place | None = None,
    preprocessing: Place | None = None,
    resize: str | None = None,
) -> ArtifactFile:
    """What a file says of itself, whoever has written it, and the record beside it; nothing of it is run.

    The other arguments state what the file does not say, as in `classify`. Raises UsageError for what is no artifact,
    ArtifactError for a file that is not sound.
    """
    return _read(_here(artifact, "inspect"), labels=labels, preprocessing=preprocessing, resize=resize)


def _read(
    artifact: Path, *, labels: Place | None, preprocessing: Place | None, resize: str | None, run: bool = False
) -> ArtifactFile:
    return read_artifact(
        artifact,
        labels=None if labels is None else Path(labels),
        preprocessing=None if preprocessing is None else str(preprocessing),
        resize=resize,
        run=run,
    )


def classify(
    artifact: Place,
    images: Place | Iterable[Place],
    *,
    top: int = 5,
    labels: Place | None = None,
    preprocessing: Place | None = None,
    resize: str | None = None,
    threads: int | None = None,
) -> Classification:
    """What is on photographs: the ``top`` classes of an ONNX or TFLite file, through its own contract and labels.

    An image is a file or a folder of them. ``labels``, ``preprocessing`` and ``resize`` state what the file does not
    say, or say otherwise. An image that cannot be read has a ``problem`` instead of answers. Raises UsageError for a
    file that takes no image, or that says no contract.
    """
    listed = (images,) if isinstance(images, (str, PathLike)) else images
    shown = [_here(each, "classify", hint="kexport.classify(artifact, 'photo.jpg')") for each in listed]
    found = _read(_here(artifact, "classify"), labels=labels, preprocessing=preprocessing, resize=resize, run=True)
    return classify_images(found, tuple(_photographs(shown)), top=top, threads=threads)


def _photographs(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if not (files.there(path) and path.is_dir()):
            yield path
            continue
        listing = photographs.listing(path)
        if not listing.images:
            raise UsageError(f"{path} holds no image, expected {', '.join(photographs.SUFFIXES)}", hint="--help")
        yield from listing.images


@keywords(*RANKED)
def sensitivity(source: str | Any, calibration: Place | Any, *, images: int | None = None, **options: Any) -> Ranking:
    """The layers of one model by the damage that quantizing each alone, to int8, does to the logits.

    ``calibration`` as in `export`; ``images`` says how many are taken, 16 unless said. Raises UsageError or SourceError
    for a model or images that cannot be.
    """
    with tempfile.TemporaryDirectory(prefix="kexport-data-") as folder:
        options, _ = _data({"calibration": calibration, **options}, Path(folder))
        asked = _asked((CALIBRATION, *RANKED), options)
        model = requests.single(_named(source), asked, command="sensitivity")
        own = source if live.is_model(source) else None
        return rank(model, str(asked.calibration), Quiet(), images=images, live=own, data=folder)


def report(records: Sequence[Record] | Place, fmt: str = "md") -> str:
    """Records, or those of an artifact directory, as text: of a format of `kexport.reports`, such as ``html``.

    Raises UnknownNameError for another format, StoreError for damaged records.
    """
    if isinstance(records, (str, PathLike)):
        with mirror.reading(_folder(records), records_only=True) as folder:
            records = store.read_records(folder)
    return reports.render(records, fmt)


def verify(directory: Place = DEFAULT_DIRECTORY) -> tuple[str, ...]:
    """What is wrong with an artifact directory, one line each; nothing when it is what its manifest says."""
    with mirror.reading(_folder(directory)) as folder:
        return tuple(store.verify(folder))


def _several(names: str | Iterable[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _paths(paths: Place | Iterable[Place], taker: str) -> tuple[Path, ...]:
    return tuple(_existing(_here(path, taker)) for path in ((paths,) if isinstance(paths, (str, PathLike)) else paths))


def _here(given: Place, taker: str, *, hint: str = "kexport.verify({url!r})") -> Path:
    return here(given, taker=taker, hint=hint)


def _folder(given: Place) -> Path | Url:
    """A folder that is there, or a URL."""
    found = place(given)
    return found if isinstance(found, Url) else _existing(found)


def _existing(found: Path) -> Path:
    if not files.there(found):
        raise UsageError(f"{found} does not exist", hint=f"kexport.export(..., output={str(found)!r})")
    return found
