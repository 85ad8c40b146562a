"""A reward is code of others: whatever it raises is its error, in one line that names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lamsearch.errors import LamsearchError, RewardError, described


@contextmanager
def blamed_on(name: str, doing: str = "") -> Iterator[None]:
    """Turn what a reward's code raises into a `RewardError`, be it `SystemExit`.

    A `KeyboardInterrupt` stays what it is, and so does an error that lamsearch raises on purpose,
    but for the name.

    Args:
        name: Name of the reward.
        doing: When it was raised, such as "while it was loaded".

    Raises:
        RewardError: If anything else is raised; the error itself is its cause.
    """
    try:
        yield
    except RewardError as error:
        if name in str(error):
            raise
        raise RewardError(f"reward '{name}': {error}") from error
    except (KeyboardInterrupt, LamsearchError):
        raise
    except BaseException as error:
        when = f" {doing}" if doing else ""
        raise RewardError(f"reward '{name}': raised {described(error)}{when}") from error
