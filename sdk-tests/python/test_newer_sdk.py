"""What only the newer SDK can do: streamed input, output that is not kept, uploads from iterators."""

import asyncio

import e2b
import pytest

from waiting import PATIENCE


def test_streamed_input_arrives_in_order(sandbox):
    handle = sandbox.commands.run("cat", background=True, stdin=True, timeout=PATIENCE)
    sandbox.commands.stream_input(handle.pid, (f"{n}\n" for n in range(1000)), timeout=PATIENCE)
    handle.close_stdin()
    assert handle.wait().stdout == "".join(f"{n}\n" for n in range(1000))


def test_streamed_input_is_any_bytes_of_any_size(sandbox):
    handle = sandbox.commands.run("wc -c", background=True, stdin=True, timeout=PATIENCE)
    sandbox.commands.stream_input(handle.pid, [bytes(range(256)) * 4096, b"", b"x"], timeout=PATIENCE)
    handle.close_stdin()
    assert handle.wait().stdout == f"{(1 << 20) + 1}\n"


def test_the_end_of_streamed_input_leaves_the_command_s_input_open(sandbox):
    handle = sandbox.commands.run("cat", background=True, stdin=True, timeout=PATIENCE)
    sandbox.commands.stream_input(handle.pid, ["one "], timeout=PATIENCE)
    handle.send_stdin("two\n")
    handle.close_stdin()
    assert handle.wait().stdout == "one two\n"


def test_streamed_input_for_an_unknown_pid_is_not_found(sandbox):
    with pytest.raises(e2b.NotFoundException):
        sandbox.commands.stream_input(4_000_000, ["x"], timeout=PATIENCE)


def test_streamed_input_types_into_a_terminal(sandbox):
    handle = sandbox.pty.create(e2b.PtySize(rows=24, cols=80), timeout=PATIENCE)
    sandbox.pty.stream_input(handle.pid, ["echo $((6*7)); ", b"exit 5\n"], timeout=PATIENCE)
    with pytest.raises(e2b.CommandExitException) as raised:
        handle.wait()
    assert raised.value.exit_code == 5


async def test_an_input_handle_stays_open_between_sends(async_sandbox):
    lines = asyncio.Queue()
    handle = await async_sandbox.commands.run(
        "while read -r line; do echo got $line; done", background=True, stdin=True, timeout=PATIENCE, on_stdout=lines.put_nowait
    )
    async with async_sandbox.commands.stream_input(handle.pid, timeout=PATIENCE) as input:
        for word in ["one", "two", "three"]:
            await input.send(f"{word}\n")
            assert await asyncio.wait_for(lines.get(), 10) == f"got {word}\n"
    await handle.close_stdin()
    assert (await handle.wait()).exit_code == 0


async def test_an_input_handle_for_an_unknown_pid_is_not_found(async_sandbox):
    input = async_sandbox.commands.stream_input(4_000_000, timeout=PATIENCE)
    with pytest.raises(e2b.NotFoundException):
        await input.close()


def test_output_that_is_not_kept_goes_to_the_callbacks_only(sandbox):
    shown = []
    result = sandbox.commands.run("seq 100000", on_stdout=shown.append, retain_output=False, timeout=PATIENCE)
    assert (result.stdout, result.stderr, result.exit_code) == (None, None, 0)
    assert "".join(shown) == "".join(f"{n}\n" for n in range(1, 100_001))


@pytest.mark.parametrize("gzip", [True, False])
def test_a_file_is_written_from_an_iterator(sandbox, folder, gzip):
    chunks = [bytes([n % 256]) * n for n in range(500)]
    sandbox.files.write(f"{folder}/file", iter(chunks), gzip=gzip)
    assert sandbox.files.read(f"{folder}/file", format="bytes") == b"".join(chunks)


async def test_a_file_is_written_from_an_asynchronous_iterator(async_sandbox, folder):
    async def chunks():
        for n in range(500):
            yield b"%d\n" % n

    await async_sandbox.files.write(f"{folder}/file", chunks())
    assert await async_sandbox.files.read(f"{folder}/file") == "".join(f"{n}\n" for n in range(500))


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_either_setting_of_the_http_version_works(opened, version):
    sandbox = opened(http_version=version)
    assert sandbox.commands.run("echo on").stdout == "on\n"
