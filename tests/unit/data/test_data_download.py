import hashlib
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from twotower.config.errors import InputError
from twotower.data.download import CACHE_VARIABLE, DATA_VARIABLE, Archive, data_folder_problem, fetch
from twotower.data.sources.movielens import MovieLens

CONTENT = b"1::2::3\n"
SHA = hashlib.sha256(CONTENT).hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def served(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny.zip", "w") as content:
        content.writestr("tiny/a.dat", CONTENT)
        content.writestr("tiny/unwanted.dat", b"")
        content.writestr("tiny/b.dat", CONTENT)
        content.writestr("../evil.dat", b"evil")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", folder / "tiny.zip"
        server.shutdown()
        thread.join()


def archive(url, zip_hash, files=("a.dat", "b.dat"), sha=SHA):
    return Archive("tiny", url, zip_hash, dict.fromkeys(files, sha))


def digest(path):
    return f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}"


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_downloads_verifies_and_keeps_only_the_needed_files(cache, served):
    url, zipped = served
    wanted = archive(url, digest(zipped))
    for _ in range(2):
        found = fetch(wanted)
        assert found == {"a.dat": cache / "tiny" / "a.dat", "b.dat": cache / "tiny" / "b.dat"}
        assert found["a.dat"].read_bytes() == CONTENT
        zipped.unlink(missing_ok=True)  # the second time it comes from the cache
    assert files_in(cache) == ["downloads/tiny.zip", "tiny/a.dat", "tiny/b.dat"]


def test_a_wrong_hash_leaves_no_file_and_shows_both_hashes(cache, served):
    url, zipped = served
    with pytest.raises(InputError) as caught:
        fetch(archive(url, "md5:" + "0" * 32))
    assert "0" * 32 in str(caught.value)
    assert digest(zipped).removeprefix("md5:") in str(caught.value)
    assert "by hand" in str(caught.value)
    assert files_in(cache) == []


def test_a_wrong_file_in_a_right_zip_is_refused(cache, served):
    url, zipped = served
    with pytest.raises(InputError, match=f"SHA-256 is {SHA}, expected {'0' * 64}"):
        fetch(archive(url, digest(zipped), sha="0" * 64))
    assert files_in(cache) == ["downloads/tiny.zip"]


def test_a_server_that_is_down_says_where_to_put_the_file(cache):
    with pytest.raises(InputError) as caught:
        fetch(archive("http://127.0.0.1:9", "md5:" + "0" * 32))
    for part in ("download failed", str(cache / "tiny" / "a.dat"), DATA_VARIABLE, "tiny.zip"):
        assert part in str(caught.value)


def test_the_users_folder_comes_first_and_is_verified(cache, tmp_path, monkeypatch):
    (tmp_path / "mine" / "tiny").mkdir(parents=True)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "mine"))
    path = tmp_path / "mine" / "tiny" / "a.dat"
    path.write_bytes(CONTENT)
    assert fetch(archive("http://127.0.0.1:9", "", files=("a.dat",))) == {"a.dat": path}
    path.write_bytes(b"other")
    with pytest.raises(InputError, match=r"a\.dat: is not the published file of tiny"):
        fetch(archive("http://127.0.0.1:9", "", files=("a.dat",)))


def test_a_data_folder_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    assert data_folder_problem() is None
    assert MovieLens.Config().problems() == []
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "none"))
    assert [key for key, _ in MovieLens.Config().problems()] == ["variant"]
