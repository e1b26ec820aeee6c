"""Great Expectations' Data Docs as static pages that ask nothing of any other machine."""

from __future__ import annotations

import re
import shutil
import tempfile
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

# What the pages pull from elsewhere: Bootstrap, jQuery, icons, charts, pictures. The content is
# all in the HTML; a small stylesheet of our own gives it a form, and `details` need no script.
_LOADED = re.compile(
    r"<script\b[^>]*>.*?</script>|<link\b[^>]*>|<iframe\b.*?</iframe>|<img\b[^>]*>",
    re.DOTALL | re.IGNORECASE,
)
_ELSEWHERE = re.compile(r"""\b(href|src|action)=(["'])(?:https?:)?//[^"']*\2""", re.IGNORECASE)
_URL = re.compile(r"""@import[^;]*;|url\((["']?)(?:https?:)?//[^)]*\)""", re.IGNORECASE)
STYLE = Path(__file__).with_name("docs.css")


def write_docs(context: Any, folder: Path, described: dict[str, str]) -> None:
    """The pages of what `context` validated, in place of what `folder` held; suites by name are
    `described` on the first."""
    with tempfile.TemporaryDirectory() as built:
        context.add_data_docs_site(
            site_name="daybook",
            site_config={
                "class_name": "SiteBuilder",
                "show_how_to_buttons": False,
                "store_backend": {
                    "class_name": "TupleFilesystemStoreBackend",
                    "base_directory": built,
                },
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            },
        )
        context.build_data_docs(site_names=["daybook"])
        style = f"<style>{STYLE.read_text(encoding='utf-8')}</style>"
        for file in [path for path in Path(built).rglob("*") if path.is_file()]:
            if file.suffix == ".html":
                file.write_text(offline(file.read_text(encoding="utf-8"), style), encoding="utf-8")
            else:
                file.unlink()
        Path(built, "index.html").write_text(
            _index(Path(built), style, described), encoding="utf-8"
        )
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(built, folder)


def _index(built: Path, style: str, described: dict[str, str]) -> str:
    """A list in place of the library's own index, which a script fills."""
    lines = [
        f'<li><a href="{quote(str(page.relative_to(built)))}">{escape(name)}</a>: '
        f"{escape(described.get(name, ''))}</li>"
        for page in sorted(built.glob("validations/**/*.html"))
        for name in [page.relative_to(built).parts[1]]
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Checks</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{style}</head>'
        '<body><p><a href="../run.html">The newest run</a></p><h1>Checks of the last day</h1>'
        f"<p>As Great Expectations shows them, one page a suite.</p><ul>{''.join(lines)}</ul>"
        "</body></html>"
    )


def offline(page: str, style: str = "") -> str:
    """A page without scripts, pictures, styles and links that are on other machines."""
    page = _LOADED.sub("", page)
    page = _ELSEWHERE.sub("", page)
    page = _URL.sub("", page)
    head = '<meta name="viewport" content="width=device-width, initial-scale=1">' + style
    page = re.sub(r"<html\b[^>]*>", '<html lang="en">', page, count=1)
    return page.replace("</head>", f"{head}</head>", 1)
