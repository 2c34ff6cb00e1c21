"""What tests share. Hypothesis profiles: ``ci`` by default, ``full`` by HYPOTHESIS_PROFILE=full."""

import contextlib
import json
import os
import shutil
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import settings

settings.register_profile("ci", max_examples=25, deadline=None, derandomize=True)
settings.register_profile("full", max_examples=200, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """What runs local sandboxes is marked so, and left out where there can be none."""
    if shutil.which("bwrap") is None and {"sandbox", "swe"} & {m.name for m in item.iter_markers()}:
        pytest.skip("bubblewrap is not installed")


@pytest.fixture(scope="session")
def local():
    """The provider of local sandboxes; what needs it is marked ``sandbox``."""
    from milepost.sandboxes import make

    with make("local") as provider:
        yield provider


@pytest.fixture(scope="session")
def engine():
    """The provider of docker sandboxes; what needs it is marked ``docker``."""
    from milepost.sandboxes import Unavailable, make

    try:
        provider = make("docker")
    except Unavailable as e:
        pytest.skip(str(e))
    with provider:
        yield provider


@pytest.fixture
def interruptible():
    """Ctrl-C raises: a job in a shell's background would ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _serve(answer):
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append({"path": self.path, "body": body, "auth": self.headers.get("Authorization")})
            got = answer(body, len(seen))
            if isinstance(got, str):
                usage = {"prompt_tokens": 100, "completion_tokens": 10}
                message = {"role": "assistant", "content": got}
                got = 200, json.dumps({"choices": [{"message": message}], "usage": usage})
            status, text, *headers = got
            with contextlib.suppress(OSError):  # the client has had enough
                self.send_response(status)
                for k, v in (headers[0] if headers else {}).items():
                    self.send_header(k, v)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

        def log_message(self, *args):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/v1", seen
    finally:
        http.shutdown()
        http.server_close()
        thread.join(5)


@pytest.fixture
def server():
    """A chat endpoint: ``with server(answer) as (url, seen)``.

    ``answer(body, number of the request)`` gives the model's text, or (status, body[, headers]); ``seen`` are the requests.
    """
    return _serve


@pytest.fixture
def minihack():
    """Makes MiniHack environments, which are closed when the test is over."""
    import gymnasium as gym

    made = []

    def build(level="KeyRoom-S5", face="v0", **kwargs):
        made.append(gym.make(f"milepost/MiniHack-{face}", level=level, disable_env_checker=True, **kwargs))
        return made[-1]

    yield build
    for env in made:
        env.close()
