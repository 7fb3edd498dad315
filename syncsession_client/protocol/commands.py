"""What both command lines share: how errors end a command, and which exit codes there are."""

from typing import Any

import click

from .errors import SyncError

FAILED = 1
TRY_LATER = 75  # EX_TEMPFAIL of sysexits.h: the same command may succeed later


class Failed(click.ClickException):
    """The command failed; doing it again as it is will not help."""

    exit_code = FAILED

    def show(self, file: Any = None) -> None:
        """One line on stderr."""
        click.echo(f"Error: {self.message}", file=file, err=True)


class TryLaterFailed(Failed):
    """The command failed for now."""

    exit_code = TRY_LATER


class Cli(click.Group):
    """A group whose commands end in one line and the right exit code when something is wrong."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SyncError as error:
            failure = TryLaterFailed if error.retryable else Failed
            raise failure(f"{error} [{error.code}]") from error
