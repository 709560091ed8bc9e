"""A service as who publishes to it sees it: which run it serves, and what is said where nobody answers."""

import http.server
import json
import threading

import pytest
import tiny_bundle

from twotower.bundle.manifest import read_manifest
from twotower.config.errors import InputError
from twotower.serving.nightly.service_client import ServiceClient

KEY = "w" * 32


class Double(http.server.BaseHTTPRequestHandler):
    """Answers as a service does, of the version that its server has, and keeps what it was asked."""

    def log_message(self, *_):
        pass

    def answered(self, status, content):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def do_GET(self):
        self.answered(200, {"status": "ready", "version": self.server.version})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body, self.headers["Authorization"]))
        if body["bundle"] == "gone":
            self.answered(422, {"error": "reload: 'gone' is no folder"})
        else:
            self.answered(200, {"version": f"{body['bundle']}-abc"})


@pytest.fixture
def double():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Double)
    server.asked, server.version, server.url = [], "", f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_served_run_is_found_by_name_and_checksum(double, tmp_path):
    tiny_bundle.write(tmp_path / "a-run" / "bundle")
    double.version = f"a-run-{read_manifest(tmp_path / 'a-run' / 'bundle').sha256[:12]}"
    client = ServiceClient(f"{double.url}/", tmp_path)
    assert client.run() == tmp_path / "a-run"
    for version in (f"a-run-{'0' * 12}", f"b-run-{double.version[-12:]}"):
        double.version = version
        with pytest.raises(
            InputError, match=f"serves {version}, which is no run in this folder; name the bundles_root"
        ):
            client.run()


def test_publishing_uses_the_first_key_with_write_access(double, tmp_path):
    (tmp_path / "keys.txt").write_text(f"# keys\nread {'r' * 32}\nwrite {KEY}\nwrite {'v' * 32}\n")
    client = ServiceClient(double.url, tmp_path, str(tmp_path / "keys.txt"))
    assert client.publish(tmp_path / "new-run") == "new-run-abc"
    assert double.asked == [("/reload", {"bundle": "new-run"}, f"Bearer {KEY}")]
    with pytest.raises(InputError, match=r"POST .*/reload: 422 .*is no folder"):
        client.publish(tmp_path / "gone")


def test_invalid_services_and_keys_are_reported(double, tmp_path):
    (tmp_path / "keys.txt").write_text(f"read {'r' * 32}\n")
    with pytest.raises(InputError, match="has no line `write <key>`"):
        ServiceClient(double.url, tmp_path, str(tmp_path / "keys.txt"))
    with pytest.raises(InputError, match=r"no.txt cannot be read"):
        ServiceClient(double.url, tmp_path, str(tmp_path / "no.txt"))
    with pytest.raises(InputError, match=r"GET /readyz failed .* is it a running"):
        ServiceClient("http://127.0.0.1:9", tmp_path).version()
    with pytest.raises(InputError, match="expected a URL such as http"):
        ServiceClient("file:///etc", tmp_path)
