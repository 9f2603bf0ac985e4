"""Runs the installed package as if some libraries were not installed.

``hiding.py NAME,NAME ARGUMENT...`` runs the command line, ``hiding.py NAME,NAME -c PROGRAM`` a program.
"""

import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from typing import Any


class Hiding:
    """Finds what the present finders find, but for some modules.

    Args:
        names: ``flask``, ``opentelemetry.sdk``.
    """

    def __init__(self, names: set[str]) -> None:
        self._names, self._finders = names, list(sys.meta_path)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if self._names & {name.partition(".")[0], ".".join(name.split(".")[:2])}:
            return None
        found = (finder.find_spec(name, path, target) for finder in self._finders)
        return next((spec for spec in found if spec), None)

    def find_distributions(self, *arguments: Any) -> Iterator[Any]:
        for finder in self._finders:
            yield from getattr(finder, "find_distributions", lambda *arguments: ())(*arguments)


if __name__ == "__main__":
    sys.meta_path[:] = [Hiding(set(sys.argv[1].split(",")))]
    if sys.argv[2] == "-c":
        exec(sys.argv[3])
    else:
        from marquee.main import main  # type: ignore[import-not-found, unused-ignore]

        main(sys.argv[2:], prog_name="marquee")
