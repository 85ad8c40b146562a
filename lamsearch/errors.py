"""The errors that this package raises on purpose, each one clear line.

    LamsearchError           anything below; the command line prints it without a traceback
    ├── SettingsError        wrong usage or configuration (exit status 2)
    │   └── PromptError      a prompt file that cannot be read
    ├── RewardError          a reward that cannot be loaded, or scores that break its contract
    ├── StudyError           a study that cannot be opened, resumed or found
    │   └── TakenOverError   an evaluation that another worker has taken over
    ├── EvaluationError      images could not be generated or scored at some λ
    │   └── NoScoreError     a λ cannot be scored
    └── ExportError          an export cannot be written

Everything but `SettingsError` ends the command line with exit status 1.
"""

from __future__ import annotations


class LamsearchError(Exception):
    """Base class of every error that lamsearch raises on purpose."""


class SettingsError(LamsearchError):
    """Wrong usage or configuration: what the user wrote has to change."""


class PromptError(SettingsError):
    """A prompt file is missing, empty or malformed."""


class RewardError(LamsearchError):
    """A reward cannot be loaded, or its scores are not what a reward must return."""


class StudyError(LamsearchError):
    """A study cannot be opened, resumed or found."""


class TakenOverError(StudyError):
    """Another worker has taken an evaluation over; it is no longer this one's."""


class EvaluationError(LamsearchError):
    """Images could not be generated or scored."""


class NoScoreError(EvaluationError):
    """A λ cannot be scored: most of its images are missing, or its mixture does not exist.

    Attributes:
        lam: That λ.
    """

    def __init__(self, message: str, lam: float) -> None:
        super().__init__(message)
        self.lam = lam

    def __reduce__(self) -> tuple[type[NoScoreError], tuple[str, float]]:
        """Let the error be sent from one process to another, with its λ."""
        return type(self), (str(self), self.lam)


class ExportError(LamsearchError):
    """An export cannot be written, as where the disk is full."""


def first_line(error: BaseException) -> str:
    """Return the first line of a library's error message, which may go on for many."""
    return next(iter(message_of(error).strip().splitlines()), type(error).__name__)


def described(error: BaseException) -> str:
    """Return the class of an error and the first line of its message."""
    line, name = first_line(error), type(error).__name__
    return name if line == name else f"{name}: {line}"


def message_of(error: BaseException) -> str:
    """Return an error's message; none where it raises itself when it is asked for it."""
    try:
        return str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as another:
        return f"(its message cannot be shown: {type(another).__name__})"
