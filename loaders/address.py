"""Where the warehouse is: DATABASE_URL, else the libpq variables (PGHOST or PGSERVICE, with the
rest), else the embedded server under DAYBOOK_HOME."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from loaders.errors import WarehouseError
from loaders.sources import PROJECT

SHOWN = {"host": "host", "port": "port", "dbname": "database", "user": "user"}


def home() -> Path:
    """DAYBOOK_HOME (a relative one is below the project), else `.daybook` in the project."""
    return PROJECT / (os.environ.get("DAYBOOK_HOME") or ".daybook")


def is_embedded() -> bool:
    """Whether the warehouse is our own server: nothing in the environment names another."""
    return not any(os.environ.get(n) for n in ("DATABASE_URL", "PGHOST", "PGHOSTADDR", "PGSERVICE"))


def uri() -> str:
    """The owner's URI. A password from DATABASE_URL is in it, one from PGPASSWORD is not."""
    return _database_url() if os.environ.get("DATABASE_URL") else uri_without_password()


def uri_without_password() -> str:
    found = target()
    parts = [f"{name}={quote(found[name], safe='/')}" for name in ("host", "port") if name in found]
    user = quote(found["user"], safe="") + "@" if found.get("user") else ""
    return f"postgresql://{user}/{quote(found.get('dbname', ''), safe='')}?{'&'.join(parts)}"


def where() -> str:
    """The warehouse in words: host, port, database and user."""
    found = target()
    said = [f"{label} {found[name]}" for name, label in SHOWN.items() if found.get(name)]
    return ", ".join(said) or "the local default server"


def target() -> dict[str, str]:
    """Host, port, dbname and user as libpq resolves them, its service file included."""
    from psycopg.pq import Conninfo

    given = {o.keyword.decode(): o.val.decode() for o in Conninfo.get_defaults() if o.val}
    found = given | {name: value for name, value in parameters().items() if value}
    found.setdefault("host", found.get("hostaddr", ""))
    found.setdefault("dbname", found.get("user", ""))
    return {name: found[name] for name in SHOWN if found.get(name)}


def parameters() -> dict[str, str]:
    """What libpq is given, by name: what DATABASE_URL says, or nothing, so that it reads its own
    variables; or the embedded server's address."""
    if is_embedded():
        from loaders import server

        return server.address(home())
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        found = conninfo_to_dict(_database_url() if os.environ.get("DATABASE_URL") else "")
    except psycopg.Error:
        raise WarehouseError("DATABASE_URL can't be read as a PostgreSQL URI.") from None
    return {name: str(value) for name, value in found.items() if value is not None}


def environment() -> dict[str, str]:
    """The environment in which PostgreSQL's programs find the warehouse: what is among a
    command's words, a password too, everybody sees."""
    from psycopg.pq import Conninfo

    names = {o.keyword.decode(): o.envvar.decode() for o in Conninfo.get_defaults() if o.envvar}
    given = {names[name]: value for name, value in parameters().items() if name in names}
    # They have no limit of their own: where nothing answers they would wait for ever.
    return {"PGCONNECT_TIMEOUT": "10", **os.environ, **given}


def _database_url() -> str:
    scheme, separator, rest = os.environ["DATABASE_URL"].partition("://")
    if not separator or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise WarehouseError("DATABASE_URL must begin with postgresql:// (or postgres://).")
    return f"postgresql://{rest}"
