"""The commands of the command line, a module each.

`add_flags(parser)` says what a command takes, `run(options)` does it. A module is imported only for
its own command, and imports only what that needs.
"""

from __future__ import annotations

from types import MappingProxyType

COMMANDS: MappingProxyType[str, tuple[str, str]] = MappingProxyType(
    {
        "run": ("run", "search λ, or resume a search"),
        "agree": ("agree", "measure how far β/λ can be trusted, by a family of anchors"),
        "launch": ("launch", "print a job file that starts workers of one study on a cluster"),
        "show": ("show", "print the answer of a study"),
        "vote": ("vote", "let people vote on pairs of a study's images"),
        "advise": ("advise", "say what to do with an answer, and what that costs"),
        "plot": ("plot", "draw the curve and the images of a study"),
        "report": ("report", "write a study as one page of HTML, to look at and to share"),
        "dashboard": ("dashboard", "show the studies of a storage in optuna-dashboard"),
        "sample": ("sample", "draw a strip of images over λ, of the same seeds"),
        "export": ("export", "write λ* as a folder that other programs load"),
        "init": ("init", "write a first lamsearch.toml from the models that are there"),
        "doctor": ("doctor", "check an installation and its settings before a search"),
        "list": ("listing", "list the studies of a storage"),
        "export-study": ("export_study", "write a study into a file, to keep or to move"),
        "import": ("import_study", "put the studies of such a file into a storage"),
    }
)
"""Name of a command → its module, and a sentence."""
