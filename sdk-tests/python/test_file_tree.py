"""Entries of the file system: listing, looking, making, moving, removing."""

from datetime import datetime, timedelta, timezone

import e2b
import pytest

ABSENT_USER = "nobody-here"


@pytest.fixture
def tree(sandbox, folder):
    """A folder with a, a/b, a/b/file, a/file and file in it."""
    for path in ["a/b/file", "a/file", "file"]:
        sandbox.files.write(f"{folder}/{path}", path)
    return folder


def paths(entries, folder):
    return [entry.path.removeprefix(f"{folder}/") for entry in entries]


def test_a_listing_is_one_level_in_byte_order(sandbox, tree):
    sandbox.files.write_files([{"path": f"{tree}/{name}", "data": ""} for name in ["Z", ".hidden", "ž"]])
    assert paths(sandbox.files.list(tree), tree) == [".hidden", "Z", "a", "file", "ž"]


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (1, ["a", "file"]),
        (2, ["a", "a/b", "a/file", "file"]),
        (3, ["a", "a/b", "a/b/file", "a/file", "file"]),
        (100, ["a", "a/b", "a/b/file", "a/file", "file"]),
    ],
)
def test_a_listing_goes_as_deep_as_it_is_asked_to(sandbox, tree, depth, expected):
    assert paths(sandbox.files.list(tree, depth=depth), tree) == expected


def test_a_listing_tells_what_each_entry_is(sandbox, tree):
    directory, file = sandbox.files.list(tree)
    assert (directory.name, directory.type) == ("a", e2b.FileType.DIR)
    assert (file.name, file.type, file.size) == ("file", e2b.FileType.FILE, 4)
    assert (file.owner, file.group, file.mode) == ("user", "user", 0o644)


def test_an_empty_directory_lists_nothing(sandbox, folder):
    assert sandbox.files.list(folder) == []


def test_three_hundred_entries_are_listed(sandbox, folder):
    sandbox.commands.run(f"cd {folder} && seq -w 300 | xargs touch")
    assert [one.name for one in sandbox.files.list(folder)] == [f"{n:03d}" for n in range(1, 301)]


def test_a_listing_through_a_link_tells_the_asked_path(sandbox, tree):
    sandbox.commands.run(f"ln -s a {tree}/link")
    assert paths(sandbox.files.list(f"{tree}/link"), tree) == ["link/b", "link/file"]


def test_a_listing_does_not_follow_links_below(sandbox, tree):
    sandbox.commands.run(f"ln -s . {tree}/loop")
    assert paths(sandbox.files.list(tree, depth=9), tree) == ["a", "a/b", "a/b/file", "a/file", "file", "loop"]


def test_what_is_neither_file_nor_directory_is_not_listed(sandbox, tree):
    sandbox.commands.run(f"mkfifo {tree}/pipe")
    assert paths(sandbox.files.list(tree), tree) == ["a", "file"]
    assert sandbox.files.get_info(f"{tree}/pipe").type is None


def test_listing_what_is_missing_is_not_found(sandbox, folder):
    with pytest.raises(e2b.FileNotFoundException, match="missing"):
        sandbox.files.list(f"{folder}/missing")


def test_listing_a_file_is_an_invalid_argument(sandbox, tree):
    with pytest.raises(e2b.InvalidArgumentException):
        sandbox.files.list(f"{tree}/file")


def test_listing_a_link_to_itself_is_an_error(sandbox, folder):
    sandbox.commands.run(f"ln -s loop {folder}/loop")
    with pytest.raises(e2b.SandboxException):
        sandbox.files.list(f"{folder}/loop")


def test_the_empty_path_is_the_home(sandbox, folder):
    assert folder in [one.path for one in sandbox.files.list("")]


def test_existence_of_every_kind(sandbox, tree):
    sandbox.commands.run(f"ln -s nowhere {tree}/dangling")
    assert [sandbox.files.exists(f"{tree}/{name}") for name in ["a", "file", "dangling", "missing", "file/below"]] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_the_information_about_a_file_is_whole(sandbox, tree):
    info = sandbox.files.get_info(f"{tree}/file")
    assert (info.name, info.path, info.type, info.size) == ("file", f"{tree}/file", e2b.FileType.FILE, 4)
    assert (info.mode, info.permissions, info.owner, info.group) == (0o644, "-rw-r--r--", "user", "user")
    assert info.symlink_target is None
    assert abs(info.modified_time - datetime.now(timezone.utc)) < timedelta(minutes=1)


def test_the_information_about_a_directory_is_whole(sandbox, tree):
    info = sandbox.files.get_info(f"{tree}/a")
    assert (info.name, info.type, info.mode, info.permissions) == ("a", e2b.FileType.DIR, 0o755, "drwxr-xr-x")


def test_the_time_of_a_change_is_told_to_the_nanosecond_that_python_has(sandbox, tree):
    sandbox.commands.run(f"touch -d 2001-02-03T04:05:06.789012Z {tree}/file")
    expected = datetime(2001, 2, 3, 4, 5, 6, 789012, tzinfo=timezone.utc)
    assert sandbox.files.get_info(f"{tree}/file").modified_time == expected


def test_changed_owners_and_modes_are_told(sandbox, tree):
    sandbox.commands.run(f"chmod 640 {tree}/file; chown root:4321 {tree}/file", user="root")
    info = sandbox.files.get_info(f"{tree}/file")
    assert (info.owner, info.group, info.permissions) == ("root", "4321", "-rw-r-----")


def test_a_link_tells_its_target(sandbox, tree):
    sandbox.commands.run(f"cd {tree} && ln -s a/../file link && ln -s link second && ln -s a folder")
    for name, target, kind in [("second", "file", e2b.FileType.FILE), ("folder", "a", e2b.FileType.DIR)]:
        info = sandbox.files.get_info(f"{tree}/{name}")
        assert (info.path, info.symlink_target, info.type) == (f"{tree}/{name}", f"{tree}/{target}", kind)
        assert info.permissions[0] == "L"


def test_a_dangling_link_is_a_link(sandbox, folder):
    sandbox.commands.run(f"ln -s nowhere {folder}/link")
    info = sandbox.files.get_info(f"{folder}/link")
    assert (info.type, info.symlink_target) == (e2b.FileType.SYMLINK, f"{folder}/nowhere")


def test_information_about_what_is_missing_is_not_found(sandbox, folder):
    with pytest.raises(e2b.FileNotFoundException, match="missing"):
        sandbox.files.get_info(f"{folder}/missing")


def test_a_directory_is_made_with_its_parents(sandbox, folder):
    assert sandbox.files.make_dir(f"{folder}/a/b/c")
    info = sandbox.files.get_info(f"{folder}/a/b")
    assert (info.type, info.owner, info.permissions) == (e2b.FileType.DIR, "user", "drwxr-xr-x")


def test_a_directory_belongs_to_the_user_it_is_made_as(sandbox, folder):
    assert sandbox.files.make_dir(f"{folder}/a/b", user="root")
    assert [sandbox.files.get_info(f"{folder}/{path}").owner for path in ["", "a", "a/b"]] == ["user", "root", "root"]


def test_making_a_directory_that_is_there_is_false(sandbox, folder):
    assert not sandbox.files.make_dir(folder)
    assert not sandbox.files.make_dir("/")


def test_making_a_directory_in_the_way_of_a_file_is_an_invalid_argument(sandbox, tree):
    for path in ["file", "file/below"]:
        with pytest.raises(e2b.InvalidArgumentException):
            sandbox.files.make_dir(f"{tree}/{path}")


def test_a_file_is_renamed(sandbox, tree):
    info = sandbox.files.rename(f"{tree}/file", f"{tree}/other")
    assert (info.name, info.path, info.size) == ("other", f"{tree}/other", 4)
    assert sandbox.files.read(f"{tree}/other") == "file"
    assert not sandbox.files.exists(f"{tree}/file")


def test_a_directory_is_renamed_with_all_in_it(sandbox, tree):
    assert sandbox.files.rename(f"{tree}/a", f"{tree}/z").type == e2b.FileType.DIR
    assert sandbox.files.read(f"{tree}/z/b/file") == "a/b/file"


def test_renaming_makes_the_parents_of_the_destination(sandbox, tree):
    sandbox.files.rename(f"{tree}/file", f"{tree}/new/er/file")
    assert sandbox.files.read(f"{tree}/new/er/file") == "file"
    assert sandbox.files.get_info(f"{tree}/new/er").owner == "user"


def test_renaming_replaces_a_file(sandbox, tree):
    sandbox.files.rename(f"{tree}/file", f"{tree}/a/file")
    assert sandbox.files.read(f"{tree}/a/file") == "file"


def test_renaming_a_link_moves_the_link(sandbox, tree):
    sandbox.commands.run(f"ln -s {tree}/file {tree}/link")
    assert sandbox.files.rename(f"{tree}/link", f"{tree}/moved").symlink_target == f"{tree}/file"
    assert sandbox.files.read(f"{tree}/file") == "file"


def test_renaming_across_file_systems_keeps_everything(sandbox, folder):
    sandbox.files.write(f"{folder}/tree/file", "text", metadata={"kept": "yes"})
    sandbox.commands.run(f"chmod 600 {folder}/tree/file; touch -d 2001-02-03T04:05:06Z {folder}/tree/file")
    before = sandbox.files.get_info(f"{folder}/tree/file")
    elsewhere = f"/dev/shm/{folder.rsplit('/', 1)[1]}"
    sandbox.files.rename(f"{folder}/tree", elsewhere, user="root")
    after = sandbox.files.rename(elsewhere, f"{folder}/back", user="root")
    assert (after.type, after.owner) == (e2b.FileType.DIR, "user")
    file = sandbox.files.get_info(f"{folder}/back/file")
    assert (file.mode, file.owner, file.modified_time) == (before.mode, "user", before.modified_time)
    assert sandbox.files.read(f"{folder}/back/file") == "text"
    assert not sandbox.files.exists(elsewhere)


def test_renaming_what_is_missing_is_not_found(sandbox, folder):
    with pytest.raises(e2b.FileNotFoundException, match="missing"):
        sandbox.files.rename(f"{folder}/missing", f"{folder}/other")


def test_renaming_onto_a_directory_that_is_not_empty_is_an_error(sandbox, tree):
    sandbox.files.make_dir(f"{tree}/c")
    with pytest.raises(e2b.SandboxException):
        sandbox.files.rename(f"{tree}/c", f"{tree}/a")
    assert sandbox.files.exists(f"{tree}/c")


def test_renaming_a_directory_into_itself_is_an_error(sandbox, tree):
    with pytest.raises(e2b.SandboxException):
        sandbox.files.rename(f"{tree}/a", f"{tree}/a/inside")
    assert sandbox.files.read(f"{tree}/a/file") == "a/file"


def test_a_file_is_removed(sandbox, tree):
    sandbox.files.remove(f"{tree}/file")
    assert not sandbox.files.exists(f"{tree}/file")


def test_a_directory_is_removed_with_all_in_it(sandbox, tree):
    sandbox.files.remove(f"{tree}/a")
    assert paths(sandbox.files.list(tree), tree) == ["file"]


def test_removing_what_is_missing_is_fine(sandbox, folder):
    sandbox.files.remove(f"{folder}/missing")


def test_removing_a_link_leaves_its_target(sandbox, tree):
    sandbox.commands.run(f"cd {tree} && ln -s {tree}/a link && mkdir holder && ln -s {tree}/a holder/link")
    sandbox.files.remove(f"{tree}/link")
    sandbox.files.remove(f"{tree}/holder")
    assert paths(sandbox.files.list(tree, depth=2), tree) == ["a", "a/b", "a/file", "file"]


def test_the_root_is_not_removed(sandbox):
    for path in ["/", "/home/.."]:
        with pytest.raises(e2b.InvalidArgumentException):
            sandbox.files.remove(path)
    assert sandbox.files.exists("/home/user")


@pytest.mark.parametrize("path", ["nul\0byte", "/" + "x/" * 2500, "~root/file"], ids=["nul", "long", "tilde"])
def test_a_path_that_cannot_be_is_an_invalid_argument_everywhere(sandbox, path):
    files = sandbox.files
    for operation in [files.list, files.get_info, files.exists, files.make_dir, files.remove, files.watch_dir]:
        with pytest.raises(e2b.InvalidArgumentException):
            operation(path)
    with pytest.raises(e2b.InvalidArgumentException):
        files.rename(path, "/tmp/x")
    with pytest.raises(e2b.InvalidArgumentException):
        files.rename("/etc/passwd", path)


def test_an_unknown_user_is_an_authentication_error_everywhere(sandbox):
    files = sandbox.files
    for operation in [files.list, files.get_info, files.exists, files.make_dir, files.remove, files.watch_dir]:
        with pytest.raises(e2b.AuthenticationException, match=ABSENT_USER):
            operation("/tmp", user=ABSENT_USER)
    with pytest.raises(e2b.AuthenticationException, match=ABSENT_USER):
        files.rename("/tmp/a", "/tmp/b", user=ABSENT_USER)
