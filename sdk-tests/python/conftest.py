"""What every test stands on: a running envd, a sandbox object of the SDK, a folder of one's own.

The tests speak to envd through the SDK alone, as a user's program does; only this file knows where it runs: in
the same little machine, or in the guest that WRENN_GUEST_URL and WRENN_GUEST_TOKEN name. After each test no
process may be left: whoever starts one ends it.
"""

import functools
import itertools
import json
import os
import random
import subprocess
import time
import urllib.error
import urllib.request

import certifi
import e2b
import pytest
from packaging.version import Version

from waiting import PATIENCE, eventually

GUEST_URL = os.environ.get("WRENN_GUEST_URL")
SECURED_PORT = 49984
SECURED_URL = GUEST_URL or f"http://localhost:{SECURED_PORT}"

# The SDK's HTTP client refuses to start without certificates, even for plain HTTP.
os.environ["SSL_CERT_FILE"] = certifi.where()

# What only the newer SDK can do is a case of that SDK alone.
collect_ignore_glob = [] if hasattr(e2b, "AsyncCommandInputHandle") else ["test_newer_*.py"]

folders = itertools.count()


def pytest_collection_modifyitems(config, items):
    """In a guest, where each takes seconds, a short run has a sixth of the tests, by chance of a seed."""
    if not GUEST_URL or "WRENN_SOAK" in os.environ:
        return
    seed = int(os.environ.get("WRENN_SDK_SEED", time.time_ns()))
    config.get_terminal_writer().line(f"WRENN_SDK_SEED={seed}")
    chosen = set(random.Random(seed).sample(range(len(items)), len(items) // 6))
    config.hook.pytest_deselected(items=[item for at, item in enumerate(items) if at not in chosen])
    items[:] = [item for at, item in enumerate(items) if at in chosen]


def healthy(port):
    try:
        with urllib.request.urlopen(f"http://localhost:{port}/health", timeout=5) as answer:
            return answer.status == 204
    except urllib.error.URLError:
        return False


def serving(port):
    """An envd that answers on this port; ended afterwards, and it must have lived until then."""
    command = [os.environ["WRENN_ENVD"], "--no-vm", "--listen", f"127.0.0.1:{port}"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as envd:
        try:
            eventually(lambda: healthy(port), "envd answers")
            yield
            assert envd.poll() is None, "envd ended by itself"
        finally:
            envd.kill()


def connected(kind, token, **options):
    """A sandbox object for the envd that asks for a token; it carries this one, or none."""
    headers = {} if token is None else {"X-Access-Token": token}
    return kind(
        sandbox_id="secured",
        sandbox_domain=None,
        envd_version=Version("0.6.4"),
        envd_access_token=token,
        traffic_access_token=None,
        connection_config=e2b.ConnectionConfig(
            sandbox_url=SECURED_URL, extra_sandbox_headers=headers, request_timeout=PATIENCE, **options
        ),
    )


@pytest.fixture(scope="session")
def envd():
    if GUEST_URL:
        yield
    else:
        yield from serving(e2b.ConnectionConfig.envd_port)


@pytest.fixture(scope="session")
def opened(envd):
    """Makes sandbox objects with options of the SDK's connection."""

    def opened(**options):
        if GUEST_URL:
            return connected(e2b.Sandbox, os.environ["WRENN_GUEST_TOKEN"], **options)
        return e2b.Sandbox.create(request_timeout=PATIENCE, **options)

    return opened


@pytest.fixture(scope="session")
def sandbox(opened):
    return opened()


@pytest.fixture
async def async_sandbox(envd):
    if GUEST_URL:
        return connected(e2b.AsyncSandbox, os.environ["WRENN_GUEST_TOKEN"])
    return await e2b.AsyncSandbox.create(request_timeout=PATIENCE)


@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"


@pytest.fixture(autouse=True)
def no_process_is_left(sandbox):
    yield
    eventually(lambda: not sandbox.commands.list(), "all commands are over")


@pytest.fixture
def folder(sandbox):
    """The path of a new folder that belongs to the default user."""
    path = f"/home/user/folder-{next(folders)}"
    assert sandbox.files.make_dir(path)
    yield path
    sandbox.files.remove(path)


@pytest.fixture(scope="session")
def token():
    """The access token of the guest, or of a second envd, one that asks for it."""
    if GUEST_URL:
        yield os.environ["WRENN_GUEST_TOKEN"]
        return
    token = "a-token-of-the-tests"
    envd = serving(SECURED_PORT)
    next(envd)
    init = urllib.request.Request(
        f"http://localhost:{SECURED_PORT}/init",
        json.dumps({"accessToken": token}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(init, timeout=PATIENCE) as answer:
        assert answer.status == 204
    yield token
    next(envd, None)


@pytest.fixture
def secured():
    """Makes sandbox objects that carry this token, or none."""
    return functools.partial(connected, e2b.Sandbox)
