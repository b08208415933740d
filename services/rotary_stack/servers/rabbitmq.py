"""A private RabbitMQ node with an epmd of its own.

It has two users and no guest. `rotary` administers the node: the URL for a command inside the stack. `rotary-consumer`
may do what Rotary's programs do and nothing else: the URL for the services.
"""

import asyncio
import base64
import json
import os
import re
import shlex
import ssl
from hashlib import sha256
from pathlib import Path
from signal import SIGTERM, Signals

import aiormq
from aiormq.exceptions import AMQPError

from rotary.events import MAX_MESSAGE_BYTES
from rotary_stack.binaries import Binaries
from rotary_stack.errors import NotReadyError
from rotary_stack.private import new_password, write_private
from rotary_stack.servers.certificates import certificates_in, make_certificates
from rotary_stack.spawn import Launch, server_environ

# Spreads customers over the streams of a log.
_PLUGINS = ("rabbitmq_consistent_hash_exchange",)
_LOOPBACK = "-kernel inet_dist_use_interface {127,0,0,1}"

OWNER = "rotary"
PROGRAM = "rotary-consumer"
EVERYTHING = {"configure": ".*", "write": ".*", "read": ".*"}
# Declares and binds what is Rotary's, reads it, and publishes straight into a queue or stream by the default exchange.
PROGRAM_PERMISSIONS = {"configure": r"^rotary\.", "write": r"^(rotary\..*|amq\.default)$", "read": r"^rotary\."}
"""infra/server/rabbitmq-definitions.json grants the same; a test compares them."""


class Epmd:
    """Erlang's port mapper, in the foreground: RabbitMQ would start one that outlives it."""

    name = "epmd"
    stop_signal: Signals = SIGTERM
    data = None

    def __init__(self, binaries: Binaries, directory: Path, port: int) -> None:
        self.port = port
        self.url = f"epmd://127.0.0.1:{port}"
        self._binary = binaries.epmd
        self._directory = directory

    async def prepare(self) -> None:
        """It keeps nothing."""

    def launch(self) -> Launch:
        argv = (self._binary, "-port", str(self.port), "-address", "127.0.0.1")
        return Launch(argv=argv, environ=server_environ(), directory=self._directory)

    async def ready(self) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.close()


class RabbitMQ:
    name = "rabbitmq"
    stop_signal: Signals = SIGTERM

    def __init__(
        self,
        binaries: Binaries,
        directory: Path,
        ports: tuple[int, int, int],
        *,
        tls: bool = False,
        management_port: int | None = None,
    ) -> None:
        """`ports`: for AMQP, for Erlang's distribution, and the one our epmd listens on.

        With `tls` it speaks AMQP over TLS and not without. With `management_port` it answers its HTTP API there.
        """
        self.port, self._dist_port, self._epmd_port = ports
        self._passwords = {user: new_password() for user in (OWNER, PROGRAM)}
        self.data = directory / "rabbitmq"
        self._tls = tls
        self._management_port = management_port
        self._settings = directory / "rabbitmq-settings"
        self._certificates = certificates_in(self._settings / "tls")
        self._lean = self._settings / "home"
        self._binaries = binaries
        self._node = f"rotary{self.port}@localhost"

    @property
    def url(self) -> str:
        """For a command inside the stack: everything is permitted."""
        return self._url(OWNER)

    @property
    def program_url(self) -> str:
        """For Rotary's programs."""
        return self._url(PROGRAM)

    @property
    def control_script(self) -> Path:
        """rabbitmqctl for this node: takes the same arguments."""
        return self._settings / "rabbitmqctl"

    def variables(self) -> dict[str, str]:
        """What a command inside the stack is told besides the URL."""
        told = {"ROTARY_STACK_RABBITMQCTL": str(self.control_script)}
        if self._tls:
            told["ROTARY_CA_FILE"] = str(self._certificates.authority)
        if self._management_port:
            told["ROTARY_MANAGEMENT_URL"] = f"http://{self._login(OWNER)}@127.0.0.1:{self._management_port}"
        return told

    async def prepare(self) -> None:
        self.data.mkdir(mode=0o700, exist_ok=True)
        if self._settings.exists():
            return
        self._settings.mkdir(mode=0o700)
        write_private(self._settings / "rabbitmq.conf", self._configuration())
        write_private(self._settings / "enabled_plugins", f"[{','.join(self._plugins)}].\n")
        write_private(self._settings / "definitions.json", self._definitions())
        if self._tls:
            await make_certificates(self._settings / "tls")
        # Who knows the cookie can run anything as us.
        write_private(self._settings / ".erlang.cookie", new_password(), mode=0o400)
        self._lean_home()
        write_private(self.control_script, self._script(), mode=0o700)

    @property
    def _plugins(self) -> list[str]:
        return [*_PLUGINS, "rabbitmq_management"] if self._management_port else [*_PLUGINS]

    def launch(self) -> Launch:
        argv = (self._binaries.rabbitmq_server,)
        return Launch(argv=argv, environ=server_environ() | self._environ(), directory=self._settings)

    async def ready(self) -> None:
        """The whole AMQP handshake succeeds: the port opens well before the user exists."""
        await self._greeted()
        try:
            connection = await aiormq.connect(self.url, context=self._client_context())
            await connection.close()
        except AMQPError as problem:
            raise NotReadyError(str(problem) or type(problem).__name__) from problem

    async def _greeted(self) -> None:
        """The broker answers the protocol header. Asked first, because the client library logs each refusal."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self._client_context())
        try:
            writer.write(b"AMQP\x00\x00\x09\x01")
            if not await reader.read(1):
                raise NotReadyError("the broker closes connections")
        finally:
            writer.close()

    def _client_context(self) -> ssl.SSLContext | None:
        return self._certificates.client_context() if self._tls else None

    def _configuration(self) -> str:
        return f"""{self._listener()}{self._management()}load_definitions = {self._settings}/definitions.json
max_message_size = {MAX_MESSAGE_BYTES}
log.console = true
log.file = false
"""

    def _listener(self) -> str:
        if not self._tls:
            return f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
        return f"""listeners.tcp = none
listeners.ssl.1 = 127.0.0.1:{self.port}
ssl_options.cacertfile = {self._certificates.authority}
ssl_options.certfile = {self._certificates.certificate}
ssl_options.keyfile = {self._certificates.key}
ssl_options.versions.1 = tlsv1.3
ssl_options.versions.2 = tlsv1.2
"""

    def _management(self) -> str:
        if not self._management_port:
            return ""
        return f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {self._management_port}\n"

    def _definitions(self) -> str:
        users = [(OWNER, "administrator", EVERYTHING), (PROGRAM, "", PROGRAM_PERMISSIONS)]
        definitions = {
            "vhosts": [{"name": "/"}],
            "users": [
                {
                    "name": user,
                    "password_hash": password_hash(self._passwords[user]),
                    "hashing_algorithm": "rabbit_password_hashing_sha256",
                    "tags": tags,
                }
                for user, tags, _ in users
            ],
            "permissions": [{"user": user, "vhost": "/", **permissions} for user, _, permissions in users],
        }
        return json.dumps(definitions)

    def _url(self, user: str) -> str:
        return f"{'amqps' if self._tls else 'amqp'}://{self._login(user)}@127.0.0.1:{self.port}/"

    def _login(self, user: str) -> str:
        return f"{user}:{self._passwords[user]}"

    def _lean_home(self) -> None:
        """RabbitMQ's own home, by links, without the plugins that nothing here uses.

        Erlang looks for each of a thousand modules in every plugin's folder in turn, enabled or not: without them the
        node starts in half the time.
        """
        scripts = Path(self._binaries.rabbitmq_server).resolve().parent
        if not (scripts / "rabbitmq-env").exists() or not (scripts.parent / "plugins").is_dir():
            return  # packaged in a way we do not know: as it is, then
        self._lean.mkdir(mode=0o700)
        (self._lean / "plugins").mkdir(mode=0o700)
        for part in ("sbin", "escript"):
            (self._lean / part).symlink_to(scripts.parent / part)
        for application in _needed(scripts.parent / "plugins", "rabbit", *self._plugins):
            (self._lean / "plugins" / application.name).symlink_to(application)

    def _environ(self) -> dict[str, str]:
        settings = str(self._settings)
        home = {"RABBITMQ_SCRIPTS_DIR": f"{self._lean}/sbin"} if self._lean.exists() else {}
        return home | {
            "HOME": settings,  # the cookie lies there
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP": "/dev/null",
            "RABBITMQ_MNESIA_BASE": str(self.data),
            "RABBITMQ_LOG_BASE": settings,
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": f"{settings}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{settings}/enabled_plugins",
            "RABBITMQ_PID_FILE": f"{settings}/pid",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"+S 1:1 +sbwt none {_LOOPBACK}",
            # Makes the script turn into the node by exec, so that our child is the node and SIGKILL strikes it.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _script(self) -> str:
        loopback = {
            "RABBITMQ_CTL_ERL_ARGS": _LOOPBACK,
            "RABBITMQ_CTL_DIST_PORT_MIN": "0",
            "RABBITMQ_CTL_DIST_PORT_MAX": "0",
            "LC_ALL": "C.UTF-8",
        }
        exports = "\n".join(
            f"export {name}={shlex.quote(value)}" for name, value in (self._environ() | loopback).items()
        )
        return f'#!/bin/sh\n{exports}\nexec {shlex.quote(self._binaries.rabbitmqctl)} -n {self._node} "$@"\n'


def password_hash(password: str) -> str:
    """As RabbitMQ stores it: a salt of four bytes and the SHA-256 of salt and password, in base64."""
    salt = os.urandom(4)
    return base64.b64encode(salt + sha256(salt + password.encode()).digest()).decode()


def _needed(plugins: Path, *roots: str) -> list[Path]:
    """The folders of `roots` and of everything they name as their dependency, directly or not."""
    folders = {folder.name.rpartition("-")[0]: folder for folder in plugins.iterdir()}
    needed: dict[str, Path] = {}
    wanted = list(roots)
    while wanted:
        name = wanted.pop()
        if name in folders and name not in needed:  # the others are Erlang's own
            needed[name] = folders[name]
            wanted += _dependencies(folders[name] / "ebin" / f"{name}.app")
    return list(needed.values())


def _dependencies(application: Path) -> list[str]:
    named = re.search(r"\{applications,\s*\[([^\]]*)\]", application.read_text(encoding="utf-8"))
    return re.findall(r"\w+", named[1]) if named else []
