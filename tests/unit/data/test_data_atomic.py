import pytest

from twotower.files.atomic import (
    clear_temporaries,
    publish_folder,
    replace_folder,
    temporary_folder,
    write_atomically,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_atomically(tmp_path):
    path = tmp_path / "new" / "a.txt"
    for text in ("one", "two"):
        write_atomically(path, lambda file, text=text: file.write_text(text + file.suffix))
    assert path.read_text() == "two.txt"
    assert names(path.parent) == ["a.txt"]


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(file):
        file.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(("move", "expected"), [(replace_folder, "new"), (publish_folder, "old")])
def test_a_folder_in_the_way(tmp_path, move, expected):
    final = tmp_path / "final"
    for text in ("old", "new"):
        with temporary_folder(final) as temporary:
            (temporary / "a").write_text(text)
            move(temporary, final)
    assert (final / "a").read_text() == expected
    assert names(tmp_path) == ["final"]


def test_only_temporary_files_of_killed_processes_are_cleared(tmp_path):
    temporaries = []

    def killed(file):
        file.write_text("half")
        temporaries.append(file)
        file.rename(file.with_name("kept"))  # so that it is not cleared by the writer itself

    for path in (tmp_path / "result.json", tmp_path / "checkpoints" / "fit" / "last.ckpt"):
        with pytest.raises(FileNotFoundError):
            write_atomically(path, killed)
        temporaries[-1].with_name("kept").rename(temporaries[-1])
    (tmp_path / f".bundle.{'0' * 32}").mkdir()
    (tmp_path / f".bundle.{'0' * 32}" / temporaries[0].name).write_text("half")
    (tmp_path / f".bundle.{'0' * 32}.old").mkdir()
    for name in (".run.lock", ".run.owner.json", "last.ckpt", f"{'0' * 32}.txt"):
        (tmp_path / name).write_text("")
    clear_temporaries(tmp_path)
    assert names(tmp_path) == [".run.lock", ".run.owner.json", f"{'0' * 32}.txt", "checkpoints", "last.ckpt"]
    assert names(tmp_path / "checkpoints" / "fit") == []
