"""Terminals."""

import e2b
import pytest

from waiting import PATIENCE, eventually

UNKNOWN = 4_000_000


class Terminal:
    """A terminal and what it has shown so far."""

    def __init__(self, sandbox, handle):
        self.sandbox = sandbox
        self.handle = handle
        self.pid = handle.pid
        self.shown = b""

    def type(self, text):
        self.sandbox.pty.send_stdin(self.pid, text.encode())

    def until(self, text):
        """Reads on until this is shown; what was shown before it."""
        wanted = text.encode()
        while wanted not in self.shown:
            for _, _, output in self.handle:
                if output:
                    self.shown += output
                    break
            else:
                raise AssertionError(f"the terminal ended without {text!r}: {self.shown!r}")
        before, _, self.shown = self.shown.partition(wanted)
        return before.decode()

    def end(self):
        """The exit code, or -1 of a signal."""
        try:
            return self.handle.wait().exit_code
        except e2b.CommandExitException as error:
            return error.exit_code


@pytest.fixture
def terminal(sandbox):
    """Opens terminals; those that still live at the end of the test are killed."""
    opened = []

    def terminal(rows=24, cols=80, **options):
        options.setdefault("timeout", PATIENCE)
        handle = sandbox.pty.create(e2b.PtySize(rows=rows, cols=cols), **options)
        opened.append(handle)
        return Terminal(sandbox, handle)

    yield terminal
    for handle in opened:
        handle.kill()


def test_a_terminal_runs_a_shell(terminal):
    shell = terminal()
    shell.type("echo $((6*7))done\n")
    shell.until("42done")
    shell.type("exit 5\n")
    assert shell.end() == 5


def test_all_output_is_shown_to_a_callback(sandbox):
    shown = []
    handle = sandbox.pty.create(e2b.PtySize(rows=24, cols=80), timeout=PATIENCE)
    sandbox.pty.send_stdin(handle.pid, b"echo $((40+2)); exit\n")
    assert handle.wait(on_pty=shown.append).exit_code == 0
    assert b"42\r\n" in b"".join(shown)


@pytest.mark.parametrize(("rows", "cols", "shown"), [(24, 80, "24 80"), (50, 132, "50 132"), (0, 0, "24 80")])
def test_a_terminal_has_the_asked_size(terminal, rows, cols, shown):
    shell = terminal(rows=rows, cols=cols)
    shell.type("echo size $(stty size) end\n")
    shell.until(f"size {shown} end")


def test_a_terminal_takes_a_new_size_and_tells_its_programs(terminal, sandbox):
    shell = terminal()
    shell.type("trap 'echo resized $(stty size) end' WINCH; echo rea''dy\n")
    shell.until("ready")
    sandbox.pty.resize(shell.pid, e2b.PtySize(rows=33, cols=101))
    shell.type("\n")
    shell.until("resized 33 101 end")


def test_a_terminal_is_one(terminal):
    shell = terminal()
    shell.type("tty; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo ter''minal $TERM $LANG\n")
    shell.until("/dev/pts/")
    shell.until("terminal xterm-256color C.UTF-8")


def test_a_terminal_has_user_folder_and_environment(terminal, folder):
    shell = terminal(user="root", cwd=folder, envs={"OWN": "value"})
    shell.type("echo $(whoami) $PWD $OWN $HOME end\n")
    shell.until(f"root {folder} value /root end")


def test_the_terminal_s_device_belongs_to_the_user(terminal):
    shell = terminal()
    shell.type("stat -c 'owner %U end' $(tty)\n")
    shell.until("owner user end")


def test_a_terminal_is_listed(terminal, sandbox):
    shell = terminal()
    assert [(one.pid, one.cmd) for one in sandbox.commands.list()] == [(shell.pid, "/bin/bash")]


def test_a_terminal_is_killed(terminal, sandbox):
    shell = terminal()
    assert sandbox.pty.kill(shell.pid)
    with pytest.raises(e2b.CommandExitException) as raised:
        shell.handle.wait()
    assert (raised.value.exit_code, raised.value.error) == (-1, "signal: killed")
    eventually(lambda: not sandbox.commands.list(), "the terminal is over")
    assert not sandbox.pty.kill(shell.pid)


def test_an_interrupt_reaches_the_program_in_front(terminal):
    shell = terminal()
    shell.type("sh -c 'echo be''gun; exec sleep 300'\n")
    shell.until("begun\r\n")
    shell.type("\x03")
    shell.type("echo sta''tus $?\n")
    shell.until("status 130")


def test_the_end_of_input_ends_the_shell(terminal):
    shell = terminal()
    # Only a shell that shows its prompt takes a control character: before, the terminal itself does.
    shell.type("PS1='rea''dy> '\n")
    shell.until("ready> ")
    shell.type("\x04")
    assert shell.end() == 0


def test_text_of_any_script_goes_both_ways(terminal):
    shell = terminal()
    shell.type("read -r line; echo \"got $line\"\n")
    shell.type("žluťoučký 🐎\n")
    shell.until("got žluťoučký 🐎")


def test_much_output_is_shown_whole(terminal):
    shell = terminal()
    shell.type("stty -echo; echo rea''dy\n")
    shell.until("ready")
    shell.type("seq 200000; echo al''l\n")
    shown = b""
    for _, _, output in shell.handle:
        shown += output
        if b"all\r\n" in shown:
            break
    numbers = "".join(f"{n}\r\n" for n in range(1, 200_001)).encode()
    assert numbers + b"all\r\n" in shown


def test_whoever_connects_sees_what_follows(terminal, sandbox):
    first = terminal()
    first.type("stty -echo; echo rea''dy\n")
    first.until("ready\r\n")
    second = Terminal(sandbox, sandbox.pty.connect(first.pid, timeout=PATIENCE))
    second.type("echo both\n")
    first.until("both\r\n")
    second.until("both\r\n")
    second.type("exit 3\n")
    assert (first.end(), second.end()) == (3, 3)


def test_leaving_a_terminal_leaves_it_running(terminal, sandbox):
    shell = terminal()
    shell.type("own=kept; echo rea''dy\n")
    shell.until("ready")
    shell.handle.disconnect()
    again = Terminal(sandbox, sandbox.pty.connect(shell.pid, timeout=PATIENCE))
    again.type('echo "value $own"\n')
    again.until("value kept")


def test_a_time_limit_ends_a_terminal(terminal, sandbox):
    shell = terminal(timeout=0.5)
    with pytest.raises(e2b.TimeoutException):
        shell.handle.wait()
    eventually(lambda: not sandbox.commands.list(), "the terminal is over")


def test_the_end_of_a_terminal_hangs_up_the_program_in_front(terminal, sandbox):
    shell = terminal()
    shell.type("sh -c 'echo pi''d $$ en''d; exec sleep 301'\n")
    shell.until("pid ")
    program = int(shell.until(" end"))
    assert sandbox.pty.kill(shell.pid)
    gone = f"ps -o stat= -p {program} | grep -vc Z || true"
    eventually(lambda: sandbox.commands.run(gone).stdout == "0\n", "the program is gone")


def test_what_is_unknown_is_not_found(sandbox):
    assert not sandbox.pty.kill(UNKNOWN)
    with pytest.raises(e2b.NotFoundException):
        sandbox.pty.send_stdin(UNKNOWN, b"x")
    with pytest.raises(e2b.NotFoundException):
        sandbox.pty.resize(UNKNOWN, e2b.PtySize(rows=1, cols=1))
    with pytest.raises(e2b.NotFoundException):
        sandbox.pty.connect(UNKNOWN)


def test_terminals_and_commands_are_not_mixed_up(terminal, sandbox):
    shell = terminal()
    with pytest.raises(e2b.SandboxException):
        sandbox.commands.send_stdin(shell.pid, "x")
    with pytest.raises(e2b.SandboxException):
        sandbox.commands.close_stdin(shell.pid)
    command = sandbox.commands.run("sleep 60", background=True, stdin=True)
    with pytest.raises(e2b.SandboxException):
        sandbox.pty.send_stdin(command.pid, b"x")
    with pytest.raises(e2b.SandboxException):
        sandbox.pty.resize(command.pid, e2b.PtySize(rows=1, cols=1))
    assert command.kill()


def test_an_impossible_size_is_an_invalid_argument(terminal, sandbox):
    with pytest.raises(e2b.InvalidArgumentException):
        sandbox.pty.create(e2b.PtySize(rows=24, cols=20_000))
    shell = terminal()
    with pytest.raises(e2b.InvalidArgumentException):
        sandbox.pty.resize(shell.pid, e2b.PtySize(rows=20_000, cols=80))


def test_an_unknown_user_or_folder_is_refused(sandbox):
    size = e2b.PtySize(rows=24, cols=80)
    with pytest.raises(e2b.AuthenticationException):
        sandbox.pty.create(size, user="nobody-here")
    with pytest.raises(e2b.InvalidArgumentException):
        sandbox.pty.create(size, cwd="/no/such/folder")
