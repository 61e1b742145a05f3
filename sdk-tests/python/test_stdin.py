"""Standard input of commands."""

import hashlib

import e2b
import pytest

from waiting import PATIENCE

UNKNOWN = 4_000_000


@pytest.fixture
def start(sandbox):
    return lambda command: sandbox.commands.run(command, background=True, stdin=True, timeout=PATIENCE)


def test_input_is_read_until_it_is_closed(start):
    handle = start("cat")
    handle.send_stdin("one\n")
    handle.send_stdin("two\n")
    handle.close_stdin()
    assert handle.wait().stdout == "one\ntwo\n"


def test_input_is_sent_by_pid(sandbox, start):
    handle = start("cat")
    sandbox.commands.send_stdin(handle.pid, "žluťoučký 🐎\n")
    sandbox.commands.close_stdin(handle.pid)
    assert handle.wait().stdout == "žluťoučký 🐎\n"


def test_any_bytes_may_be_input(start):
    data = bytes(range(256)) * 100
    handle = start("sha256sum")
    handle.send_stdin(data)
    handle.close_stdin()
    assert handle.wait().stdout.split()[0] == hashlib.sha256(data).hexdigest()


def test_a_megabyte_at_once_is_taken_whole(start):
    data = b"0123456789abcde\n" * (1 << 16)
    handle = start("sha256sum")
    handle.send_stdin(data)
    handle.close_stdin()
    assert handle.wait().stdout.split()[0] == hashlib.sha256(data).hexdigest()


def test_many_small_writes_keep_their_order(start):
    handle = start("cat")
    for number in range(200):
        handle.send_stdin(f"{number}\n")
    handle.close_stdin()
    assert handle.wait().stdout == "".join(f"{number}\n" for number in range(200))


def test_closing_before_any_input_is_the_end_of_it(start):
    handle = start("wc -c")
    handle.close_stdin()
    assert handle.wait().stdout == "0\n"


def test_closing_twice_is_fine(start):
    handle = start("cat; sleep 0.3; echo over")
    handle.close_stdin()
    handle.close_stdin()
    assert handle.wait().stdout == "over\n"


def test_input_after_closing_is_an_error(sandbox, start):
    handle = start("sleep 60")
    handle.close_stdin()
    with pytest.raises(e2b.SandboxException, match="stdin"):
        handle.send_stdin("late")
    assert handle.kill()


def test_input_to_a_command_without_one_is_an_error(sandbox):
    handle = sandbox.commands.run("sleep 60", background=True)
    with pytest.raises(e2b.SandboxException, match="stdin"):
        handle.send_stdin("nobody reads")
    assert handle.kill()


def test_input_that_the_command_has_closed_is_an_error(start):
    handle = start("exec 0<&-; echo closed; sleep 60")
    next(iter(handle))
    with pytest.raises(e2b.SandboxException, match="stdin"):
        handle.send_stdin("nobody reads")
    assert handle.kill()


def test_input_for_an_unknown_pid_is_not_found(sandbox):
    with pytest.raises(e2b.NotFoundException):
        sandbox.commands.send_stdin(UNKNOWN, "x")
    with pytest.raises(e2b.NotFoundException):
        sandbox.commands.close_stdin(UNKNOWN)


def test_input_for_a_command_that_is_over_is_not_found(start):
    handle = start("true")
    handle.wait()
    with pytest.raises(e2b.NotFoundException):
        handle.send_stdin("late")
