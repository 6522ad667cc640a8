"""Say hello from somebody else's package."""

import click


@click.command("acme-hello")
def command() -> None:
    """Say hello."""
    click.echo("hello from acme")
