"""Reports as self-contained HTML: view models as plain data, geometry, and jinja2 templates."""
