import hashlib

import pytest

from etudes.core.errors import Problem
from etudes.core.files import appearing, read_json, sha256, write_json, write_text


def test_a_file_is_whole_or_absent(tmp_path):
    path = tmp_path / "new" / "a.txt"

    def fail():
        with appearing(path) as draft:
            draft.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(path.parent.iterdir()) == []
    with appearing(path) as draft:
        draft.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_json_that_is_not_whole_is_named(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    assert read_json(path, "") == {"x": 1}
    path.write_text('{"x"')
    with pytest.raises(Problem, match=r"a\.json is not whole; delete it"):
        read_json(path, "delete it")
    path.write_text("[]")
    with pytest.raises(Problem, match="does not hold what it should"):
        read_json(path, "delete it")


def test_the_hash_is_of_the_bytes(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 3_000_000)
    assert sha256(path) == hashlib.sha256(b"x" * 3_000_000).hexdigest()


def test_an_error_names_the_target_and_not_its_draft(tmp_path):
    folder = tmp_path / "page.html"
    folder.mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_text(folder, "text")
    assert caught.value.filename == str(folder)
    assert list(tmp_path.iterdir()) == [folder]
