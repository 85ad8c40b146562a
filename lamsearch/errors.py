"""The errors that this package raises on purpose, each one clear line.

    LamsearchError           anything below; the command line prints it without a traceback
    ├── SettingsError        wrong usage or configuration (exit status 2)
    │   └── PromptError      a prompt file that cannot be read
    ├── RewardError          a reward that cannot be loaded, or scores that break its contract
    ├── StudyError           a study that cannot be opened, resumed or found
    └── EvaluationError      images could not be generated or scored at some λ
        └── NoScoreError     all scores of a λ are missing

Everything but `SettingsError` ends the command line with exit status 1.
"""


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


class EvaluationError(LamsearchError):
    """Images could not be generated or scored."""


class NoScoreError(EvaluationError):
    """All scores of a λ are missing.

    Attributes:
        lam: That λ.
    """

    def __init__(self, message: str, lam: float) -> None:
        super().__init__(message)
        self.lam = lam


def first_line(error: Exception) -> str:
    """Return the first line of a library's error message, which may go on for many."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
