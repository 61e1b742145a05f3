"""Commands in the background: handles, the list, killing, time limits, leaving and coming back."""

import threading

import e2b
import pytest

from waiting import PATIENCE, eventually


def start(sandbox, command, **options):
    options.setdefault("timeout", PATIENCE)
    return sandbox.commands.run(command, background=True, **options)


def failure(handle):
    with pytest.raises(e2b.CommandExitException) as raised:
        handle.wait()
    return raised.value


def first_output(handle):
    for stdout, _, _ in handle:
        if stdout:
            return stdout
    raise AssertionError("the stream ended before any output")


def alive(sandbox, group):
    """Whether a process of this group is there that is not merely waiting to be reaped."""
    states = sandbox.commands.run(f"ps -e -o pgid=,stat= | grep '^ *{group} ' | grep -vc ' Z' || true").stdout
    return int(states) > 0


def test_a_handle_is_there_while_the_command_runs(sandbox):
    handle = start(sandbox, "read -r line; echo $line", stdin=True)
    assert handle.pid > 0
    handle.send_stdin("on\n")
    assert handle.wait().stdout == "on\n"


def test_waiting_raises_for_an_exit_code_that_is_not_zero(sandbox):
    error = failure(start(sandbox, "echo out; exit 4"))
    assert (error.exit_code, error.stdout) == (4, "out\n")


def test_a_handle_yields_output_as_it_comes(sandbox):
    handle = start(sandbox, 'echo first; read -r line; echo "second $line" >&2', stdin=True)
    assert first_output(handle) == "first\n"
    handle.send_stdin("x\n")
    assert [chunk for chunk in handle] == [(None, "second x\n", None)]
    assert handle.wait().stderr == "second x\n"


def test_a_running_command_is_listed_with_what_it_was_started_with(sandbox):
    handle = start(sandbox, "sleep 60", envs={"A": "b"}, cwd="/tmp")
    (listed,) = sandbox.commands.list()
    assert (listed.pid, listed.cmd, listed.args) == (handle.pid, "/bin/bash", ["-l", "-c", "sleep 60"])
    assert (listed.envs, listed.cwd, listed.tag) == ({"A": "b"}, "/tmp", None)
    assert handle.kill()


def test_every_running_command_is_listed(sandbox):
    handles = [start(sandbox, "sleep 60") for _ in range(5)]
    assert {one.pid for one in sandbox.commands.list()} == {one.pid for one in handles}
    assert all(one.kill() for one in handles)


def test_a_killed_command_says_so(sandbox):
    handle = start(sandbox, "echo before; sleep 60")
    assert first_output(handle) == "before\n"
    assert handle.kill()
    error = failure(handle)
    assert (error.exit_code, error.error, error.stdout) == (-1, "signal: killed", "before\n")


def test_a_command_is_killed_by_its_pid(sandbox):
    handle = start(sandbox, "sleep 60")
    assert sandbox.commands.kill(handle.pid)
    assert failure(handle).error == "signal: killed"


def test_killing_what_is_over_or_never_was_is_false(sandbox):
    handle = start(sandbox, "true")
    handle.wait()
    eventually(lambda: not sandbox.commands.list(), "the command is over")
    assert not handle.kill()
    assert not sandbox.commands.kill(4_000_000)


def test_processes_that_envd_did_not_start_are_not_killed(sandbox):
    pid = int(sandbox.commands.run("setsid sleep 300 >/dev/null 2>&1 & echo $!").stdout)
    assert not sandbox.commands.kill(1)
    assert not sandbox.commands.kill(pid)
    sandbox.commands.run(f"kill -9 {pid}")


def test_killing_ends_the_whole_group(sandbox):
    handle = start(sandbox, "sleep 300 & sleep 300 & echo started; wait")
    assert first_output(handle) == "started\n"
    assert alive(sandbox, handle.pid)
    assert handle.kill()
    assert failure(handle).exit_code == -1
    eventually(lambda: not alive(sandbox, handle.pid), "the group is gone")


def test_a_command_that_ignores_polite_signals_is_killed(sandbox):
    handle = start(sandbox, "trap '' TERM INT HUP; echo ready; while :; do sleep 0.1; done")
    assert first_output(handle) == "ready\n"
    assert handle.kill()
    assert failure(handle).error == "signal: killed"


def test_a_time_limit_raises_and_ends_the_whole_group(sandbox):
    group = []
    with pytest.raises(e2b.TimeoutException):
        sandbox.commands.run("echo $$; sleep 300 & sleep 300", timeout=0.5, on_stdout=group.append)
    eventually(lambda: not alive(sandbox, int(group[0])), "the group is gone")


def test_a_time_limit_holds_for_a_command_in_the_background(sandbox):
    handle = start(sandbox, "sleep 300", timeout=0.5)
    with pytest.raises(e2b.TimeoutException):
        handle.wait()


def test_a_time_limit_of_zero_is_none(sandbox):
    assert sandbox.commands.run("sleep 0.3; echo done", timeout=0).stdout == "done\n"


def test_a_command_ended_by_its_time_limit_says_killed_to_others(sandbox):
    handle = start(sandbox, "echo ready; sleep 300", timeout=2)
    assert first_output(handle) == "ready\n"
    other = sandbox.commands.connect(handle.pid, timeout=PATIENCE)
    with pytest.raises(e2b.TimeoutException):
        handle.wait()
    assert failure(other).error == "signal: killed"


def test_whoever_connects_gets_what_follows_and_the_end(sandbox):
    handle = start(sandbox, "echo ready; read -r line; echo $line; exit 5", stdin=True)
    assert first_output(handle) == "ready\n"
    other = sandbox.commands.connect(handle.pid, timeout=PATIENCE)
    assert other.pid == handle.pid
    other.send_stdin("both\n")
    assert (failure(handle).stdout, failure(other).stdout) == ("ready\nboth\n", "both\n")
    assert failure(other).exit_code == 5


def test_many_subscribers_get_the_same_bytes(sandbox):
    handle = start(sandbox, "read -r line; seq 300000", stdin=True)
    others = [sandbox.commands.connect(handle.pid, timeout=PATIENCE) for _ in range(4)]
    results = [None] * len(others)

    def collect(index):
        results[index] = others[index].wait().stdout

    threads = [threading.Thread(target=collect, args=(index,)) for index in range(len(others))]
    for thread in threads:
        thread.start()
    handle.send_stdin("go\n")
    expected = "".join(f"{n}\n" for n in range(1, 300_001))
    assert handle.wait().stdout == expected
    for thread in threads:
        thread.join()
    assert all(result == expected for result in results)


def test_connecting_after_the_end_gives_the_end(sandbox):
    handle = start(sandbox, "exit 7")
    assert failure(handle).exit_code == 7
    assert failure(sandbox.commands.connect(handle.pid, timeout=PATIENCE)).exit_code == 7


def test_connecting_to_what_never_was_is_not_found(sandbox):
    with pytest.raises(e2b.NotFoundException, match="4000000"):
        sandbox.commands.connect(4_000_000)


def test_the_time_limit_of_a_connection_leaves_the_command_alone(sandbox):
    handle = start(sandbox, "read -r line; echo $line", stdin=True)
    with pytest.raises(e2b.TimeoutException):
        sandbox.commands.connect(handle.pid, timeout=0.3).wait()
    handle.send_stdin("still here\n")
    assert handle.wait().stdout == "still here\n"


def test_leaving_a_command_leaves_it_running(sandbox, folder):
    handle = start(sandbox, f"echo ready; read -r line; seq 100000; echo $line >{folder}/end", stdin=True)
    assert first_output(handle) == "ready\n"
    handle.disconnect()
    pid = handle.pid
    # Its output has nowhere to go now, and it must neither block nor die of that.
    sandbox.commands.send_stdin(pid, "survived\n")
    assert sandbox.commands.connect(pid, timeout=PATIENCE).wait().exit_code == 0
    assert sandbox.files.read(f"{folder}/end") == "survived\n"


def test_coming_back_to_a_command_that_was_left(sandbox):
    handle = start(sandbox, "echo one; read -r line; echo $line", stdin=True)
    assert first_output(handle) == "one\n"
    handle.disconnect()
    again = sandbox.commands.connect(handle.pid, timeout=PATIENCE)
    again.send_stdin("two\n")
    assert again.wait().stdout == "two\n"


def test_a_stalled_command_does_not_delay_another(sandbox):
    stalled = start(sandbox, "yes")  # nobody reads its stream
    for number in range(20):
        assert sandbox.commands.run(f"echo {number}").stdout == f"{number}\n"
    assert stalled.kill()
    stalled.disconnect()
