"""Files that travel compressed."""

import gzip
import hashlib
import io
import urllib.request

import pytest

from waiting import PATIENCE

NOISE = b"".join(hashlib.sha256(str(n).encode()).digest() for n in range(20_000))


@pytest.mark.parametrize("data", [b"", b"x", b"z" * 1_000_000, NOISE], ids=["empty", "one", "same", "noise"])
def test_a_compressed_upload_is_stored_plain(sandbox, folder, data):
    info = sandbox.files.write(f"{folder}/file", data, gzip=True)
    assert info.path == f"{folder}/file"
    assert sandbox.files.get_info(f"{folder}/file").size == len(data)
    assert sandbox.files.read(f"{folder}/file", format="bytes") == data


@pytest.mark.parametrize("data", [b"", b"x", b"z" * 1_000_000, NOISE], ids=["empty", "one", "same", "noise"])
def test_a_compressed_download_is_the_file(sandbox, folder, data):
    sandbox.files.write(f"{folder}/file", data)
    assert sandbox.files.read(f"{folder}/file", format="bytes", gzip=True) == data


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [("gzip", "gzip"), ("br, gzip;q=0.5, identity;q=0.1", "gzip"), ("gzip;q=0", None), ("identity, gzip;q=0.5", None)],
)
def test_a_download_is_compressed_only_where_that_is_preferred(sandbox, folder, accepted, encoding):
    data = b"z" * 1_000_000
    sandbox.files.write(f"{folder}/file", data)
    request = urllib.request.Request(sandbox.download_url(f"{folder}/file"), headers={"Accept-Encoding": accepted})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        body = answer.read()
        assert answer.headers["Content-Encoding"] == encoding
    assert (gzip.decompress(body) if encoding else body) == data
    assert (len(body) < 100_000) == (encoding is not None)


def test_text_travels_compressed_both_ways(sandbox, folder):
    text = "žluťoučký 🐎\n" * 1000
    sandbox.files.write(f"{folder}/file", text, gzip=True)
    assert sandbox.files.read(f"{folder}/file", gzip=True) == text


def test_a_compressed_stream_is_decompressed(sandbox, folder):
    sandbox.files.write(f"{folder}/file", NOISE)
    with sandbox.files.read(f"{folder}/file", format="stream", gzip=True) as stream:
        assert b"".join(stream) == NOISE


def test_a_file_object_is_compressed_on_its_way(sandbox, folder):
    sandbox.files.write(f"{folder}/file", io.BytesIO(NOISE * 10), gzip=True)
    assert sandbox.files.read(f"{folder}/file", format="bytes") == NOISE * 10


def test_what_is_gzip_already_stays_so(sandbox, folder):
    sandbox.commands.run(f"echo inside | gzip >{folder}/file.gz")
    before = sandbox.files.read(f"{folder}/file.gz", format="bytes")
    assert before[:2] == b"\x1f\x8b"
    assert sandbox.files.read(f"{folder}/file.gz", format="bytes", gzip=True) == before


def test_several_files_and_metadata_travel_compressed(sandbox, folder):
    files = [{"path": f"{folder}/{name}", "data": name * 1000} for name in ["one", "two"]]
    infos = sandbox.files.write_files(files, gzip=True, metadata={"kind": "packed"})
    assert [info.metadata for info in infos] == [{"kind": "packed"}] * 2
    assert sandbox.files.read(f"{folder}/two") == "two" * 1000
