"""Great Expectations' Data Docs as static pages that load nothing from other machines."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from loaders import process

# What the pages load from elsewhere: Bootstrap, jQuery, icons, charts, pictures. All content is in
# the HTML; our own small stylesheet lays it out, and `details` need no script.
_LOADED = re.compile(
    r"<script\b[^>]*>.*?</script>|<link\b[^>]*>|<iframe\b.*?</iframe>|<img\b[^>]*>",
    re.DOTALL | re.IGNORECASE,
)
_ELSEWHERE = re.compile(
    r"""\b(href|src|action)=(["'])((https?:)?//|(\.\./)+expectations/)[^"']*\2""", re.IGNORECASE
)
_URL = re.compile(r"""@import[^;]*;|url\((["']?)(?:https?:)?//[^)]*\)""", re.IGNORECASE)
VERDICTS = "verdicts.json"
STYLE = Path(__file__).with_name("docs.css")


class Page(NamedTuple):
    """A suite's name, what it is about, and its page as HTML."""

    name: str
    about: str
    html: str


def renderer() -> Callable[[Any], str]:
    """What makes the page of a validation. Suite's `description` and run are in its meta."""
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view.view import DefaultJinjaPageView

    content: Any = ValidationResultsPageRenderer()
    view: Any = DefaultJinjaPageView()  # it keeps its templates compiled: one for all pages
    return lambda validation: offline(view.render(content.render(validation)))


def write_docs(pages: list[Page], key: str, verdicts: Any, folder: Path) -> None:
    """Write the pages and an index, and the verdicts for `known`. What `folder` held is deleted."""
    (folder / VERDICTS).unlink(missing_ok=True)  # first: they stand for pages that are there
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.parent.exists():
        process.private_folder(folder.parent)
    folder.mkdir()
    listed = ""
    for page in pages:
        (folder / f"{page.name}.html").write_text(page.html, encoding="utf-8")
        listed += f'<li><a href="{page.name}.html">{page.name}</a>: {escape(page.about)}</li>'
    index = (
        '<!doctype html><html><head><meta charset="utf-8"><title>Checks</title></head><body>'
        '<p><a href="../run.html">The newest run</a></p><h1>Checks of the last day</h1>'
        "<p>As Great Expectations shows them, a page a suite, with the run that was judged: a later"
        " run that finds the same rows has the same verdicts, and isn't judged anew.</p>"
        f"<ul>{listed}</ul></body></html>"
    )
    (folder / "index.html").write_text(offline(index), encoding="utf-8")
    if all(verdict["result"] for suite in verdicts for verdict in suite):  # all were evaluated
        (folder / VERDICTS).write_text(json.dumps({key: verdicts}), encoding="utf-8")


def known(key: str, folder: Path) -> Any:
    """The verdicts that `folder` shows if their key is this one, else None: to load Great
    Expectations takes longer than the checks of a day that has nothing new."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads((folder / VERDICTS).read_bytes()).get(key)
    return None


def offline(page: str) -> str:
    """The page in our own style, without what other machines have: scripts, pictures, links."""
    for elsewhere in (_LOADED, _ELSEWHERE, _URL):
        page = elsewhere.sub("", page)
    page = re.sub(r'href="(\.\./)+index\.html"', 'href="index.html"', page)
    head = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<style>{STYLE.read_text(encoding='utf-8')}</style>"
    page = re.sub(r"<html\b[^>]*>", '<html lang="en">', page, count=1)
    return page.replace("</head>", f"{head}</head>", 1)
