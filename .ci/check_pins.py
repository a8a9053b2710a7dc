"""Check that resolving the dependencies gives exactly the versions that pyproject.toml pins.

Reads the resolution from standard input, as `uv export --no-hashes --no-annotate --no-header` prints it, and compares
it with the list constraint-dependencies under [tool.uv]. Prints what differs, and exits with 1 if anything does.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def versions(requirements: Iterable[str], where: str) -> dict[str, set[str]]:
    """Versions of every package; more than one where they depend on the interpreter."""
    found: dict[str, set[str]] = {}
    for text in requirements:
        requirement = Requirement(text)
        exact = [specifier.version for specifier in requirement.specifier if specifier.operator == "=="]
        if len(exact) != 1 or len(requirement.specifier) != 1:
            raise SystemExit(f"{where}: {text!r} does not name exactly one version (name==version)")
        found.setdefault(canonicalize_name(requirement.name), set()).update(exact)
    return found


def main() -> None:
    """Compare, print the differences, and say by the exit code whether there are any."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
    pinned = versions(project["tool"]["uv"].get("constraint-dependencies", []), "constraint-dependencies")
    lines = [line.strip() for line in sys.stdin]
    resolved = versions((line for line in lines if line and not line.startswith(("#", "-e ", "."))), "resolution")
    if not resolved:
        raise SystemExit("the resolution on standard input is empty")
    differences = [
        f"  {name}: pinned {', '.join(sorted(pinned.get(name, {'nothing'})))}; "
        f"resolved {', '.join(sorted(resolved.get(name, {'nothing'})))}"
        for name in sorted(pinned.keys() | resolved.keys())
        if pinned.get(name) != resolved.get(name)
    ]
    if differences:
        print("constraint-dependencies in pyproject.toml is not what the dependencies resolve to:")
        print("\n".join(differences))
        raise SystemExit(1)
    print(f"{len(resolved)} packages, all at their pinned versions")


if __name__ == "__main__":
    main()
