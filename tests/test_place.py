"""What a text names as a place: a folder of this machine, a URL, or neither, which is never made a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import kexport
from kexport.cli import main
from kexport.errors import UsageError
from kexport.options.place import Url, place
from tests.places import ROOT

MODEL = str(ROOT / "tests" / "data" / "tiny-0.1.keras")
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
