"""Models, lists and images at a URL: named there, fetched once for what the store tells, told as they were typed."""

from __future__ import annotations

import functools
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

import kexport
from kexport.errors import SourceError, UsageError
from kexport.images import calibration, evaluation
from kexport.options import fetched
from kexport.pipeline import memory, resume
from kexport.sources import build, names
from kexport.specs import Cell, Format, ModelSpec, WeightsSpec
from tests.places import ROOT

OWN = WeightsSpec(kind="model")
TINY = ROOT / "tests" / "data" / "tiny-0.1.keras"


class Kept(LocalFileSystem):  # type: ignore[misc]
    """A store that counts what is taken out of it."""

    protocol = "kept"
    taken = 0

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return super()._strip_protocol(str(path).removeprefix("kept://"))

    def unstrip_protocol(self, name: str) -> str:
        return f"kept://{self._strip_protocol(name)}"

    def get_file(self, *given: Any, **more: Any) -> None:
        Kept.taken += 1
        super().get_file(*given, **more)


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of models and images; ``kept://`` and its path is its URL."""
    fsspec.register_implementation("kept", Kept, clobber=True)
    monkeypatch.setenv("KEXPORT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetched, "_asked", {})
    fetched._folder.cache_clear()
    Kept.taken = 0
    folder = tmp_path / "store"
    for name in ("b.keras", "a.h5", "more/c.keras", "more/w.weights.h5", "served/saved_model.pb", "served/variables/v",
                 ".hidden.keras", "images/0_a.png", "images/1_b.png", "notes.txt"):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def told(source: str) -> list[str]:
    return [names.told(each) for each in names.select([source])]


def test_what_a_url_names(there: Path) -> None:
    url = f"kept://{there}"
    assert told(f"{url}/b.keras") == [f"{url}/b.keras"]
    assert told(f"{url}/served") == [f"{url}/served"]
    assert told(url) == [f"{url}/a.h5", f"{url}/b.keras", f"{url}/more/c.keras", f"{url}/served"]
    assert told(f"{url}/*.keras") == [f"{url}/b.keras"]
    (there / "list.txt").write_text(f"{url}/more/c.keras\n# no more\n{url}/a.h5\n")
    assert told(f"@{url}/list.txt") == [f"{url}/more/c.keras", f"{url}/a.h5"]
    assert [each.name for each in names.select([url])] == ["a", "b", "c", "served"]
    assert Kept.taken == 1, "the list alone"


@pytest.mark.parametrize("word", ["absent.keras", "notes.txt", "images", "*.tflite", "more/w.weights.h5"])
def test_where_there_is_no_model(there: Path, word: str) -> None:
    with pytest.raises(SourceError, match=r"no model is there|nothing is there"):
        names.select([f"kept://{there}/{word}"])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("memory://models/a.keras", "memory:// is the memory of one process"),
        ("sftp://me:secret@host/a.keras", "a password would be in every record"),
        ("s3:/bucket/a.keras", "no URL, as it has not :// after s3"),
    ],
)
def test_urls_that_others_could_not_read(source: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        names.select([source])
    assert "secret" not in str(caught.value)


def test_a_url_of_this_machine_is_its_path(there: Path) -> None:
    assert told(f"file://{there}/b.keras") == told(f"local://{there}/b.keras") == [f"{there}/b.keras"]


@pytest.mark.parametrize("name", ["b.keras", "served", "images"])
def test_it_is_fetched_once_and_again_when_it_changed(there: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(fetched, "FRESH_SECONDS", -1.0)
    url = f"kept://{there}/{name}"
    first = Path(fetched.local(url))
    files = {path.relative_to(first): path.read_bytes() for path in first.rglob("*") if path.is_file()}
    assert first.name == name
    assert first.is_file() or files
    taken = Kept.taken
    assert (Path(fetched.local(url)), Kept.taken) == (first, taken)
    changed = max((path for path in (there / name, *(there / name).rglob("*")) if path.is_file()), key=str)
    changed.write_bytes(b"other bytes")
    os.utime(changed, ns=(5, 5))
    again = Path(fetched.local(url))
    assert again != first
    assert (again / changed.relative_to(there / name)).read_bytes() == b"other bytes"


@pytest.mark.parametrize("name", ["b.keras", "served", "images"])
def test_a_store_that_tells_no_version(there: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A network that was trained again has the same size."""
    monkeypatch.setattr(fetched, "FRESH_SECONDS", -1.0)
    monkeypatch.setattr(fetched, "_version", lambda _: "")
    url = f"kept://{there}/{name}"
    changed = max((path for path in (there / name, *(there / name).rglob("*")) if path.is_file()), key=str)
    first, mark = Path(fetched.local(url)), fetched.mark(url)
    assert (Path(fetched.local(url)), fetched.mark(url)) == (first, mark)
    changed.write_bytes(changed.read_bytes()[::-1])
    again = Path(fetched.local(url))
    assert (again / changed.relative_to(there / name)).read_bytes() == changed.read_bytes()
    assert fetched.mark(url) != mark
    assert sorted(entry.name for entry in first.parent.parent.iterdir()) == sorted(
        {first.parent.name, again.parent.name}
    )


@pytest.mark.parametrize("name", ["b.keras", "a.h5", "served"])
def test_an_error_names_the_url(there: Path, name: str) -> None:
    url = f"kept://{there}/{name}"
    with pytest.raises(kexport.KexportError) as caught:
        build.make(ModelSpec(file=url, weights=OWN))
    assert url in str(caught.value)
    assert str(there.parent / "cache") not in str(caught.value)


def test_a_damaged_photograph_names_its_url(there: Path) -> None:
    images = f"kept://{there}/images"
    with fetched.called(images), pytest.raises(kexport.KexportError) as caught, fetched.called(images):
        raise SourceError(f"{fetched.local(images)}/0_a.png: the image cannot be read")
    assert str(caught.value).startswith(f"{images}/0_a.png: the image cannot be read")


def test_a_fetch_that_breaks_leaves_nothing(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise OSError("the line is cut")

    monkeypatch.setattr(Kept, "get_file", breaks)
    with pytest.raises(kexport.KexportError, match="the line is cut"):
        fetched.local(f"kept://{there}/images")
    assert list((there.parent / "cache" / "fetched").iterdir()) == []


def test_what_nobody_used_for_a_day_goes_first(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, young = (Path(fetched.local(f"kept://{there}/{name}")) for name in ("b.keras", "a.h5"))
    os.utime(old.parent, (1, 1))
    monkeypatch.setattr(fetched, "MOST_BYTES", 1)
    newest = Path(fetched.local(f"kept://{there}/more/c.keras"))
    assert (old.exists(), young.exists(), newest.exists()) == (False, True, True)


def test_without_a_cache_folder_it_goes_with_the_process(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEXPORT_CACHE", "")
    fetched._folder.cache_clear()
    assert Path(fetched.local(f"kept://{there}/b.keras")).read_bytes() == b"b.keras"
    assert not (there.parent / "cache").exists()
    fetched._folder.cache_clear()


def test_a_request_is_known_by_what_the_store_tells(there: Path) -> None:
    images = f"kept://{there}/images"
    model = ModelSpec(file=f"kept://{there}/b.keras", weights=OWN)
    cell = Cell(model=model, format=Format.ONNX, evaluation=images)

    def fingerprint() -> str:
        fetched._asked.clear()
        return resume.fingerprint(cell, resume.Surroundings(bounds="", makers={}))

    before = fingerprint()
    assert fingerprint() == before
    (there / "images" / "1_b.png").write_bytes(b"another image")
    changed = fingerprint()
    assert changed != before
    (there / "b.keras").write_bytes(b"another model, longer")
    assert fingerprint() not in (before, changed)
    assert memory.parameters(model) == len(b"another model, longer") // memory.BYTES_PER_PARAMETER
    assert Kept.taken == 0, "nothing was fetched for it"


@pytest.mark.parametrize("check", [calibration.check, evaluation.check])
def test_images_at_a_url(there: Path, check: Any) -> None:
    check(f"kept://{there}/images")
    with pytest.raises(UsageError, match="neither a folder nor"):
        check(f"kept://{there}/notes.txt")
    (there / "listed.csv").write_text("images/0_a.png,0\n")
    with pytest.raises(UsageError, match=r"neither a folder nor|a CSV lists are not fetched"):
        check(f"kept://{there}/listed.csv")
    with pytest.raises(SourceError, match="nothing is there"):
        check(f"kept://{there}/absent")
    assert Kept.taken == 0, "nothing was fetched for it"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a server on this machine, which has ``Net.keras``."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "Net.keras").write_bytes(TINY.read_bytes())
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_model_of_a_web_server_is_exported(served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEXPORT_CACHE", str(tmp_path / "cache"))
    fetched._folder.cache_clear()
    (record,) = kexport.export(f"{served}/Net.keras", formats="onnx", output=tmp_path / "out")
    fetched._folder.cache_clear()
    assert (record.model, record.status) == ("Net", "PASS")
    assert f"kexport export {served}/Net.keras" in record.reproduce
    assert str(tmp_path / "cache") not in (tmp_path / "out" / "Net" / "Net-float32.onnx.json").read_text()
