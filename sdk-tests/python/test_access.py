"""An envd that has an access token: who gets in, and the signed URLs of the SDK."""

import json
import urllib.error
import urllib.request

import e2b
import pytest

from waiting import PATIENCE


@pytest.fixture
def inside(secured, token):
    return secured(token)


def refused(*request):
    """The message of a request that is answered with 401."""
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(*request, timeout=PATIENCE)
    with raised.value as answer:
        body = json.load(answer)
        assert (answer.status, body["code"]) == (401, 401)
        return body["message"]


def test_the_right_token_opens_everything(inside):
    inside.files.write("file", "text")
    assert inside.files.read("file") == "text"
    assert inside.commands.run("cat file").stdout == "text"
    assert inside.files.exists("file")


@pytest.mark.parametrize("wrong", [None, "", "another", "a-token-of-the-test"])
def test_any_other_token_opens_nothing(secured, token, wrong):
    outside = secured(wrong)
    calls = [
        lambda: outside.commands.run("true"),
        lambda: outside.commands.list(),
        lambda: outside.files.read("/etc/passwd"),
        lambda: outside.files.write("/tmp/file", "x"),
        lambda: outside.files.list("/"),
        lambda: outside.files.watch_dir("/"),
        lambda: outside.pty.create(e2b.PtySize(rows=24, cols=80)),
    ]
    for call in calls:
        with pytest.raises(e2b.AuthenticationException):
            call()


def test_refusals_in_a_row_are_all_answered(secured, token):
    outside = secured("another")
    for _ in range(200):
        with pytest.raises(e2b.AuthenticationException):
            outside.commands.run("true")


def test_health_needs_no_token(secured, token):
    assert secured(None).is_running()


def test_a_signed_url_downloads(inside):
    inside.files.write("žluťoučký soubor", "text")
    for options in [{}, {"user": "user"}, {"use_signature_expiration": 60}]:
        with urllib.request.urlopen(inside.download_url("žluťoučký soubor", **options), timeout=PATIENCE) as answer:
            assert answer.read() == b"text"


def test_a_signed_url_uploads(inside):
    url = inside.upload_url("uploaded", use_signature_expiration=60)
    kind = {"Content-Type": "application/octet-stream"}
    with urllib.request.urlopen(urllib.request.Request(url, b"up", kind), timeout=PATIENCE) as answer:
        assert json.load(answer) == [{"name": "uploaded", "path": "/home/user/uploaded", "type": "file"}]
    assert inside.files.read("uploaded") == "up"


def test_a_url_without_its_signature_is_refused(inside):
    unsigned = inside.download_url("/etc/passwd").partition("&signature")[0]
    assert refused(unsigned) == "missing signature query parameter"


def test_a_signature_for_another_path_is_refused(inside):
    url = inside.download_url("/etc/group").replace("group", "passwd")
    assert refused(url) == "invalid signature"


def test_a_signature_for_reading_does_not_write(inside):
    url = inside.download_url("/tmp/file")
    kind = {"Content-Type": "application/octet-stream"}
    assert refused(urllib.request.Request(url, b"x", kind)) == "invalid signature"


def test_a_signature_for_another_user_is_refused(inside):
    url = inside.download_url("/etc/passwd", user="user").replace("username=user", "username=root")
    assert refused(url) == "invalid signature"


def test_an_expired_signature_is_refused(inside):
    url = inside.download_url("/etc/passwd", use_signature_expiration=-60)
    assert refused(url) == "signature is already expired"


def test_a_longer_expiration_than_the_signed_one_is_refused(inside):
    url = inside.download_url("/etc/passwd", use_signature_expiration=-60)
    stretched = url.partition("signature_expiration=")[0] + "signature_expiration=99999999999"
    assert refused(stretched) == "invalid signature"


def test_a_wrong_token_is_refused_despite_a_good_signature(inside):
    url = inside.download_url("/etc/passwd")
    refused(urllib.request.Request(url, headers={"X-Access-Token": "another"}))
