"""What both command lines share: how errors end a command, and which exit codes there are."""

from typing import Any

import click

from .errors import InvalidSetting, SyncError

FAILED = 1
WRONG_USAGE = 2
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


class WrongUsage(Failed):
    """A flag or environment variable is missing, or of no use."""

    exit_code = WRONG_USAGE


class Cli(click.Group):
    """A group whose commands end in one line and the right exit code when something is wrong."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SyncError as error:
            raise _failure(error)(f"{error} [{error.code}]") from error


def _failure(error: SyncError) -> type[Failed]:
    if isinstance(error, InvalidSetting):
        return WrongUsage
    return TryLaterFailed if error.retryable else Failed
