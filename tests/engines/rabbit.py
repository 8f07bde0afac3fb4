"""A real RabbitMQ for tests: a child with its own folder, ports, epmd and password.

It listens on 127.0.0.1 alone, runs as the user `rabbitmq` where the tests run as root, and
ends with the test run, however that ends. Debian and Ubuntu: `apt-get install rabbitmq-server`.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from labsvc.child import Child, TempFolder
from labsvc.errors import EngineError
from labsvc.ports import free_port

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
HOST = "127.0.0.1"
USER = "lab"
READY_SECONDS = 60.0
TRIES = 50
PORTS = range(20_000, 32_000)  # below /proc/sys/net/ipv4/ip_local_port_range
VHOSTS = ("/", "other")

CONFIG = """\
listeners.tcp.1 = {host}:{port}
log.console = false
log.file.level = warning
load_definitions = {folder}/definitions.json
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 50MB
"""


def missing() -> str | None:
    """Return why no RabbitMQ can be started here, None if one can."""
    if not SERVER.exists() or not all(map(shutil.which, ("epmd", "erl_call"))):
        return "RabbitMQ is not installed; `apt-get install rabbitmq-server` brings it"
    if os.getuid() == 0 and not shutil.which("setpriv"):
        return "RabbitMQ must not run as root, and there is no setpriv to leave root with"
    return None


class RabbitMQ:
    """One RabbitMQ, started by `start()` and ended by `stop()` or with this process."""

    def __init__(self) -> None:
        self.log: deque[str] = deque(maxlen=200)
        self.port, self._dist_port, self._epmd_port = _free_ports(3)
        self._password = secrets.token_hex(8)
        self._cookie = secrets.token_hex(16)
        self._temporary = TempFolder()
        self.folder = self._temporary.path
        self._children: list[Child] = []
        self._write_settings()

    def url(self, vhost: str = "/") -> str:
        """Return the address with user and password, of one virtual host."""
        path = "" if vhost == "/" else quote(vhost, safe="")
        return f"amqp://{USER}:{self._password}@{HOST}:{self.port}/{path}"

    def start(self) -> None:
        """Start it, with the data it had before, and wait until it takes connections.

        Raises:
            EngineError: it ended at once, or was not ready within a minute.

        """
        self.spawn()
        self._children[-1].wait_until(self._answers, READY_SECONDS)

    def spawn(self) -> None:
        """Start its processes, and wait for nothing."""
        epmd = [
            *("epmd", "-relaxed_command_check"),
            *("-address", HOST, "-port", str(self._epmd_port)),
        ]
        for command in (epmd, [str(SERVER)]):
            self._children.append(Child(self._as_user(command), self.log, self._env()))

    def restart(self) -> None:
        """End it in good order, its processes too, and start it again.

        Raises:
            EngineError: it did not end, or did not start again, within a minute.

        """
        self.call("init", "stop", "[]")
        server = self._children[-1]
        give_up_at = time.monotonic() + READY_SECONDS
        while server.alive:
            if time.monotonic() > give_up_at:
                msg = f"RabbitMQ does not end; its log is in {self.folder}/log"
                raise EngineError(msg)
            time.sleep(0.02)
        self.kill()  # epmd is left
        self.start()

    def kill(self) -> None:
        """End it at once, as a crash does (SIGKILL)."""
        for child in reversed(self._children):
            child.kill()
            child.stop()
        self._children.clear()

    def stop(self) -> None:
        """End it and remove its data."""
        self.kill()
        self._temporary.remove()

    def call(self, module: str, function: str, arguments: str) -> str:
        """Call an Erlang function inside the server; return its result, as Erlang writes it.

        Raises:
            EngineError: the call failed.

        """
        command = [
            *("erl_call", "-address", f"{HOST}:{self._dist_port}", "-c", self._cookie),
            *("-timeout", "30", "-a", f"{module} {function} {arguments}"),
        ]
        for _ in range(TRIES):
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=40)
            if "failed to connect" not in done.stderr:
                break
            time.sleep(0.1)  # a busy node may refuse; then nothing was called
        if done.returncode or "badrpc" in done.stdout:
            msg = f"{module}:{function} failed in RabbitMQ: {done.stdout}{done.stderr}"
            raise EngineError(msg)
        return done.stdout

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection((HOST, self.port), 1) as client:
            client.settimeout(5)
            client.sendall(b"AMQP\0\0\x09\x01")
            return client.recv(1) == b"\x01"
        return False

    def _as_user(self, command: list[str]) -> list[str]:
        start = ["env", f"--chdir={self.folder}"]
        if os.getuid() == 0:
            start += ["setpriv", "--reuid=rabbitmq", "--regid=rabbitmq", "--clear-groups"]
        return start + command

    def _write_settings(self) -> None:
        folder = self.folder
        grants = {"user": USER, "configure": ".*", "write": ".*", "read": ".*"}
        definitions = {
            "users": [{"name": USER, "password": self._password, "tags": ""}],
            "vhosts": [{"name": vhost} for vhost in VHOSTS],
            "permissions": [{**grants, "vhost": vhost} for vhost in VHOSTS],
        }
        config = CONFIG.format(host=HOST, port=self.port, folder=folder)
        files = {
            "definitions.json": json.dumps(definitions),
            "rabbitmq.conf": config,
            "enabled_plugins": "[].\n",
            ".erlang.cookie": self._cookie,
        }
        for name, text in files.items():
            path = folder / name
            path.write_text(text)
            path.chmod(0o600)
        if os.getuid() == 0:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, "rabbitmq", "rabbitmq")

    def _env(self) -> dict[str, str]:
        folder = self.folder
        return {
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_CRASH_DUMP_SECONDS": "0",
            "RABBITMQ_NODENAME": "labsvc@localhost",
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "no-such-file"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1}"
                " +sbwt none +sbwtdcpu none +sbwtdio none"
            ),
            "RUNNING_UNDER_SYSTEMD": "true",  # no shell stays between us and the server
        }


def _free_ports(count: int) -> list[int]:
    """Return ports that Linux gives to no outgoing connection, so that they stay free at a restart.

    Of those that it gives, another test may have one while the server is down.
    """
    free: list[int] = []
    for port in secrets.SystemRandom().sample(PORTS, TRIES):
        with suppress(OSError):
            free.append(free_port(port))
        if len(free) == count:
            return free
    msg = f"{len(free)} free ports in {TRIES} tries, not {count}"
    raise EngineError(msg)
