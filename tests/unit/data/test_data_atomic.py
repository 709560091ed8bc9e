import os
import shutil
import signal

import pytest
from forks import Fork

from twotower.files.atomic import (
    clear_killed,
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


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def kill_during(write, folder):
    assert Fork(write, folder / "said").wait() == -signal.SIGKILL
    (folder / "said").unlink()


def test_the_next_write_deletes_the_folder_of_a_killed_process_and_no_other(tmp_path):
    final, other = tmp_path / "final[1].index", tmp_path / "other"

    def write(path):
        with temporary_folder(path) as folder:
            (folder / "half").touch()
            die()

    def folders():
        return {name for name in names(tmp_path) if not name.endswith(".lock")}

    kill_during(lambda: write(other), tmp_path)
    (of_other,) = folders()
    kill_during(lambda: write(final), tmp_path)
    of_another_machine = tmp_path / f".{final.name}.{'0' * 32}.00000000.lock"
    of_another_machine.touch()
    assert len(names(tmp_path)) == 5  # two folders with a lock each
    with temporary_folder(final) as running, temporary_folder(final) as second:
        assert folders() == {running.name, second.name, of_other}
        clear_killed(tmp_path)
        assert folders() == {running.name, second.name}
    assert names(tmp_path) == [of_another_machine.name]


def test_the_next_write_deletes_a_folder_that_a_killed_process_has_replaced(tmp_path, monkeypatch):
    final = tmp_path / "final"

    def write():
        with temporary_folder(final) as temporary:
            replace_folder(temporary, final)

    def write_and_die():
        monkeypatch.setattr(shutil, "rmtree", die)
        write()

    write()
    kill_during(write_and_die, tmp_path)
    assert sorted(name[-4:] for name in names(tmp_path)) == [".old", "inal", "lock"]
    write()
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
    (tmp_path / f".bundle.{'0' * 32}.{'0' * 8}.lock").touch()
    for name in (".run.lock", ".run.owner.json", "last.ckpt", f"{'0' * 32}.txt"):
        (tmp_path / name).write_text("")
    clear_temporaries(tmp_path)
    assert names(tmp_path) == [".run.lock", ".run.owner.json", f"{'0' * 32}.txt", "checkpoints", "last.ckpt"]
    assert names(tmp_path / "checkpoints" / "fit") == []
