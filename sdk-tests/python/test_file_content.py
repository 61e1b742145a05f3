"""Reading and writing what is in files."""

import hashlib
import io
import threading

import e2b
import pytest

EVERY_BYTE = bytes(range(256))


@pytest.mark.parametrize("text", ["hello", "", "žluťoučký 🐎\r\n\tend", "x" * 100_000])
def test_text_comes_back_as_it_was_written(sandbox, folder, text):
    sandbox.files.write(f"{folder}/file", text)
    assert sandbox.files.read(f"{folder}/file") == text


def test_writing_tells_what_was_written(sandbox, folder):
    info = sandbox.files.write(f"{folder}/file", "text")
    assert (info.name, info.path, info.type) == ("file", f"{folder}/file", e2b.FileType.FILE)
    assert info.metadata is None


def test_bytes_come_back_as_they_were_written(sandbox, folder):
    sandbox.files.write(f"{folder}/file", EVERY_BYTE)
    assert sandbox.files.read(f"{folder}/file", format="bytes") == bytearray(EVERY_BYTE)


def test_a_file_is_read_as_a_stream(sandbox, folder):
    data = EVERY_BYTE * 8192
    sandbox.files.write(f"{folder}/file", data)
    with sandbox.files.read(f"{folder}/file", format="stream") as stream:
        chunks = list(stream)
    assert len(chunks) > 1
    assert b"".join(chunks) == data


def test_an_empty_file_is_read_as_a_stream(sandbox, folder):
    sandbox.files.write(f"{folder}/file", b"")
    assert b"".join(sandbox.files.read(f"{folder}/file", format="stream")) == b""


def test_a_stream_that_is_left_half_read_disturbs_nobody(sandbox, folder):
    sandbox.files.write(f"{folder}/file", b"x" * (8 << 20))
    for _ in range(10):
        with sandbox.files.read(f"{folder}/file", format="stream") as stream:
            assert next(stream)
    assert sandbox.files.get_info(f"{folder}/file").size == 8 << 20


def test_a_file_object_is_written(sandbox, folder):
    sandbox.files.write(f"{folder}/file", io.BytesIO(EVERY_BYTE))
    assert sandbox.files.read(f"{folder}/file", format="bytes") == EVERY_BYTE


def test_a_text_file_object_is_written(sandbox, folder):
    sandbox.files.write(f"{folder}/file", io.StringIO("žluťoučký\n"))
    assert sandbox.files.read(f"{folder}/file") == "žluťoučký\n"


@pytest.mark.parametrize("octets", [True, False])
def test_both_kinds_of_upload_write_the_same(sandbox, folder, octets):
    info = sandbox.files.write(f"{folder}/file", EVERY_BYTE, use_octet_stream=octets)
    assert info.path == f"{folder}/file"
    assert sandbox.files.read(f"{folder}/file", format="bytes") == EVERY_BYTE


def test_a_big_file_goes_up_and_down_unchanged(sandbox, folder):
    data = hashlib.sha256(b"seed").digest() * (1 << 20)  # 32 MiB
    sandbox.files.write(f"{folder}/file", io.BytesIO(data))
    digest = hashlib.sha256()
    with sandbox.files.read(f"{folder}/file", format="stream") as stream:
        for chunk in stream:
            digest.update(chunk)
    assert digest.digest() == hashlib.sha256(data).digest()


def test_a_big_file_goes_up_as_a_form(sandbox, folder):
    data = EVERY_BYTE * (1 << 15)  # 8 MiB, with every byte of a boundary in it
    sandbox.files.write(f"{folder}/file", data)
    assert sandbox.commands.run(f"sha256sum <{folder}/file").stdout.split()[0] == hashlib.sha256(data).hexdigest()


def test_overwriting_leaves_nothing_of_what_was_longer(sandbox, folder):
    sandbox.files.write(f"{folder}/file", "a longer text")
    sandbox.files.write(f"{folder}/file", "short")
    assert sandbox.files.read(f"{folder}/file") == "short"


def test_a_new_file_and_its_new_parents_belong_to_the_user(sandbox, folder):
    sandbox.files.write(f"{folder}/a/b/file", "x")
    for path, permissions in [("a", "drwxr-xr-x"), ("a/b", "drwxr-xr-x"), ("a/b/file", "-rw-r--r--")]:
        info = sandbox.files.get_info(f"{folder}/{path}")
        assert (info.owner, info.group, info.permissions) == ("user", "user", permissions)


def test_a_file_belongs_to_the_user_it_is_written_as(sandbox, folder):
    sandbox.files.write(f"{folder}/file", "x", user="root")
    assert sandbox.files.get_info(f"{folder}/file").owner == "root"
    sandbox.files.write(f"{folder}/file", "y", user="user")
    assert sandbox.files.get_info(f"{folder}/file").owner == "user"


def test_overwriting_keeps_the_mode(sandbox, folder):
    sandbox.files.write(f"{folder}/script", "#!/bin/sh\necho 1\n")
    sandbox.commands.run(f"chmod 755 {folder}/script")
    sandbox.files.write(f"{folder}/script", "#!/bin/sh\necho 2\n")
    assert sandbox.commands.run(f"{folder}/script").stdout == "2\n"


def test_a_relative_path_is_under_the_user_s_home(sandbox, folder):
    name = folder.rsplit("/", 1)[1]
    assert sandbox.files.write(f"{name}/file", "mine").path == f"{folder}/file"
    assert sandbox.files.read(f"~/{name}/../{name}/file") == "mine"
    assert sandbox.files.write(f"file-of-{name}", "root's", user="root").path == f"/root/file-of-{name}"
    sandbox.files.remove(f"/root/file-of-{name}")


def test_the_home_of_somebody_else_cannot_be_named_by_a_tilde(sandbox):
    with pytest.raises(e2b.InvalidArgumentException):
        sandbox.files.read("~root/file")


@pytest.mark.parametrize(
    "name", ["two words", "žluťoučký 🐎", "per%20cent", "plus+and&", "hash#question?", 'a"quote', "back\\slash", "a\nb"]
)
def test_names_of_any_kind_are_kept(sandbox, folder, name):
    assert sandbox.files.write(f"{folder}/{name}", name).name == name
    assert sandbox.files.write(f"{folder}/{name}", name, use_octet_stream=True).path == f"{folder}/{name}"
    assert sandbox.files.read(f"{folder}/{name}") == name
    assert [one.name for one in sandbox.files.list(folder)] == [name]


def test_links_are_followed_by_reading_and_writing(sandbox, folder):
    sandbox.files.write(f"{folder}/target", "old")
    sandbox.commands.run(f"ln -s target {folder}/link")
    assert sandbox.files.read(f"{folder}/link") == "old"
    sandbox.files.write(f"{folder}/link", "new")
    assert sandbox.files.read(f"{folder}/target") == "new"
    assert sandbox.files.get_info(f"{folder}/link").symlink_target == f"{folder}/target"


def test_several_files_are_written_at_once(sandbox, folder):
    names = ["one", "deep/er/two", "tři 🐎", "per%20cent+"]
    infos = sandbox.files.write_files([{"path": f"{folder}/{name}", "data": name} for name in names])
    assert [info.path for info in infos] == [f"{folder}/{name}" for name in names]
    assert [sandbox.files.read(f"{folder}/{name}") for name in names] == names


def test_several_file_objects_are_written_at_once(sandbox, folder):
    files = [{"path": f"{folder}/{n}", "data": io.BytesIO(EVERY_BYTE * n)} for n in range(5)]
    assert [info.name for info in sandbox.files.write_files(files)] == ["0", "1", "2", "3", "4"]
    assert [info.size for info in sandbox.files.list(folder)] == [0, 256, 512, 768, 1024]


def test_the_same_path_twice_in_one_upload_is_an_invalid_argument(sandbox, folder):
    file = {"path": f"{folder}/file", "data": "x"}
    with pytest.raises(e2b.InvalidArgumentException):
        sandbox.files.write_files([file, file])


def test_twenty_files_written_at_once_are_all_right(sandbox, folder):
    def write(number):
        sandbox.files.write(f"{folder}/{number}", str(number) * 100_000)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(20):
        assert sandbox.files.read(f"{folder}/{number}") == str(number) * 100_000


def test_a_command_sees_a_file_and_the_other_way_round(sandbox, folder):
    sandbox.files.write(f"{folder}/in", "from the SDK")
    sandbox.commands.run(f"tr a-z A-Z <{folder}/in >{folder}/out")
    assert sandbox.files.read(f"{folder}/out") == "FROM THE SDK"


def test_reading_what_is_missing_is_not_found(sandbox, folder):
    for format in ["text", "bytes", "stream"]:
        with pytest.raises(e2b.FileNotFoundException, match="missing"):
            sandbox.files.read(f"{folder}/missing", format=format)


def test_reading_below_a_file_is_not_found(sandbox, folder):
    sandbox.files.write(f"{folder}/file", "x")
    with pytest.raises(e2b.FileNotFoundException):
        sandbox.files.read(f"{folder}/file/below")


def test_reading_a_directory_is_an_invalid_argument(sandbox, folder):
    with pytest.raises(e2b.InvalidArgumentException):
        sandbox.files.read(folder)


def test_writing_onto_a_directory_is_an_invalid_argument(sandbox, folder):
    for octets in [True, False]:
        with pytest.raises(e2b.InvalidArgumentException):
            sandbox.files.write(folder, "x", use_octet_stream=octets)


def test_writing_below_a_file_is_an_error_and_changes_nothing(sandbox, folder):
    sandbox.files.write(f"{folder}/file", "kept")
    with pytest.raises(e2b.SandboxException):
        sandbox.files.write(f"{folder}/file/below", "x")
    assert sandbox.files.read(f"{folder}/file") == "kept"


def test_a_pipe_in_the_file_system_does_not_hang_a_reader(sandbox, folder):
    sandbox.commands.run(f"mkfifo {folder}/pipe")
    with pytest.raises(e2b.SandboxException):
        sandbox.files.read(f"{folder}/pipe", request_timeout=5)


@pytest.mark.parametrize("path", ["nul\0byte", "/" + "x/" * 2500])
def test_a_path_that_cannot_be_is_an_invalid_argument(sandbox, path):
    with pytest.raises(e2b.InvalidArgumentException):
        sandbox.files.read(path)
    with pytest.raises(e2b.InvalidArgumentException):
        sandbox.files.write(path, "x")


def test_a_name_that_is_too_long_is_an_error(sandbox, folder):
    with pytest.raises(e2b.SandboxException):
        sandbox.files.write(f"{folder}/{'x' * 256}", "x")
    assert sandbox.files.list(folder) == []


def test_an_unknown_user_is_an_authentication_error(sandbox, folder):
    with pytest.raises(e2b.AuthenticationException, match="nobody-here"):
        sandbox.files.write(f"{folder}/file", "x", user="nobody-here")
    with pytest.raises(e2b.AuthenticationException, match="nobody-here"):
        sandbox.files.read("/etc/passwd", user="nobody-here")
