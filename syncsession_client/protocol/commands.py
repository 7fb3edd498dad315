"""What both command lines share: how errors end a command, and which exit codes there are."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from .errors import InvalidSetting, SyncError

FAILED = 1
WRONG_USAGE = 2
CANNOT_TELL = 3
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


class CannotTell(Failed):
    """The command has no verdict to give."""

    exit_code = CANNOT_TELL


class WronglyAsked(click.UsageError):
    """A command that gives a verdict is used wrongly."""

    exit_code = CANNOT_TELL


class Judge(click.Command):
    """A command whose exit codes 1 and 2 are verdicts: where it fails, or is used wrongly, it ends
    with 3, so that nobody takes the one for the other.
    """

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _no_verdict():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with _no_verdict():
            return super().invoke(ctx)


@contextmanager
def _no_verdict() -> Iterator[None]:
    try:
        yield
    except click.UsageError as error:
        raise WronglyAsked(error.format_message(), error.ctx) from error
    except SyncError as error:
        if error.retryable:
            raise
        raise CannotTell(f"{error} [{error.code}]") from error


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
