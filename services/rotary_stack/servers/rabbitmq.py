"""A private RabbitMQ node.

It has two users and no guest. `rotary` is an administrator; its URL is for a command inside the stack.
`rotary-consumer` has only the permissions that Rotary's services need; its URL is for the services.
"""

import asyncio
import base64
import json
import os
import re
import shlex
import ssl
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from signal import SIGTERM, Signals

import aiormq
from aiormq.exceptions import AMQPError

from rotary.events import MAX_MESSAGE_BYTES
from rotary_stack.binaries import Binaries
from rotary_stack.errors import NotReadyError
from rotary_stack.servers.certificates import certificates_in, make_certificates
from rotary_stack.spawn import LaunchConfig, server_environ
from rotary_stack.workspace import new_password, write_private

# The exchange that spreads customers over the streams of a log.
_PLUGINS = ("rabbitmq_consistent_hash_exchange",)
_LOOPBACK = "-kernel inet_dist_use_interface {127,0,0,1}"
_HOME = "home"  # in the folder that the node runs in
_MODULES = "modules"
_PRELOADED = "preloaded"  # a file with the names of modules
_PRELOAD = f'{{ok,[Modules]}}=file:consult("{_PRELOADED}"),code:ensure_modules_loaded(Modules)'

ADMIN_USER = "rotary"
SERVICE_USER = "rotary-consumer"
FULL_PERMISSIONS = {"configure": ".*", "write": ".*", "read": ".*"}
# To declare, bind and read what is named rotary.*, and to publish into a queue or stream through the default exchange.
SERVICE_PERMISSIONS = {"configure": r"^rotary\.", "write": r"^(rotary\..*|amq\.default)$", "read": r"^rotary\."}
"""infra/server/rabbitmq-definitions.json has the same; a test compares them."""


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
        """`ports` are the ports of AMQP, of Erlang's distribution protocol, and of our epmd.

        With `tls` the node accepts AMQP over TLS only. With `management_port` it serves its HTTP API there.
        """
        self.port, self._dist_port, self._epmd_port = ports
        self._passwords = {user: new_password() for user in (ADMIN_USER, SERVICE_USER)}
        self.data = directory / "rabbitmq"
        self._tls = tls
        self._management_port = management_port
        self._settings = directory / "rabbitmq-settings"
        self._certificates = certificates_in(self._settings / "tls")
        self._reduced_home = self._settings / _HOME
        self._binaries = binaries
        self._node = f"rotary{self.port}@localhost"

    @property
    def url(self) -> str:
        """For a command inside the stack: all permissions."""
        return self._url(ADMIN_USER)

    @property
    def service_url(self) -> str:
        """For Rotary's services."""
        return self._url(SERVICE_USER)

    @property
    def control_script(self) -> Path:
        """A script that runs rabbitmqctl on this node, with the same arguments."""
        return self._settings / "rabbitmqctl"

    def variables(self) -> dict[str, str]:
        """The variables of a command inside the stack, besides the URL."""
        variables = {"ROTARY_STACK_RABBITMQCTL": str(self.control_script)}
        if self._tls:
            variables["ROTARY_CA_FILE"] = str(self._certificates.authority)
        if self._management_port:
            variables["ROTARY_MANAGEMENT_URL"] = f"http://{self._login(ADMIN_USER)}@127.0.0.1:{self._management_port}"
        return variables

    async def prepare(self) -> None:
        self.data.mkdir(mode=0o700, exist_ok=True)
        if self._settings.exists():
            return
        self._settings.mkdir(mode=0o700)
        write_private(self._settings / "rabbitmq.conf", self._configuration())
        write_private(self._settings / "enabled_plugins", f"[{','.join(self._plugins)}].\n")
        write_private(self._settings / "definitions.json", self._definitions())
        if self._tls:
            make_certificates(self._settings / "tls")
        # Whoever knows the cookie can run programs as our user.
        write_private(self._settings / ".erlang.cookie", new_password(), mode=0o400)
        self._create_reduced_home()
        write_private(self.control_script, self._script(), mode=0o700)

    @property
    def _plugins(self) -> list[str]:
        return [*_PLUGINS, "rabbitmq_management"] if self._management_port else [*_PLUGINS]

    def launch_config(self) -> LaunchConfig:
        argv = (self._binaries.rabbitmq_server,)
        return LaunchConfig(argv=argv, environ=server_environ() | self._environ(), directory=self._settings)

    async def check_ready(self) -> None:
        """Completes an AMQP handshake: the port opens well before the user exists."""
        await self._check_protocol_header()
        try:
            connection = await aiormq.connect(self.url, context=self._client_context())
            await connection.close()
        except AMQPError as error:
            raise NotReadyError(str(error) or type(error).__name__) from error

    async def _check_protocol_header(self) -> None:
        """Sends the protocol header alone. It comes first because the client library logs every refused connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self._client_context())
        try:
            writer.write(b"AMQP\x00\x00\x09\x01")
            if not await reader.read(1):
                raise NotReadyError("the broker closes the connection")
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
        users = [(ADMIN_USER, "administrator", FULL_PERMISSIONS), (SERVICE_USER, "", SERVICE_PERMISSIONS)]
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

    def _create_reduced_home(self) -> None:
        """Links RabbitMQ's home directory without the plugins that a stack does not use, and all modules in one folder.

        Erlang searches the folder of every plugin, enabled or not, and then its own, for each of a thousand modules,
        and would load them one by one, which is most of the work of a start.
        """
        scripts = Path(self._binaries.rabbitmq_server).resolve().parent
        if not (scripts / "rabbitmq-env").exists() or not (scripts.parent / "plugins").is_dir():
            return  # an unknown package layout: run it as it is
        for folder in ("", "plugins", _MODULES):
            (self._reduced_home / folder).mkdir(mode=0o700)
        for part in ("sbin", "escript"):
            (self._reduced_home / part).symlink_to(scripts.parent / part)
        erlang, plugins = self._erlang / "lib", scripts.parent / "plugins"
        needed = _with_dependencies([erlang, plugins], "rabbit", "mnesia", *self._plugins)
        for application in needed:
            if application.parent == plugins:
                (self._reduced_home / "plugins" / application.name).symlink_to(application)
        self._link_modules()
        # It asks all modules of all its applications what they have to do with its start, and so loads each of them.
        names = sorted(module.stem for application in needed for module in application.glob("ebin/*.beam"))
        write_private(self._settings / _PRELOADED, f"{names}.\n")  # Erlang writes atoms as Python writes strings

    @property
    def _erlang(self) -> Path:
        return Path(self._binaries.epmd).resolve().parent.parent.parent  # of erts-13.1.5/bin/epmd

    def _link_modules(self) -> None:
        modules = {
            module.name: module
            for applications in (self._erlang / "lib", self._reduced_home / "plugins")  # the later take precedence
            for module in applications.glob("*/ebin/*.beam")
        }
        for name, module in modules.items():
            (self._reduced_home / _MODULES / name).symlink_to(module)

    def _environ(self) -> dict[str, str]:
        settings = str(self._settings)
        erlang, home = f"+S 1:1 +sbwt none {_LOOPBACK}", {}
        if self._reduced_home.exists():
            home = {
                "RABBITMQ_SCRIPTS_DIR": f"{self._reduced_home}/sbin",
                # RabbitMQ would look for it beside its modules.
                "RABBITMQ_PLUGINS_DIR": f"{self._reduced_home}/plugins",
                "RABBITMQ_NODE_ONLY": "true",  # what the script starts would come before the modules
            }
            erlang += f" -pa {_HOME}/{_MODULES} -eval {_PRELOAD} -s rabbit boot"
        return home | {
            "HOME": settings,  # holds the cookie
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
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": erlang,
            # Makes the start script exec the node, so that our child process is the node and SIGKILL reaches it.
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
    """RabbitMQ's format: a salt of four bytes and the SHA-256 of salt and password, in base64."""
    salt = os.urandom(4)
    return base64.b64encode(salt + sha256(salt + password.encode()).digest()).decode()


def _with_dependencies(libraries: Sequence[Path], *roots: str) -> list[Path]:
    """The folders of the applications `roots` and of all their dependencies; later libraries take precedence."""
    found = {described.stem: described for library in libraries for described in library.glob("*/ebin/*.app")}
    needed: dict[str, Path] = {}
    wanted = list(roots)
    while wanted:
        name = wanted.pop()
        if name in found and name not in needed:
            needed[name] = found[name].parent.parent
            wanted += _dependencies(found[name])
    return list(needed.values())


def _dependencies(described: Path) -> list[str]:
    named = re.search(r"\{applications,\s*\[([^\]]*)\]", described.read_text(encoding="utf-8"))
    return re.findall(r"\w+", named[1]) if named else []
