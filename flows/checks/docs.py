"""Great Expectations' Data Docs as static pages that load nothing from other machines."""

from __future__ import annotations

import re
import shutil
from html import escape
from pathlib import Path
from typing import Any

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
STYLE = Path(__file__).with_name("docs.css")


def write_docs(validations: dict[str, Any], folder: Path) -> None:
    """Write a page for each suite's validation, by the suite's name, and an index. What `folder`
    held is deleted."""
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view.view import DefaultJinjaPageView

    renderer: Any = ValidationResultsPageRenderer()
    view: Any = DefaultJinjaPageView()
    style = f"<style>{STYLE.read_text(encoding='utf-8')}</style>"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    listed = ""
    for name, validation in validations.items():
        page = view.render(renderer.render(validation))
        (folder / f"{name}.html").write_text(offline(page, style), encoding="utf-8")
        about = escape(validation.meta["description"])
        listed += f'<li><a href="{name}.html">{name}</a>: {about}</li>'
    index = (
        '<!doctype html><html><head><meta charset="utf-8"><title>Checks</title></head><body>'
        '<p><a href="../run.html">The newest run</a></p><h1>Checks of the last day</h1>'
        f"<p>As Great Expectations shows them, one page a suite.</p><ul>{listed}</ul></body></html>"
    )
    (folder / "index.html").write_text(offline(index, style), encoding="utf-8")


def offline(page: str, style: str = "") -> str:
    """The page without the scripts, pictures, styles and links of other machines."""
    for elsewhere in (_LOADED, _ELSEWHERE, _URL):
        page = elsewhere.sub("", page)
    page = re.sub(r'href="(\.\./)+index\.html"', 'href="index.html"', page)
    head = '<meta name="viewport" content="width=device-width, initial-scale=1">' + style
    page = re.sub(r"<html\b[^>]*>", '<html lang="en">', page, count=1)
    return page.replace("</head>", f"{head}</head>", 1)
