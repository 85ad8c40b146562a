"""Addresses of reward servers: which are accepted, and how they are shown."""

from urllib.parse import urlsplit


def url_problem(url: str) -> str | None:
    """Return what is wrong with a server's URL, or None."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"which is no URL: {error}"
    if parts.scheme not in ("http", "https") or not host:
        return "expected http://HOST:PORT or https://HOST, with a path if the scorer has one"
    if parts.username is not None or parts.password is not None:
        return "expected it without a user; name an environment variable in 'headers' instead"
    if parts.query or parts.fragment or not (url.isascii() and url.isprintable()) or " " in url:
        return "expected it without query, fragment, spaces and special characters"
    return None


def redacted_url(url: str) -> str:
    """Return the URL without user, password and query."""
    address = url.partition("?")[0].partition("#")[0]
    scheme, mark, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    return scheme + mark + host.rpartition("@")[2] + slash + path
