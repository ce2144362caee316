"""What a text names as a place: a folder of this machine, a URL, or neither, which is never made a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import kexport
from kexport.cli import main
from kexport.errors import UsageError
from kexport.options.place import Url, here, place
from tests.places import ROOT

MODEL = str(ROOT / "tests" / "data" / "tiny-0.1.keras")
MODEL_FILE = ROOT / "tests" / "data" / "artifacts-0.1" / "tiny" / "tiny-float32.onnx"
MISSPELT = {
    "s3:/bucket/x": "s3://bucket/x",
    "S3:/bucket/x": "s3://bucket/x",
    "gs:bucket/x": "gs://bucket/x",
    "abfs:/box/x/": "abfs://box/x",
    "memory:/x": "memory://x",
    "https:/host/x": "https://host/x",
    "s3:": "s3://bucket/models",
    "file:/tmp/x": "file:///tmp/x",
}
API: dict[str, Callable[[str], object]] = {
    "export": lambda text: kexport.export(MODEL, output=text),
    "verify": kexport.verify,
    "report": kexport.report,
}


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("S3://bucket/x", "s3://bucket/x"),
        ("FILE:///srv/X", "file:///srv/X"),
        ("Memory://Bucket/x", "memory://Bucket/x"),
        ("ABFS://Box/x", "abfs://Box/x"),
    ],
)
def test_a_protocol_in_capitals_is_the_same_one(text: str, url: str) -> None:
    found = place(text)
    assert isinstance(found, Url)
    assert (found, found.text, found.protocol) == (Url(url), url, url.partition(":")[0])


@pytest.mark.parametrize("text", MISSPELT)
def test_a_url_without_its_slashes_is_no_folder(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no URL, as it has not :// after") as caught:
        place(text)
    assert caught.value.hint is not None
    assert f"did you mean {MISSPELT[text]}?" in caught.value.hint


def test_a_file_url_without_its_slashes_is_meant_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        place("file:out")
    assert caught.value.hint is not None
    assert f"did you mean file://{tmp_path}/out?" in caught.value.hint


@pytest.mark.parametrize("text", ["sftp:/me:secret@host/x", "sftp:me:secret@host/x", "FTP:/me:secret@host/x"])
def test_a_password_is_not_told(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        place(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["C:\\models", "C:/models", "C://models", "run:1", "data:2", "./s3:/bucket", "a/s3:/b", "s3", "s3x:/b"]
)
def test_odd_names_are_folders(text: str) -> None:
    assert place(text) == Path(text)


@pytest.mark.parametrize("text", ["s3:", "s3:/bucket", "file:ours", "S3:/bucket/models"])
def test_what_is_there_is_a_folder(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(text).mkdir(parents=True)
    assert place(text) == Path(text)


@pytest.mark.parametrize("text", ["s3:/bucket/x", "gs:bucket/x", "abfs:/x", "file:ours"])
class TestNothingIsWritten:
    @pytest.mark.parametrize("command", [("export", MODEL, "-o"), ("all", "-o"), ("verify",), ("report",)])
    def test_by_a_command(
        self,
        text: str,
        command: tuple[str, ...],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert main([*command, text]) == 2
        assert "hint: did you mean " in capsys.readouterr().err
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("name", API)
    def test_by_a_function(self, text: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UsageError, match="no URL"):
            API[name](text)
        assert not list(tmp_path.iterdir())


URLS = ("s3://bucket/models", "MEMORY://bucket/models", "https://host/models", "gs://bucket/M/M.onnx")
STORED = {
    "parity": kexport.parity,
    "bench": kexport.bench,
    "inspect": kexport.inspect,
    "classify": lambda url: kexport.classify(url, "photo.jpg"),
    "bundle": lambda url: kexport.bundle(url, "python"),
}
TYPED = {
    "parity {}": "kexport verify {}",
    "bench artifacts {}": "kexport verify {}",
    "inspect {}": "kexport verify {}",
    "sign {} --key key.pem": "kexport verify {}",
    "diff {} artifacts": "kexport verify {}",
    "diff artifacts {}": "kexport verify {}",
    "classify {} photo.jpg": "kexport verify {}",
    "classify artifacts {}": "kexport classify ARTIFACT FILE.jpg",
    "bundle {} --for python": "kexport verify {}",
    "bundle artifacts --for python -o {}": "-o PLACE",
    "demo -o {}": "-o DIR",
    "parity artifacts --by-layer -o {}": "-o FOLDER",
    "verify artifacts --key {}": "--key FILE",
}


class TestOfThisMachine:
    @pytest.mark.parametrize("url", URLS)
    @pytest.mark.parametrize("name", STORED)
    def test_functions_tell_the_url_as_it_was_given(self, name: str, url: str) -> None:
        with pytest.raises(UsageError) as caught:
            STORED[name](url)
        told = str(Url(url))
        assert caught.value.message.startswith(f"{told}: {name} takes a file or folder of this machine; verify and")
        assert caught.value.hint == f"kexport.verify({told!r})"

    @pytest.mark.parametrize("url", URLS)
    def test_words_of_functions(self, url: str, tmp_path: Path) -> None:
        for word in ("output", "runtime_files"):
            with pytest.raises(UsageError, match="of this machine") as caught:
                kexport.bundle(MODEL_FILE, "python", **{"output": tmp_path / "out", word: url})
            assert caught.value.hint == f"{word}='folder'"
        with pytest.raises(UsageError, match="of this machine") as caught:
            kexport.classify(MODEL_FILE, url)
        assert caught.value.hint == "kexport.classify(artifact, 'photo.jpg')"

    @pytest.mark.parametrize("url", [url for url in URLS if not url.startswith("MEMORY")])
    @pytest.mark.parametrize("typed", TYPED)
    def test_commands(
        self, typed: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("artifacts").mkdir()
        assert main(typed.format(url).split()) == 2
        told = capsys.readouterr().err
        assert f"error: {url}: kexport {typed.split(maxsplit=1)[0]}" in told
        assert " takes a file or folder of this machine; verify and report take URLs" in told
        assert told.endswith(f"\nhint: {TYPED[typed].format(url)}\n")
        assert [path.name for path in tmp_path.iterdir()] == ["artifacts"]

    @pytest.mark.parametrize("typed", TYPED)
    def test_memory_is_told_as_that(
        self, typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("artifacts").mkdir()
        assert main(typed.format("memory://bucket/models").split()) == 2
        told = capsys.readouterr().err
        assert "memory:// ends with its process" in told
        assert told.endswith(f"\nhint: {TYPED[typed].format('artifacts')}\n")

    @pytest.mark.parametrize("protocol", ["file", "local", "FILE"])
    def test_a_file_url_is_its_path(self, protocol: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        url = f"{protocol}://{tmp_path}"
        assert here(url, taker="parity", hint="") == tmp_path
        with pytest.raises(UsageError, match=f"{tmp_path} is neither an artifact directory nor") as caught:
            kexport.parity(url)
        assert "://" not in str(caught.value)
        assert main(["inspect", f"{url}/no.onnx"]) == 2
        assert f"error: {tmp_path}/no.onnx does not exist" in capsys.readouterr().err
        assert main(["parity", f"{url}/no"]) == 2
        assert f"{tmp_path}/no' does not exist" in capsys.readouterr().err

    @pytest.mark.parametrize("command", ["parity", "bench", "sign --key k"])
    def test_an_empty_name_is_none(self, command: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([*command.split(), ""]) == 2
        assert "does not exist" in capsys.readouterr().err
