"""How often the embedded classifier warns of another language: by language, and on English texts.

``FOLDER`` has families of texts as ``main.py evaluate --suite`` reads them; rows of English texts have no ``language``.
Only the split ``test`` is used; the rules were made on the other splits::

    python -m benchmarks.languages FOLDER films.jsonl.gz
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from benchmarks.measure import table
from similarity.encoders.minilm import language_warnings
from similarity.encoders.tokens import cut, plainly_english
from tabular import strict_rows

_ENGLISH = "en"
_START, _END = "text appears to be ", "; "


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.argument("tables", type=click.Path(path_type=Path, exists=True), nargs=-1)
@click.option("--examples", default=0, help="English texts with a warning to print, per family.")
def main(folder: Path, tables: Sequence[Path], examples: int) -> None:
    """Print the share of texts with a warning, and what most of the warnings say.

    TABLES are further English texts, in the column ``description``.
    """
    rows = []
    for family, language, texts in (*_families(folder), *((path.name, _ENGLISH, _described(path)) for path in tables)):
        read = cut(texts)
        warnings = [language_warnings(text) for text in read]
        found = Counter(one.removeprefix(_START).partition(_END)[0] for warned in warnings for one in warned)
        shares = (sum(map(bool, warnings)) / len(read), sum(map(plainly_english, read)) / len(read))
        most = ", ".join(f"{name} {count}" for name, count in found.most_common(2))
        rows.append((family, language, f"{len(read):,}", *(f"{share:.2%}" for share in shares), most))
        if language == _ENGLISH:
            for text in [text for text, warned in zip(texts, warnings, strict=True) if warned][:examples]:
                click.echo(f"{family}: {text[:100]}")
    click.echo(table(("texts of", "language", "texts", "with a warning", "plainly English", "said to be"), rows))


def _families(folder: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Name, language and texts of every family; once for each of its languages."""
    for path in sorted(folder.glob("*.jsonl.gz")):
        by_language: dict[str, list[str]] = {}
        for row in strict_rows(path):
            if row.cells.get("split") == "test":
                by_language.setdefault(str(row.cells.get("language") or _ENGLISH), []).append(str(row.cells["text"]))
        for language, texts in sorted(by_language.items()):
            yield path.name.partition(".")[0], language, texts


def _described(path: Path) -> list[str]:
    return [str(text) for row in strict_rows(path) if (text := row.cells.get("description"))]


if __name__ == "__main__":
    main()
