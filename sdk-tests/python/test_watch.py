"""Watching directories, events fetched: each event that happened before the question is in the answer."""

import e2b
import pytest

CHMOD, CREATE, REMOVE, RENAME, WRITE = (
    e2b.FilesystemEventType[name] for name in ["CHMOD", "CREATE", "REMOVE", "RENAME", "WRITE"]
)


@pytest.fixture
def watch(sandbox, folder):
    """Starts watching the test's folder; the watchers end with the test."""
    watchers = []

    def watch(path=folder, **options):
        watchers.append(sandbox.files.watch_dir(path, **options))
        return watchers[-1]

    yield watch
    for watcher in watchers:
        watcher.stop()


def events(watcher):
    return [(event.type, event.name) for event in watcher.get_new_events()]


def test_a_new_small_file_is_created_owned_and_written(sandbox, folder, watch):
    watcher = watch()
    sandbox.files.write(f"{folder}/file", "text")
    assert events(watcher) == [(CREATE, "file"), (CHMOD, "file"), (WRITE, "file")]


def test_overwriting_creates_nothing(sandbox, folder, watch):
    sandbox.files.write(f"{folder}/file", "text")
    watcher = watch()
    sandbox.files.write(f"{folder}/file", "other")
    seen = events(watcher)
    assert set(seen) == {(CHMOD, "file"), (WRITE, "file")}
    assert seen[-1] == (WRITE, "file")


def test_what_a_command_does_is_seen_at_once(sandbox, folder, watch):
    watcher = watch()
    sandbox.commands.run(f"echo x >{folder}/file")
    assert events(watcher) == [(CREATE, "file"), (WRITE, "file")]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("mkdir new", [(CREATE, "new")]),
        ("rm file", [(REMOVE, "file")]),
        ("rmdir empty", [(REMOVE, "empty")]),
        ("echo more >>file", [(WRITE, "file")]),
        ("chmod 600 file", [(CHMOD, "file")]),
        ("touch file", [(CHMOD, "file")]),
        ("mv file moved", [(RENAME, "file"), (CREATE, "moved")]),
        ("mv file ..", [(RENAME, "file")]),
        ("mv ../outside .", [(CREATE, "outside")]),
        ("ln -s file link", [(CREATE, "link")]),
        ("cat file >/dev/null; ls >/dev/null", []),
    ],
)
def test_each_change_has_its_events(sandbox, folder, watch, command, expected):
    watched = f"{folder}/watched"
    sandbox.commands.run(f"mkdir -p {watched}/empty && cd {watched} && echo x | tee file ../outside")
    watcher = watch(watched)
    sandbox.commands.run(command, cwd=watched)
    assert events(watcher) == expected


def test_the_sdk_s_own_operations_have_their_events(sandbox, folder, watch):
    sandbox.files.write(f"{folder}/file", "x")
    watcher = watch()
    sandbox.files.rename(f"{folder}/file", f"{folder}/moved")
    sandbox.files.remove(f"{folder}/moved")
    assert events(watcher) == [(RENAME, "file"), (CREATE, "moved"), (REMOVE, "moved")]


def test_a_directory_made_through_the_sdk_is_created_and_owned(sandbox, folder, watch):
    watcher = watch()
    sandbox.files.make_dir(f"{folder}/new")
    assert events(watcher)[0] == (CREATE, "new")


def test_events_are_given_once(sandbox, folder, watch):
    watcher = watch()
    assert events(watcher) == []
    sandbox.commands.run(f"mkdir {folder}/one")
    assert events(watcher) == [(CREATE, "one")]
    assert events(watcher) == []
    sandbox.commands.run(f"mkdir {folder}/two")
    assert events(watcher) == [(CREATE, "two")]


def test_many_events_keep_their_order(sandbox, folder, watch):
    watcher = watch()
    sandbox.commands.run(f"cd {folder} && seq 300 | xargs mkdir")
    assert events(watcher) == [(CREATE, str(number)) for number in range(1, 301)]


def test_a_plain_watch_does_not_see_below(sandbox, folder, watch):
    sandbox.files.make_dir(f"{folder}/below")
    watcher = watch()
    sandbox.commands.run(f"mkdir {folder}/below/deeper; mkdir {folder}/here")
    assert events(watcher) == [(CREATE, "here")]


def test_a_recursive_watch_names_paths_below_the_root(sandbox, folder, watch):
    sandbox.files.make_dir(f"{folder}/a/b")
    watcher = watch(recursive=True)
    sandbox.commands.run(f"cd {folder}; echo x >a/b/file; mkdir a/c; rm a/b/file")
    assert events(watcher) == [
        (CREATE, "a/b/file"),
        (WRITE, "a/b/file"),
        (CREATE, "a/c"),
        (REMOVE, "a/b/file"),
    ]


def test_a_recursive_watch_sees_into_new_directories(sandbox, folder, watch):
    watcher = watch(recursive=True)
    sandbox.commands.run(f"mkdir -p {folder}/a/b/c && echo x >{folder}/a/b/c/file")
    seen = events(watcher)
    assert [event for event in seen if event[0] == CREATE] == [
        (CREATE, "a"),
        (CREATE, "a/b"),
        (CREATE, "a/b/c"),
        (CREATE, "a/b/c/file"),
    ]
    assert (WRITE, "a/b/c/file") in seen


def test_a_recursive_watch_sees_into_a_directory_that_is_moved_in(sandbox, folder, watch):
    sandbox.files.write(f"{folder}/outside/deep/file", "x")
    sandbox.files.make_dir(f"{folder}/watched")
    watcher = watch(f"{folder}/watched", recursive=True)
    sandbox.files.rename(f"{folder}/outside", f"{folder}/watched/inside")
    assert [name for kind, name in events(watcher) if kind == CREATE] == ["inside", "inside/deep", "inside/deep/file"]
    sandbox.commands.run(f"touch {folder}/watched/inside/deep/new")
    assert (CREATE, "inside/deep/new") in events(watcher)


def test_entries_are_told_when_they_are_asked_for(sandbox, folder, watch):
    watcher = watch(include_entry=True)
    sandbox.files.write(f"{folder}/file", "text")
    created, owned, written = watcher.get_new_events()
    assert (written.entry.path, written.entry.size) == (f"{folder}/file", 4)
    assert (created.entry.type, owned.entry.owner) == (e2b.FileType.FILE, "user")


def test_an_entry_that_is_gone_is_not_told(sandbox, folder, watch):
    sandbox.files.write(f"{folder}/file", "text")
    watcher = watch(include_entry=True)
    sandbox.files.rename(f"{folder}/file", f"{folder}/moved")
    sandbox.files.remove(f"{folder}/moved")
    renamed, _, removed = watcher.get_new_events()
    assert (renamed.type, renamed.entry, removed.type, removed.entry) == (RENAME, None, REMOVE, None)


def test_entries_are_not_told_when_nobody_asked(sandbox, folder, watch):
    watcher = watch()
    sandbox.files.write(f"{folder}/file", "text")
    assert [event.entry for event in watcher.get_new_events()] == [None] * 3


def test_watchers_do_not_share_events(sandbox, folder, watch):
    first, second = watch(), watch()
    sandbox.commands.run(f"mkdir {folder}/one")
    assert events(first) == [(CREATE, "one")]
    third = watch()
    assert events(second) == [(CREATE, "one")]
    assert events(third) == []


def test_the_end_of_the_watched_directory_is_told(sandbox, folder, watch):
    sandbox.files.make_dir(f"{folder}/watched")
    watcher = watch(f"{folder}/watched")
    sandbox.files.remove(f"{folder}/watched")
    assert events(watcher)[-1] == (REMOVE, ".")


def test_a_directory_is_watched_by_its_path_below_the_home(sandbox, folder, watch):
    watcher = watch(f"~/{folder.rsplit('/', 1)[1]}")
    sandbox.commands.run(f"mkdir {folder}/one")
    assert events(watcher) == [(CREATE, "one")]


def test_a_stopped_watcher_gives_nothing(sandbox, folder):
    watcher = sandbox.files.watch_dir(folder)
    watcher.stop()
    with pytest.raises(e2b.SandboxException):
        watcher.get_new_events()
    with pytest.raises(e2b.NotFoundException):
        watcher.stop()


def test_forty_watchers_at_once_see_everything(sandbox, folder, watch):
    watchers = [watch(recursive=number % 2 == 0) for number in range(40)]
    sandbox.commands.run(f"mkdir {folder}/one")
    assert [events(watcher) for watcher in watchers] == [[(CREATE, "one")]] * 40


def test_watching_what_is_missing_is_not_found(sandbox, folder):
    with pytest.raises(e2b.FileNotFoundException, match="missing"):
        sandbox.files.watch_dir(f"{folder}/missing")


def test_watching_a_file_is_an_invalid_argument(sandbox):
    with pytest.raises(e2b.InvalidArgumentException):
        sandbox.files.watch_dir("/etc/passwd")
