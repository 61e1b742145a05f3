"""Commands in the foreground: what runs, as whom, where, and what comes back."""

import hashlib
import threading

import e2b
import pytest

from waiting import PATIENCE


def run(sandbox, command, **options):
    return sandbox.commands.run(command, timeout=PATIENCE, **options)


def failure(sandbox, command, **options):
    """The exception of a command that ran and ended badly."""
    with pytest.raises(e2b.CommandExitException) as raised:
        run(sandbox, command, **options)
    return raised.value


def lines(result):
    return result.stdout.splitlines()


def test_the_sandbox_is_running(sandbox):
    assert sandbox.is_running()


def test_a_result_holds_the_output_and_the_exit_code(sandbox):
    result = run(sandbox, "echo out")
    assert (result.stdout, result.stderr, result.exit_code, result.error) == ("out\n", "", 0, None)


def test_standard_error_is_kept_apart(sandbox):
    result = run(sandbox, "echo one; echo two >&2; echo three")
    assert (result.stdout, result.stderr) == ("one\nthree\n", "two\n")


def test_output_without_a_newline_at_its_end_is_whole(sandbox):
    assert run(sandbox, "printf '%s' end").stdout == "end"


@pytest.mark.parametrize("code", [1, 3, 127, 255])
def test_an_exit_code_that_is_not_zero_raises(sandbox, code):
    error = failure(sandbox, f"echo out; echo err >&2; exit {code}")
    assert (error.exit_code, error.stdout, error.stderr) == (code, "out\n", "err\n")
    assert error.error == f"exit status {code}"


@pytest.mark.parametrize(("signal", "name"), [("KILL", "killed"), ("TERM", "terminated"), ("HUP", "hangup")])
def test_a_command_ended_by_a_signal_names_it(sandbox, signal, name):
    error = failure(sandbox, f"echo before; kill -{signal} $$; sleep 60")
    assert (error.exit_code, error.error, error.stdout) == (-1, f"signal: {name}", "before\n")


def test_an_unknown_program_is_the_shell_s_127(sandbox):
    error = failure(sandbox, "no-such-program-here")
    assert error.exit_code == 127
    assert "not found" in error.stderr


@pytest.mark.parametrize(
    "value", ["plain", "", "two words", "a=b", "it's \"quoted\" $HOME `id`", "line\nline", "žluťoučký 🐎"]
)
def test_an_environment_value_arrives_unchanged(sandbox, value):
    assert run(sandbox, "printf '%s' \"$VALUE\"", envs={"VALUE": value}).stdout == value


def test_the_environment_of_one_command_is_not_that_of_the_next(sandbox):
    run(sandbox, "true", envs={"ONLY_ONCE": "1"})
    assert run(sandbox, "echo ${ONLY_ONCE-unset}").stdout == "unset\n"


def test_the_default_user_has_its_home_and_its_name(sandbox):
    result = run(sandbox, 'echo "$HOME"; echo "$USER"; echo "$LOGNAME"; pwd; whoami')
    assert lines(result) == ["/home/user", "user", "user", "/home/user", "user"]


def test_root_has_its_home_and_its_name(sandbox):
    result = run(sandbox, 'echo "$HOME"; echo "$USER"; pwd; id -u', user="root")
    assert lines(result) == ["/root", "root", "/root", "0"]


def test_another_user_runs_with_its_own_ids_only(sandbox):
    result = run(sandbox, "id -un; id -gn; id -Gn", user="daemon", cwd="/")
    assert lines(result) == ["daemon", "daemon", "daemon"]


def test_the_supplementary_groups_are_those_of_the_group_file(sandbox):
    assert sorted(run(sandbox, "id -Gn").stdout.split()) == ["sudo", "user"]


def test_a_user_cannot_write_where_root_only_may(sandbox):
    assert "Permission denied" in failure(sandbox, "echo x >/root/file").stderr


def test_an_unknown_user_is_an_authentication_error(sandbox):
    with pytest.raises(e2b.AuthenticationException, match="nobody-here"):
        run(sandbox, "true", user="nobody-here")


def test_a_user_s_environment_may_be_overridden(sandbox):
    assert run(sandbox, 'echo "$HOME"', envs={"HOME": "/tmp"}).stdout == "/tmp\n"


def test_the_sandbox_says_that_it_is_one(sandbox):
    assert run(sandbox, "echo $E2B_SANDBOX").stdout == "true\n"


@pytest.mark.parametrize(
    ("cwd", "expected"),
    [("/", "/"), ("/usr/lib/../bin", "/usr/bin"), ("~", "/home/user"), ("", "/home/user"), (".", "/home/user")],
)
def test_a_working_directory_is_resolved(sandbox, cwd, expected):
    assert run(sandbox, "pwd", cwd=cwd).stdout == f"{expected}\n"


def test_a_relative_working_directory_is_under_the_home(sandbox, folder):
    assert run(sandbox, "pwd", cwd=folder.removeprefix("/home/user/")).stdout == f"{folder}\n"


def test_a_missing_working_directory_is_an_invalid_argument(sandbox):
    with pytest.raises(e2b.InvalidArgumentException, match="cwd '/no/such/folder'"):
        run(sandbox, "true", cwd="/no/such/folder")


def test_a_file_as_working_directory_is_an_invalid_argument(sandbox):
    with pytest.raises(e2b.InvalidArgumentException, match="cwd '/etc/passwd'"):
        run(sandbox, "true", cwd="/etc/passwd")


def test_a_working_directory_that_the_user_may_not_enter_is_an_invalid_argument(sandbox, folder):
    run(sandbox, f"mkdir -m 700 {folder}/closed", user="root")
    with pytest.raises(e2b.InvalidArgumentException, match="cwd"):
        run(sandbox, "true", cwd=f"{folder}/closed")
    assert run(sandbox, "pwd", cwd=f"{folder}/closed", user="root").stdout == f"{folder}/closed\n"


def test_a_command_has_neither_input_nor_terminal(sandbox):
    assert run(sandbox, "cat; readlink /proc/self/fd/0").stdout == "/dev/null\n"
    assert failure(sandbox, "tty").stdout == "not a tty\n"


def test_a_command_leads_its_own_session_and_inherits_no_descriptor(sandbox):
    session, leader, *descriptors = lines(run(sandbox, "ps -o sid= -p $$ | tr -d ' '; echo $$; ls /proc/self/fd"))
    assert session == leader
    assert descriptors == ["0", "1", "2", "3"]  # the fourth is the directory that ls reads


def test_files_are_made_with_the_usual_mask(sandbox):
    assert run(sandbox, "umask").stdout == "0022\n"


def test_utf_8_arrives_whole(sandbox):
    text = "žluťoučký kůň 漢字 🐎"
    assert run(sandbox, f"echo '{text}'").stdout == f"{text}\n"


def test_utf_8_that_is_cut_by_chunks_arrives_whole(sandbox):
    # One byte first, then characters of three: no multiple of 16 KiB falls between two of them for long.
    result = run(sandbox, "printf x; yes 漢 | head -n 200000 | tr -d '\\n'")
    assert result.stdout == "x" + "漢" * 200_000


def test_bytes_that_are_not_utf_8_become_replacement_characters(sandbox):
    assert run(sandbox, "printf 'a\\377b'").stdout == "a\ufffdb"


def test_ten_megabytes_of_output_arrive_unchanged(sandbox):
    program = "import sys\nfor n in range(625_000): sys.stdout.write('%015d\\n' % n)"
    expected = "".join(f"{n:015d}\n" for n in range(625_000))
    assert run(sandbox, 'python3 -c "$PROGRAM"', envs={"PROGRAM": program}).stdout == expected


def test_much_output_on_both_pipes_at_once_arrives_on_each(sandbox):
    result = run(sandbox, "yes out | head -c 1000000 & yes err | head -c 1000000 >&2; wait")
    assert result.stdout == "out\n" * 250_000
    assert result.stderr == "err\n" * 250_000


def test_output_that_a_slow_reader_takes_is_whole(sandbox):
    digest = hashlib.sha256()
    waiting = threading.Event()

    def slowly(text):
        waiting.wait(0.001)
        digest.update(text.encode())

    run(sandbox, "seq 1000000", on_stdout=slowly)
    expected = "".join(f"{n}\n" for n in range(1, 1_000_001))
    assert digest.hexdigest() == hashlib.sha256(expected.encode()).hexdigest()


def test_callbacks_get_each_pipe_s_output(sandbox):
    out, err = [], []
    result = run(sandbox, "echo 1; echo 2 >&2; echo 3", on_stdout=out.append, on_stderr=err.append)
    assert "".join(out) == result.stdout == "1\n3\n"
    assert "".join(err) == result.stderr == "2\n"


def test_callbacks_are_called_while_the_command_runs(sandbox):
    seen = []

    def answer(text):
        seen.append(text)
        if len(seen) == 1:
            sandbox.commands.send_stdin(int(text), "the answer\n")

    run(sandbox, 'echo $$; read -r line; echo "got $line"', stdin=True, on_stdout=answer)
    assert "".join(seen[1:]) == "got the answer\n"


def test_a_background_job_that_holds_no_pipe_does_not_hold_the_command(sandbox):
    pid = run(sandbox, "sleep 300 >/dev/null 2>&1 & echo $!").stdout.strip()
    assert run(sandbox, f"kill -0 {pid} && kill -9 {pid} && echo lived").stdout == "lived\n"


def test_a_background_job_that_holds_the_pipe_is_waited_for(sandbox):
    assert run(sandbox, "(sleep 0.3; echo late) & echo early").stdout == "early\nlate\n"


def test_a_long_command_line_runs(sandbox):
    assert run(sandbox, f"printf '%s' {'x' * 100_000}").stdout == "x" * 100_000


def test_a_command_line_over_the_limit_is_an_invalid_argument(sandbox):
    with pytest.raises(e2b.InvalidArgumentException):
        run(sandbox, f": {'x' * 200_000}")


def test_a_request_over_the_limit_is_refused_and_the_next_one_is_served(sandbox):
    with pytest.raises(e2b.RateLimitException):
        run(sandbox, f": {'x' * (17 << 20)}")
    assert run(sandbox, "echo on").stdout == "on\n"


@pytest.mark.parametrize(
    ("command", "options"),
    [("echo a\0b", {}), ("true", {"envs": {"A=B": "1"}}), ("true", {"envs": {"A": "1\0"}}), ("true", {"cwd": "/\0"})],
)
def test_what_no_program_can_be_given_is_an_invalid_argument(sandbox, command, options):
    with pytest.raises(e2b.InvalidArgumentException):
        run(sandbox, command, **options)


def test_a_hundred_short_commands_lose_nothing(sandbox):
    for number in range(100):
        assert run(sandbox, f"echo {number}").stdout == f"{number}\n"


def test_fifty_commands_at_once_have_each_their_own_output(sandbox):
    results = {}

    def one(number):
        results[number] = run(sandbox, f"echo {number}; sleep 0.1; echo {number} >&2")

    threads = [threading.Thread(target=one, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {n: (r.stdout, r.stderr) for n, r in results.items()} == {n: (f"{n}\n", f"{n}\n") for n in range(50)}
