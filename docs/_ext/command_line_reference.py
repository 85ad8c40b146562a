"""The directive `command-line`: the commands of an argparse parser with all their options.

The parser's flags, choices and help come from the pydantic fields of the configuration, so this
page is generated from these and cannot differ from `--help`.

Its argument names the function that builds the parser: `lamsearch.cli:build_parser`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from typing import Any

from docutils import nodes
from option_tables import load, prose, table
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class CommandLine(SphinxDirective):
    """A section per command, in it a table per group of options."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        parser: argparse.ArgumentParser = load(self.arguments[0])()
        text = "\n".join(line for each in _commands(parser) for line in _command(*each))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def _commands(
    parser: argparse.ArgumentParser,
) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """Yield the name, the sentence and the parser of every command."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            sentences = {each.dest: each.help or "" for each in action._choices_actions}
            for name, command in action.choices.items():
                yield name, sentences.get(name, ""), command


def _command(name: str, sentence: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the Markdown of one command: what is in no group of its own comes first."""
    yield f"## lamsearch {name}\n"
    yield f"{_sentence(sentence)}\n"
    unnamed = (parser._positionals, parser._optionals)
    yield from _table(parser, [a for group in unnamed for a in group._group_actions])
    for group in parser._action_groups:
        if group not in unnamed and group._group_actions:
            yield f"### {(group.title or 'options').capitalize()}\n"
            yield from _table(parser, group._group_actions)


def _table(parser: argparse.ArgumentParser, actions: Sequence[argparse.Action]) -> Iterator[str]:
    """Yield a table with a row per option, if there is any."""
    rows = []
    for action in actions:
        if not _is_help(action):
            sentence, default = _help(parser, action)
            rows.append((_flags(action), _default(action, default), prose(_sentence(sentence))))
    if rows:
        yield table(("option", "default", "meaning"), (32, 14, 54), rows)


def _is_help(action: argparse.Action) -> bool:
    return isinstance(action, argparse._HelpAction)


def _flags(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"`{_metavar(action)}`"
    takes = "" if action.nargs == 0 else f" {_metavar(action)}"
    return ", ".join(f"`{flag}{takes}`" for flag in action.option_strings)


def _metavar(action: argparse.Action) -> str:
    if isinstance(action.metavar, tuple):
        return " ".join(action.metavar)
    if action.metavar:
        return action.metavar
    choices = [str(choice) for choice in action.choices or ()]
    return "|".join(choices) if choices else action.dest.upper()


def _default(action: argparse.Action, default: str) -> str:
    if action.required:
        return "required"
    if ", " in default:  # a description rather than a value
        return default
    return f"`{default}`" if default else "–"


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> tuple[str, str]:
    """Return an option's sentence, and its default, which the help has in brackets at its end."""
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    match = re.fullmatch(r"(.*?)\s*\[([^\[\]]*)\]", text)
    return (match[1], match[2]) if match else (text, "")


def _sentence(text: str) -> str:
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if not text or text.endswith((".", "?", "!")) else ".")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("command-line", CommandLine)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
