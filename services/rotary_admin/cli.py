"""`rotary-admin`: the root command, which brings all others together."""

import click

from rotary import __version__
from rotary.runtime import logs
from rotary_admin.commands import (
    caller_id,
    cooldown,
    customer,
    definitions,
    dialer,
    group,
    import_export,
    log,
    member,
    migrate,
    parked,
    rebuild,
    token,
    upgrade,
    user,
)
from rotary_admin.output import AdminCommandLine

COMMANDS: tuple[click.Command, ...] = (
    migrate.migrate,
    import_export.import_file,
    import_export.export,
    customer.customer,
    group.group,
    caller_id.caller_id,
    member.member,
    token.token,
    user.user,
    dialer.dialer,
    cooldown.cooldown,
    parked.parked,
    log.log,
    rebuild.rebuild,
    upgrade.upgrade,
    definitions.definitions,
)


@click.group("rotary-admin", cls=AdminCommandLine, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rotary-admin")
def cli() -> None:
    """Manage the definitions, the tokens, the dialers and the logs of a Rotary installation.

    Commands read the servers' addresses from ROTARY_POSTGRES_URL, ROTARY_REDIS_URL, ROTARY_RABBITMQ_URL and
    ROTARY_MANAGEMENT_URL.
    """


for command in COMMANDS:
    cli.add_command(command)


def main() -> None:
    """The console script."""
    logs.configure("WARNING")
    cli(prog_name="rotary-admin")
