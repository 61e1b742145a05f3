"""Metadata of files: small texts kept as extended attributes."""

import e2b
import pytest


def metadata(sandbox, path):
    return sandbox.files.get_info(path).metadata


@pytest.mark.parametrize("octets", [True, False])
def test_metadata_is_kept_and_told_everywhere(sandbox, folder, octets):
    given = {"source": "a test", "empty": "", "sign": "~!@#$%^&*()"}
    info = sandbox.files.write(f"{folder}/file", "x", metadata=given, use_octet_stream=octets)
    assert info.metadata == given
    assert metadata(sandbox, f"{folder}/file") == given
    assert [one.metadata for one in sandbox.files.list(folder)] == [given]
    assert sandbox.files.rename(f"{folder}/file", f"{folder}/moved").metadata == given


def test_keys_are_lower_case(sandbox, folder):
    sandbox.files.write(f"{folder}/file", "x", metadata={"Upper-Case": "Value"})
    assert metadata(sandbox, f"{folder}/file") == {"upper-case": "Value"}


def test_a_file_without_metadata_has_none(sandbox, folder):
    sandbox.files.write(f"{folder}/file", "x")
    assert metadata(sandbox, f"{folder}/file") is None
    assert metadata(sandbox, folder) is None


def test_overwriting_replaces_all_metadata(sandbox, folder):
    sandbox.files.write(f"{folder}/file", "x", metadata={"old": "1", "both": "1"})
    sandbox.files.write(f"{folder}/file", "x", metadata={"both": "2", "new": "2"})
    assert metadata(sandbox, f"{folder}/file") == {"both": "2", "new": "2"}
    sandbox.files.write(f"{folder}/file", "x")
    assert metadata(sandbox, f"{folder}/file") is None


def test_every_file_of_an_upload_gets_the_metadata(sandbox, folder):
    files = [{"path": f"{folder}/{name}", "data": name} for name in ["one", "two"]]
    infos = sandbox.files.write_files(files, metadata={"batch": "7"})
    assert [info.metadata for info in infos] == [{"batch": "7"}] * 2
    assert [one.metadata for one in sandbox.files.list(folder)] == [{"batch": "7"}] * 2


@pytest.mark.parametrize(
    "wrong", [{"k" * 247: "v"}, {"k": "v" * 5000}, {f"key-{n}": "v" * 100 for n in range(50)}], ids=["key", "value", "sum"]
)
def test_too_much_metadata_is_an_invalid_argument_and_nothing_is_written(sandbox, folder, wrong):
    with pytest.raises(e2b.InvalidArgumentException):
        sandbox.files.write(f"{folder}/file", "x", metadata=wrong)
    assert not sandbox.files.exists(f"{folder}/file")


def test_attributes_that_somebody_else_set_are_told(sandbox, folder):
    sandbox.files.write(f"{folder}/file", "x")
    program = f"import os; os.setxattr('{folder}/file', 'user.e2b.own', b'1'); os.setxattr('{folder}/file', 'user.x', b'2')"
    sandbox.commands.run(f'python3 -c "{program}"')
    assert metadata(sandbox, f"{folder}/file") == {"own": "1"}


def test_attributes_of_somebody_else_are_left_alone(sandbox, folder):
    sandbox.files.write(f"{folder}/file", "x")
    sandbox.commands.run(f"python3 -c \"import os; os.setxattr('{folder}/file', 'user.x', b'2')\"")
    sandbox.files.write(f"{folder}/file", "y", metadata={"a": "b"})
    result = sandbox.commands.run(f"python3 -c \"import os; print(sorted(os.listxattr('{folder}/file')))\"")
    assert result.stdout == "['user.e2b.a', 'user.x']\n"
