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
    if os.environ.get("DATABASE_URL"):
        return _database_url()
    return uri_without_password()


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
    if is_embedded():
        return embedded()
    import psycopg
    from psycopg.conninfo import conninfo_to_dict
    from psycopg.pq import Conninfo

    found = {
        option.keyword.decode(): option.val.decode()
        for option in Conninfo.get_defaults()
        if option.val
    }
    try:
        found |= {k: str(v) for k, v in conninfo_to_dict(conninfo()).items() if v}
    except psycopg.Error:
        raise WarehouseError("DATABASE_URL can't be read as a PostgreSQL URI.") from None
    found.setdefault("host", found.get("hostaddr", ""))
    found.setdefault("dbname", found.get("user", ""))
    return {name: found[name] for name in SHOWN if found.get(name)}


def conninfo() -> str:
    """What libpq is given: DATABASE_URL, or nothing, so that it reads its own variables."""
    return _database_url() if os.environ.get("DATABASE_URL") else ""


def _database_url() -> str:
    scheme, separator, rest = os.environ["DATABASE_URL"].partition("://")
    if not separator or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise WarehouseError("DATABASE_URL must begin with postgresql:// (or postgres://).")
    return f"postgresql://{rest}"


def embedded() -> dict[str, str]:
    from loaders import server

    return server.address(home())
