"""Films for tests: as many as wanted, every text different, neighbours sharing words."""

from __future__ import annotations

from similarity.index.catalog import Film

GENRES = ("Drama", "Comedy", "War")


def film(number: int, **other: object) -> Film:
    text = f"w{number % 17} w{number % 23} w{number % 101} own{number}"
    fields = {"title": f"Film {number}", "year": 1950 + number % 70, "genres": (GENRES[number % 3],), "text": text}
    return Film(f"f{number}", **(fields | other))  # type: ignore[arg-type]


def films(count: int, start: int = 0) -> list[Film]:
    return [film(number) for number in range(start, start + count)]
