"""docker-compose.yml, the image and the servers' files, held to the laws that no engine is needed for."""

import base64
import os
import re
import shutil
import stat
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from redis.asyncio import Redis

from rotary.events import MAX_MESSAGE_BYTES
from rotary_stack.servers.rabbitmq import SERVICE_PERMISSIONS
from rotary_stack.servers.redis import DEFAULT_USER, SERVICE_RULES

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "infra/server"
IMAGES = ROOT / "infra/images"
PINNED = re.compile(r"[a-z]+:\d[\w.-]*@sha256:[0-9a-f]{64}")
# Any: what YAML holds.
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {"migrate", "admin"}
every_service = pytest.mark.parametrize("name", SERVICES)


@every_service
def test_every_container_is_read_only_and_has_no_capabilities(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "privileged" not in service
    assert "cap_add" not in service


@every_service
def test_no_container_runs_as_root(name: str) -> None:
    assert not re.match(r"(root|0)(:|$)", SERVICES[name]["user"])


@every_service
def test_every_image_is_ours_or_named_by_its_digest(name: str) -> None:
    image = SERVICES[name]["image"]
    assert PINNED.fullmatch(image) or (image == "rotary" and "build" in SERVICES[name])


@every_service
def test_no_password_is_written_down_and_each_is_required(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        if "PASSWORD" in variable or "AUTH" in variable or re.search("://.*@", str(value)):
            secret = str(value).partition("://")[2].rpartition("@")[0].partition(":")[2] or str(value)
            assert re.fullmatch(r"\$\{\w+:\?[\w /]+\}", secret), (variable, value)


@every_service
def test_every_service_that_stays_up_says_whether_it_works_and_comes_back(name: str) -> None:
    if name in ONE_SHOT:
        assert SERVICES[name]["restart"] == "no"
    else:
        assert SERVICES[name]["healthcheck"]["test"]
        assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", ["query", "consumer", "console"])
def test_replicas_find_a_port_each(name: str) -> None:
    assert "container_name" not in SERVICES[name]
    assert "hostname" not in SERVICES[name]
    for port in SERVICES[name]["ports"]:
        first, last = map(int, re.fullmatch(r"127\.0\.0\.1:(\d+)-(\d+):\d+", port).groups())  # type: ignore[union-attr]
        assert last > first


@every_service
def test_nothing_listens_beyond_this_machine(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))
    assert COMPOSE["networks"]["servers"] == {"internal": True}


def test_only_the_admin_program_administers_the_broker() -> None:
    holders = [name for name, service in SERVICES.items() if "ROTARY_MANAGEMENT_URL" in service.get("environment", {})]
    assert holders == ["admin"]
    assert all("rotary-admin:" not in str(SERVICES[name]) for name in SERVICES if name != "admin")


def test_the_query_service_is_given_redis_and_a_user_that_reads_history_alone() -> None:
    environment = SERVICES["query"]["environment"]
    assert list(environment) == ["ROTARY_REDIS_URL", "ROTARY_POSTGRES_URL", "ROTARY_CORS_ORIGINS"]
    assert environment["ROTARY_POSTGRES_URL"].startswith("postgresql://rotary_query:")
    assert list(SERVICES["query"]["depends_on"]) == ["redis"], "it starts without PostgreSQL"


def test_the_consoles_pages_may_read_the_query_service() -> None:
    console, query = SERVICES["console"], SERVICES["query"]
    assert query["environment"]["ROTARY_CORS_ORIGINS"] == console["environment"]["ROTARY_CONSOLE_URL"]
    assert f":{console['ports'][0].split(':')[1].split('-')[0]}}}" in console["environment"]["ROTARY_CONSOLE_URL"]


def test_the_migrations_are_over_before_a_consumer_starts() -> None:
    for name in ("consumer", "admin"):
        assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


# Images.


def packages(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", lock.read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", ["requirements.prod.lock", "requirements.build.lock"])
def test_the_image_is_made_from_the_versions_that_are_tested(name: str) -> None:
    lock = IMAGES / name
    assert packages(lock)
    assert packages(lock).items() <= packages(ROOT / "requirements.lock").items()
    assert lock.read_text().count("--hash=sha256:") >= len(packages(lock))
    assert not re.search(r"https?://|--index|--find-links", lock.read_text())


def test_the_image_holds_no_package_to_test_or_build_with() -> None:
    held = set(packages(IMAGES / "requirements.prod.lock"))
    assert held & {"pytest", "hypothesis", "ruff", "mypy", "fastapi", "hatchling", "schemathesis", "uvicorn"} == set()
    assert {"aiohttp", "redis", "asyncpg", "aio-pika", "msgspec", "click"} <= held


def test_the_image_is_pinned_and_runs_as_nobody() -> None:
    dockerfile = (IMAGES / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert len(bases) == 2
    assert all(PINNED.fullmatch(base) for base in bases)
    assert re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE) == [SERVICES["query"]["user"]]


def test_the_image_is_built_from_nothing_but_what_is_named() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert rules[0] == "*"
    assert not [rule for rule in rules if ".env" in rule or "tests" in rule or "private" in rule]


def test_pin_writes_the_digests_that_the_registry_tells_for_the_tags(tmp_path: Path) -> None:
    told = "sha256:" + "ab" * 32
    (tmp_path / "infra").mkdir()
    shutil.copytree(IMAGES, tmp_path / "infra/images")
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    docker = tmp_path / "bin/docker"
    docker.parent.mkdir()
    docker.write_text(f'#!/bin/sh\n[ "$1 $2 $3" = "buildx imagetools inspect" ] && echo {told}\n')
    docker.chmod(0o755)
    pin = [tmp_path / "infra/images/pin"]
    environ = {"PATH": f"{docker.parent}:{os.environ['PATH']}"}
    said = subprocess.run(pin, env=environ, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
    assert said == sorted(f"{image.partition('@')[0]}@{told}" for image in pinned_images(ROOT))
    assert pinned_images(tmp_path) == set(said)


def pinned_images(checkout: Path) -> set[str]:
    files = (checkout / "docker-compose.yml", checkout / "infra/images/Dockerfile")
    return {image for file in files for image in PINNED.findall(file.read_text())}


# The servers' files.


def test_the_servers_grant_what_the_tests_have_shown_to_suffice() -> None:
    """The local stack's services run with the same permissions."""
    default, rotary = (SERVER / "redis-users.acl").read_text().splitlines()
    assert default == DEFAULT_USER
    assert rotary == f"user rotary reset on #ROTARY_REDIS_PASSWORD ~* &* {SERVICE_RULES}"
    definitions = msgspec.json.decode((SERVER / "rabbitmq-definitions.json").read_bytes())
    tags = {user["name"]: user["tags"] for user in definitions["users"]}
    assert tags == {"rotary-consumer": "", "rotary-admin": "administrator"}
    granted = {grant["user"]: grant for grant in definitions["permissions"]}
    assert granted["rotary-consumer"].items() >= SERVICE_PERMISSIONS.items()


def permitted() -> set[str]:
    """Redis' commands that our programs' user may call, with those of the category @connection that matter."""
    assert "+@connection" in SERVICE_RULES
    return set(re.findall(r"\+([a-z_|]+)", SERVICE_RULES)) | {"auth", "echo", "hello", "ping", "quit", "select"}


def test_every_command_of_our_functions_is_permitted() -> None:
    """A function fails at the first that is not: add it to servers/redis.py of the stack and to redis-users.acl."""
    code = "".join(path.read_text() for path in (ROOT / "shared").rglob("*.lua"))
    called = set(re.findall(r"redis\.p?call\(\s*'([A-Z]+)'", code)) | set(re.findall(r"\{\s*'(BITFIELD)'", code))
    assert called
    assert {command.lower() for command in called} - permitted() == set()


def test_every_command_that_the_programs_send_is_permitted() -> None:
    """By the methods of redis-py that they call on what they name client, pipeline or channel, or pack."""
    sources = [ROOT / "shared/rotary/redis", *(ROOT / "services").glob("rotary_[qca]*")]
    code = "".join(path.read_text() for source in sources for path in source.rglob("*.py"))
    called = {name for name in re.findall(r"(?:client|pipeline|channel)\.(\w+)\(", code) if hasattr(Redis, name)}
    not_commands = {"pipeline", "pubsub", "aclose", "close", "execute_command"}
    other_names = {"scan_iter": "scan", "delete": "del", "function_load": "function|load"}
    packed = {name.lower() for name in re.findall(r'pack\("(\w+)"', code)}
    commands = packed | {other_names.get(name, name) for name in called - not_commands}
    assert commands >= {"get", "unlink", "hget", "fcall"}
    assert commands - permitted() == set()


@pytest.mark.parametrize("name", ["rabbitmq.conf", "rabbitmq-compose.conf"])
def test_the_brokers_take_no_message_beyond_the_contract(name: str) -> None:
    assert f"\nmax_message_size = {MAX_MESSAGE_BYTES}\n" in (SERVER / name).read_text()


def test_every_file_that_compose_mounts_is_there_or_made() -> None:
    mounted = {
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if volume.startswith("./")
    }
    assert {path for path in mounted if not (ROOT / path).exists() and "/private/" not in path} == set()
    assert all(volume.endswith(":ro") for s in SERVICES.values() for volume in s.get("volumes", []) if "./" in volume)


# Secrets.


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A checkout in which infra/server/secrets was run."""
    server = tmp_path / "infra" / "server"
    shutil.copytree(SERVER, server, ignore=shutil.ignore_patterns("private"))
    run(tmp_path)
    return tmp_path


def run(checkout: Path) -> None:
    subprocess.run([sys.executable, checkout / "infra/server/secrets"], check=True, capture_output=True, timeout=60)


def passwords(checkout: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (checkout / ".env").read_text().splitlines())


def test_every_password_that_compose_requires_is_made_and_only_its_owner_reads_it(made: Path) -> None:
    required = set(re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text()))
    assert set(passwords(made)) == required
    assert len(set(passwords(made).values())) == len(required)
    assert min(map(len, passwords(made).values())) >= 43
    assert stat.S_IMODE((made / ".env").stat().st_mode) == 0o600
    assert stat.S_IMODE((made / "infra/server/private").stat().st_mode) == 0o700


def test_the_servers_are_given_hashes_and_no_password(made: Path) -> None:
    private = made / "infra/server/private"
    written = "".join(path.read_text() for path in private.iterdir())
    assert not [password for password in passwords(made).values() if password in written]
    assert sha256(passwords(made)["ROTARY_REDIS_PASSWORD"].encode()).hexdigest() in written
    users = msgspec.json.decode((private / "rabbitmq-definitions.json").read_bytes())["users"]
    for user, name in zip(users, ("ROTARY_RABBITMQ_PASSWORD", "ROTARY_MANAGEMENT_PASSWORD"), strict=True):
        salted = base64.b64decode(user["password_hash"])
        assert salted[4:] == sha256(salted[:4] + passwords(made)[name].encode()).digest()


def test_running_it_again_keeps_what_there_is_and_makes_what_is_missing(made: Path) -> None:
    before = passwords(made)
    kept = [f"{name}={value}" for name, value in before.items() if name != "ROTARY_REDIS_PASSWORD"]
    (made / ".env").write_text("\n".join(["COMPOSE_PROJECT_NAME=mine", *kept]) + "\n")
    run(made)
    after = passwords(made)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"ROTARY_REDIS_PASSWORD"}
    assert after["COMPOSE_PROJECT_NAME"] == "mine"


def test_neither_passwords_nor_their_hashes_can_be_committed() -> None:
    assert {".env", "infra/server/private/"} <= set((ROOT / ".gitignore").read_text().splitlines())
