"""MkDocs hooks: the pages of ``docs/`` as GitHub shows them, and the files outside ``docs/`` that they link to.

The site has those files under ``repository/``. A folder becomes a page that lists its files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
COPIES = "repository"
_LINK = re.compile(r"(?<=\]\()[^)#\s]+|(?<=\bsrc=\")[^\"#]+|(?<=\bsrcset=\")[^\"#]+|(?<=\bhref=\")[^\"#]+")
_CODE = re.compile(r"^(\s*)(```+)(\w+) (\S+)$")
_ITEM = re.compile(r"(?:[-*]|\d+\.) ")


def on_config(config: Any) -> Any:
    """Give headings the anchors that GitHub gives them."""
    config.mdx_configs["toc"]["slugify"] = anchor
    return config


def anchor(heading: str, separator: str) -> str:
    """Lower case, without punctuation, a hyphen per space."""
    return re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", separator)


def on_files(files: Any, config: Any) -> Any:
    """Add every file outside ``docs/`` that a page links to, directly or through another such file."""
    from mkdocs.structure.files import File

    have = {file.src_uri for file in files}
    for target in sorted(linked_files()):
        uri = site_path(target)
        if uri not in have:
            content = {"content": listing(target)} if target.is_dir() else {"abs_src_path": str(target)}
            files.append(File.generated(config, uri, **content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Rewrite a page for Python-Markdown; links lead to the places of the site."""
    return for_site(markdown, page.file.src_uri)


def linked_files() -> set[Path]:
    """Files and folders that are reachable by links from the pages of ``docs/``, and the files of these folders."""
    found: set[Path] = set()
    waiting = list(DOCS.rglob("*.md"))
    while waiting:
        source = waiting.pop()
        for target in _targets(source):
            if target not in found:
                found.add(target)
                waiting.append(target)
    return found


def _targets(source: Path) -> Iterator[Path]:
    if source.is_dir():
        yield from (path for path in source.iterdir() if path.is_file() and path.name[0] not in "._")
    elif source.suffix == ".md":
        for line in prose(source.read_text(encoding="utf-8")):
            for link in _LINK.findall(line):
                target = resolved(link, source)
                if target and target.exists():
                    yield target


def resolved(link: str, source: Path) -> Path | None:
    """The file that a link of a source file means; None for addresses of other hosts."""
    if re.match(r"[a-z]+:|//", link):
        return None
    return Path(os.path.normpath(source.parent / link))


def site_path(target: Path) -> str:
    """Where the site has a file of the repository; a folder has its page there."""
    inside = target.is_relative_to(DOCS)
    path = PurePosixPath((target.relative_to(DOCS) if inside else COPIES / target.relative_to(ROOT)).as_posix())
    return str(path / "index.md" if target.is_dir() and target != DOCS else path)


def repository_path(uri: str) -> Path:
    """The file that a page of the site comes from; for the page of a folder, ``index.md`` in it."""
    path = PurePosixPath(uri)
    return ROOT / path.relative_to(COPIES) if path.is_relative_to(COPIES) else DOCS / path


def listing(folder: Path) -> str:
    """The page of a folder: its files as links."""
    names = sorted(path.name for path in _targets(folder))
    return "\n".join([f"# {folder.relative_to(ROOT).as_posix()}", "", *(f"- [{name}]({name})" for name in names)])


def prose(markdown: str) -> Iterator[str]:
    """The lines outside code blocks; an empty line for each line of code."""
    fence = ""
    for line in markdown.splitlines():
        mark = re.match(r"\s*(```+)", line)
        inside = bool(fence)
        if mark and not fence:
            fence = mark[1]
        elif mark and line.strip() == fence:
            fence = ""
        yield "" if inside or mark else line


def for_site(markdown: str, uri: str) -> str:
    """The Markdown of a page as Python-Markdown reads it like GitHub: links, titles of code blocks, lists."""
    source = repository_path(uri)
    lines: list[str] = []
    for line, outside in zip(markdown.splitlines(), prose(markdown), strict=True):
        if outside:
            if _ITEM.match(line) and lines and lines[-1] and not re.match(rf"\s|{_ITEM.pattern}", lines[-1]):
                lines.append("")  # GitHub starts a list below a paragraph without an empty line
            line = _LINK.sub(lambda link: _moved(link[0], source, uri), line)
        lines.append(_CODE.sub(r'\1\2\3 title="\4"', line))
    return "\n".join(lines)


def _moved(link: str, source: Path, uri: str) -> str:
    target = resolved(link, source)
    if target is None or not target.exists() or not target.is_relative_to(ROOT):
        return link
    return os.path.relpath(site_path(target), PurePosixPath(uri).parent).replace(os.sep, "/")
