"""Sphinx configuration. Build with `sphinx-build -W --keep-going -b html docs docs/_build/html`.

The build needs no network: formulas are rendered by the KaTeX in `_static/katex`, no inventory of
another project is fetched, and the notebooks run on the bundled miniature world.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "lamsearch"
author = "the lamsearch developers"
project_copyright = author
release = installed_version("lamsearch")
version = release

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "build_figures",
    "cited_equations",
    "katex_math",
    "command_line_reference",
    "field_reference",
    "json_reference",
    "pipeline_table",
]

default_role = "code"  # single backticks in docstrings
exclude_patterns = ["_build", "_static/katex/README.md", "**/.ipynb_checkpoints"]

# MyST and notebooks
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3
myst_update_mathjax = False
nb_execution_mode = "force"  # a cache would not notice that the package has changed
nb_execution_timeout = 120
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_ipywidgets_js: dict[str, object] = {}
nb_merge_streams = True
nb_output_stderr = "remove"  # progress bars of libraries

# The reference of the Python packages
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autodoc_type_aliases = {"ArrayLike": "ArrayLike", "Scores": "Scores"}
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80

# HTML
html_theme = "pydata_sphinx_theme"
html_title = f"lamsearch {release}"
html_static_path = ["_static"]
html_css_files = ["lamsearch.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "navbar_align": "left",
    "show_prev_next": True,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "default",
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {"index": []}
copybutton_prompt_text = "$ "
copybutton_exclude = ".linenos, .gp, .go"


LONG = 8

_LINKED = ("Surrogate", "Summary")
"""Classes of lamsearch with an entry in the reference of their own."""


def _shorter_signature(
    app: Any,
    what: str,
    name: str,
    obj: Any,
    options: Any,
    signature: str | None,
    returns: str | None,
) -> tuple[str, str | None] | None:
    """Drop the signature of a protocol, and of a dataclass of many fields, listed below it."""
    is_long = dataclasses.is_dataclass(obj) and len(dataclasses.fields(obj)) > LONG
    if what == "class" and (is_long or getattr(obj, "_is_protocol", False)):
        return "", ""
    if signature is None:
        return None
    # `autodoc_type_aliases` keeps the names of aliases, but wraps them.
    return re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", signature), returns


def _shorter_types(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Leave the modules out of the types of attributes, in place, where no link needs them."""
    for number, line in enumerate(lines):
        if line.lstrip().startswith(":vartype"):
            lines[number] = re.sub(
                r"lamsearch\.(?:\w+\.)+(\w+)",
                lambda found: found[0] if found[1] in _LINKED else found[1],
                line,
            )


def setup(app: Any) -> None:
    """Connect to autodoc; types are shortened after napoleon has written them."""
    app.connect("autodoc-process-signature", _shorter_signature)
    app.connect("autodoc-process-docstring", _shorter_types, priority=900)
