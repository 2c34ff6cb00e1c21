"""SWE-ReX for ``sandbox_latency.py``, in a Python of its own: each line on standard input is answered with seconds.

``rex_peer.py local`` or ``rex_peer.py docker IMAGE``. The first line that it says is "ready", or why it cannot run.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from typing import Any

TRUE = "/bin/true"


def main(kind: str, image: str = "") -> None:
    """Answers until standard input ends."""
    out = os.dup(1)
    os.dup2(2, 1)  # what SWE-ReX prints is not for our reader
    from swerex.deployment.docker import DockerDeployment
    from swerex.deployment.local import LocalDeployment
    from swerex.runtime.abstract import BashAction, Command, CreateBashSessionRequest

    def say(value: Any) -> None:
        os.write(out, json.dumps(value).encode() + b"\n")

    async def serve() -> None:
        deployment = LocalDeployment()
        if kind == "docker":
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            # the machine's network: nothing is forwarded, which some engines cannot do, and none is faster
            options = ["--network", "host", "--env", f"REX_PORT={port}"]
            deployment = DockerDeployment(image=image, pull="never", port=port, docker_args=options)
        await deployment.start()
        try:
            runtime = deployment.runtime
            await runtime.create_session(
                CreateBashSessionRequest(startup_timeout=30.0)
            )  # a busy machine takes over one
            say("ready")
            for line in sys.stdin:
                start = time.perf_counter()
                if line.strip() == "session":
                    code = (await runtime.run_in_session(BashAction(command=TRUE, check="silent"))).exit_code
                else:
                    code = (await runtime.execute(Command(command=[TRUE]))).exit_code
                spent = time.perf_counter() - start
                assert code == 0, code
                say(spent)
        finally:
            await deployment.stop()

    try:
        asyncio.run(serve())
    except Exception as e:
        say(f"{type(e).__name__}: {' '.join(str(e).split())[:200]}")
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
