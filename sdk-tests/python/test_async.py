"""The same promises through the SDK's asynchronous half, and what only it can do."""

import asyncio
import io

import e2b
import pytest

from waiting import PATIENCE

CREATE, REMOVE, WRITE = (e2b.FilesystemEventType[name] for name in ["CREATE", "REMOVE", "WRITE"])


class Events:
    """Collects events of a watch, and lets a test wait for one."""

    def __init__(self):
        self.seen = []
        self.ends = []
        self.news = asyncio.Condition()

    async def __call__(self, event):
        async with self.news:
            self.seen.append((event.type, event.name))
            self.news.notify_all()

    async def ended(self, error):
        async with self.news:
            self.ends.append(error)
            self.news.notify_all()

    async def until(self, holds):
        async with asyncio.timeout(PATIENCE), self.news:
            await self.news.wait_for(lambda: holds(self))


async def failure(awaitable):
    with pytest.raises(e2b.CommandExitException) as raised:
        await awaitable
    return raised.value


async def test_a_result_holds_output_and_exit_code(async_sandbox):
    assert await async_sandbox.is_running()
    result = await async_sandbox.commands.run("echo out; echo err >&2", timeout=PATIENCE)
    assert (result.stdout, result.stderr, result.exit_code) == ("out\n", "err\n", 0)


async def test_an_exit_code_that_is_not_zero_raises(async_sandbox):
    error = await failure(async_sandbox.commands.run("echo out; exit 3", timeout=PATIENCE))
    assert (error.exit_code, error.stdout, error.error) == (3, "out\n", "exit status 3")


async def test_user_folder_and_environment_are_the_asked_ones(async_sandbox, folder):
    result = await async_sandbox.commands.run("whoami; pwd; echo $A", user="root", cwd=folder, envs={"A": "1"})
    assert result.stdout == f"root\n{folder}\n1\n"


async def test_callbacks_may_be_coroutines(async_sandbox):
    shown = []

    async def show(text):
        await asyncio.sleep(0)
        shown.append(text)

    await async_sandbox.commands.run("seq 1000", on_stdout=show, timeout=PATIENCE)
    assert "".join(shown) == "".join(f"{n}\n" for n in range(1, 1001))


async def test_a_background_command_is_fed_listed_and_waited_for(async_sandbox):
    handle = await async_sandbox.commands.run("cat", background=True, stdin=True, timeout=PATIENCE)
    assert [one.pid for one in await async_sandbox.commands.list()] == [handle.pid]
    await handle.send_stdin("one\n")
    await async_sandbox.commands.send_stdin(handle.pid, b"two\n")
    await handle.close_stdin()
    assert (await handle.wait()).stdout == "one\ntwo\n"


async def test_a_killed_command_says_so(async_sandbox):
    handle = await async_sandbox.commands.run("sleep 60", background=True, timeout=PATIENCE)
    assert await handle.kill()
    assert (await failure(handle.wait())).error == "signal: killed"
    assert not await async_sandbox.commands.kill(4_000_000)


async def test_a_time_limit_raises(async_sandbox):
    with pytest.raises(e2b.TimeoutException):
        await async_sandbox.commands.run("sleep 60", timeout=0.3)


async def test_leaving_a_command_leaves_it_running(async_sandbox):
    handle = await async_sandbox.commands.run("read -r line; echo $line; exit 9", background=True, stdin=True, timeout=PATIENCE)
    await handle.disconnect()
    again = await async_sandbox.commands.connect(handle.pid, timeout=PATIENCE)
    await again.send_stdin("back\n")
    error = await failure(again.wait())
    assert (error.stdout, error.exit_code) == ("back\n", 9)


async def test_connecting_after_the_end_gives_the_end(async_sandbox):
    handle = await async_sandbox.commands.run("exit 7", background=True, timeout=PATIENCE)
    await failure(handle.wait())
    again = await async_sandbox.commands.connect(handle.pid, timeout=PATIENCE)
    assert (await failure(again.wait())).exit_code == 7


async def test_a_cancelled_call_leaves_the_command_running(async_sandbox):
    task = asyncio.create_task(async_sandbox.commands.run("read -r line; exit 6", stdin=True, timeout=PATIENCE))
    async with asyncio.timeout(PATIENCE):
        while not (running := await async_sandbox.commands.list()):
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    again = await async_sandbox.commands.connect(running[0].pid, timeout=PATIENCE)
    await again.send_stdin("end\n")
    assert (await failure(again.wait())).exit_code == 6


async def test_a_hundred_commands_at_once_have_each_their_own_output(async_sandbox):
    results = await asyncio.gather(*(async_sandbox.commands.run(f"echo {n}", timeout=2 * PATIENCE) for n in range(100)))
    assert [result.stdout for result in results] == [f"{n}\n" for n in range(100)]


async def test_wrong_users_folders_and_pids_raise_what_they_should(async_sandbox):
    with pytest.raises(e2b.AuthenticationException):
        await async_sandbox.commands.run("true", user="nobody-here")
    with pytest.raises(e2b.InvalidArgumentException):
        await async_sandbox.commands.run("true", cwd="/no/such/folder")
    with pytest.raises(e2b.NotFoundException):
        await async_sandbox.commands.connect(4_000_000)


async def test_files_are_written_and_read_in_every_form(async_sandbox, folder):
    files = async_sandbox.files
    data = bytes(range(256)) * 4096
    assert (await files.write(f"{folder}/text", "žluťoučký")).path == f"{folder}/text"
    assert await files.read(f"{folder}/text") == "žluťoučký"
    await files.write(f"{folder}/bytes", data)
    assert await files.read(f"{folder}/bytes", format="bytes") == data
    await files.write(f"{folder}/object", io.BytesIO(data))
    async with await files.read(f"{folder}/object", format="stream") as stream:
        assert b"".join([chunk async for chunk in stream]) == data


async def test_files_travel_compressed(async_sandbox, folder):
    data = b"compress me " * 100_000
    await async_sandbox.files.write(f"{folder}/file", data, gzip=True, metadata={"kind": "packed"})
    assert (await async_sandbox.files.get_info(f"{folder}/file")).size == len(data)
    assert await async_sandbox.files.read(f"{folder}/file", format="bytes", gzip=True) == data
    assert (await async_sandbox.files.get_info(f"{folder}/file")).metadata == {"kind": "packed"}


async def test_many_files_are_written_and_read_at_once(async_sandbox, folder):
    files = async_sandbox.files
    await asyncio.gather(*(files.write(f"{folder}/{n}", str(n) * 10_000) for n in range(50)))
    texts = await asyncio.gather(*(files.read(f"{folder}/{n}") for n in range(50)))
    assert texts == [str(n) * 10_000 for n in range(50)]


async def test_entries_are_made_listed_moved_and_removed(async_sandbox, folder):
    files = async_sandbox.files
    assert await files.make_dir(f"{folder}/a/b")
    assert not await files.make_dir(f"{folder}/a/b")
    await files.write_files([{"path": f"{folder}/a/{name}", "data": name} for name in ["one", "two"]])
    assert [one.name for one in await files.list(folder, depth=2)] == ["a", "b", "one", "two"]
    assert (await files.rename(f"{folder}/a/one", f"{folder}/three")).name == "three"
    await files.remove(f"{folder}/a")
    assert not await files.exists(f"{folder}/a")
    assert (await files.get_info(f"{folder}/three")).owner == "user"


async def test_missing_and_wrong_files_raise_what_they_should(async_sandbox, folder):
    files = async_sandbox.files
    for operation in [files.read, files.list, files.get_info]:
        with pytest.raises(e2b.FileNotFoundException):
            await operation(f"{folder}/missing")
    for operation in [files.read, files.make_dir]:
        with pytest.raises(e2b.InvalidArgumentException):
            await operation("nul\0byte")


async def test_events_come_as_they_happen(async_sandbox, folder):
    events = Events()
    watch = await async_sandbox.files.watch_dir(folder, events, events.ended)
    await async_sandbox.commands.run(f"echo x >{folder}/file")
    await events.until(lambda it: len(it.seen) == 2)
    assert events.seen == [(CREATE, "file"), (WRITE, "file")]
    await async_sandbox.files.remove(f"{folder}/file")
    await events.until(lambda it: (REMOVE, "file") in it.seen)
    await watch.stop()
    assert events.ends == [None]


async def test_a_recursive_watch_streams_what_happens_below(async_sandbox, folder):
    events = Events()
    watch = await async_sandbox.files.watch_dir(folder, events, recursive=True)
    await async_sandbox.commands.run(f"mkdir -p {folder}/a/b && echo x >{folder}/a/b/file")
    await events.until(lambda it: (WRITE, "a/b/file") in it.seen)
    assert [name for kind, name in events.seen if kind == CREATE] == ["a", "a/b", "a/b/file"]
    await watch.stop()


async def test_a_watch_tells_entries_when_it_is_asked_to(async_sandbox, folder):
    entries = asyncio.Queue()
    watch = await async_sandbox.files.watch_dir(folder, lambda event: entries.put_nowait(event.entry), include_entry=True)
    await async_sandbox.commands.run(f"mkdir {folder}/new")
    entry = await asyncio.wait_for(entries.get(), 10)
    assert (entry.path, entry.type) == (f"{folder}/new", e2b.FileType.DIR)
    await watch.stop()


async def test_three_hundred_events_are_streamed_in_order(async_sandbox, folder):
    events = Events()
    watch = await async_sandbox.files.watch_dir(folder, events)
    await async_sandbox.commands.run(f"cd {folder} && seq 300 | xargs mkdir")
    await events.until(lambda it: len(it.seen) == 300)
    assert events.seen == [(CREATE, str(n)) for n in range(1, 301)]
    await watch.stop()


async def test_the_time_limit_of_a_watch_ends_it_with_an_error(async_sandbox, folder):
    events = Events()
    await async_sandbox.files.watch_dir(folder, events, events.ended, timeout=0.3)
    await events.until(lambda it: it.ends)
    assert isinstance(events.ends[0], e2b.TimeoutException)


async def test_watching_what_is_missing_or_a_file_raises(async_sandbox, folder):
    with pytest.raises(e2b.FileNotFoundException):
        await async_sandbox.files.watch_dir(f"{folder}/missing", print)
    with pytest.raises(e2b.InvalidArgumentException):
        await async_sandbox.files.watch_dir("/etc/passwd", print)


async def test_a_terminal_is_used_resized_and_left(async_sandbox):
    shown = []
    size = e2b.PtySize(rows=24, cols=80)
    handle = await async_sandbox.pty.create(size, on_data=shown.append, timeout=PATIENCE)
    await async_sandbox.pty.resize(handle.pid, e2b.PtySize(rows=40, cols=120))
    await async_sandbox.pty.send_stdin(handle.pid, b"echo size $(stty size) end; exit 4\n")
    assert (await failure(handle.wait())).exit_code == 4
    assert b"size 40 120 end" in b"".join(shown)


async def test_a_terminal_is_killed_and_another_handle_sees_it(async_sandbox):
    handle = await async_sandbox.pty.create(e2b.PtySize(rows=24, cols=80), on_data=lambda _: None, timeout=PATIENCE)
    other = await async_sandbox.pty.connect(handle.pid, on_data=lambda _: None, timeout=PATIENCE)
    assert await async_sandbox.pty.kill(handle.pid)
    assert (await failure(handle.wait())).error == "signal: killed"
    assert (await failure(other.wait())).error == "signal: killed"
