"""What `dbd inspect` and `dbd prepare` make of damaged files: only an error that says what is wrong is allowed.

    uv run benchmarks/damaged_files.py                    # the test inputs (DBD_SHARED_DATA, else ../shared/data)
    uv run benchmarks/damaged_files.py FOLDER --trials 50 # any folder of files that can be read, a quick look

Of every file, or folder of zarr or Cell Ranger, that can be read: copies cut at every tenth of their length; copies
with a single byte changed (`--trials` in all; half of the places are drawn from the first 8 kB, where HDF5 keeps what
it needs to find the rest); and each column of obs taken for the perturbation, the context and the batch. Each is
inspected, and prepared as `dbd inspect` proposes for the whole file. A trial runs in a process of its own, since HDF5
may crash or hang; what ends in a traceback, by a signal or not in time is printed, and how often each happened.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import re
import resource
import shlex
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

METADATA = 8192  # bytes at the start of a file
LARGEST = 16 * 2**30  # bytes of memory that a trial may ask for
READ, REFUSED = "read", "refused"
GROUPS = ("--context-key", "--batch-key")


@dataclass(frozen=True)
class Trial:
    """One command on one copy of a file."""

    source: Path
    what: str  # for a reader
    command: tuple[str, ...]  # arguments of `dbd`, FILE for the copy
    cut: int | None = None  # the length that is left; of a folder, in the order of its files
    changed: tuple[Path, int, int] | None = None  # a file of a folder, position of a byte there, bits that change


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    how: str  # read, refused, traceback, signal N, or hang
    message: str
    seconds: float


def run(trial: Trial, timeout: float) -> Outcome:
    """Run a trial in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), trial.source
        if trial.cut is not None or trial.changed is not None:
            path = folder / trial.source.name
            # With the rights of new files: the source may be read-only.
            if trial.source.is_dir():
                shutil.copytree(trial.source, path, copy_function=shutil.copyfile)
            else:
                shutil.copyfile(trial.source, path)
            damage(path, trial)
        arguments = [str(path) if word == "FILE" else word for word in trial.command]
        process = multiprocessing.get_context("fork").Process(target=call, args=(arguments, folder))
        start = time.perf_counter()
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
            return Outcome("hang", f"not done after {timeout:g} s", time.perf_counter() - start)
        seconds, code = time.perf_counter() - start, process.exitcode or 0
        said = (folder / "stderr").read_text(errors="replace").strip()
        how = {0: READ, 2: REFUSED}.get(code, "traceback") if code >= 0 else f"signal {-code}"
        # Names of temporary folders differ from run to run.
        return Outcome(how, said.replace(f"{folder}/", ""), seconds)


def damage(path: Path, trial: Trial) -> None:
    """Cut a copy, or change one of its bytes."""
    if trial.cut is not None:
        left = trial.cut
        for part in parts(path):
            size = (path / part).stat().st_size
            # What an interrupted transfer of a folder has not come to is missing.
            (path / part).unlink() if left == 0 and path.is_dir() else os.truncate(path / part, min(left, size))
            left -= min(left, size)
    if trial.changed is not None:
        part, position, bits = trial.changed
        with (path / part).open("r+b") as file:
            file.seek(position)
            byte = file.read(1)[0]
            file.seek(position)
            file.write(bytes([byte ^ bits]))


def call(arguments: list[str], folder: Path) -> None:
    """Run `dbd` in this process, with what it prints in files."""
    from diversity_by_design.commands import app

    resource.setrlimit(resource.RLIMIT_AS, (LARGEST, LARGEST))
    for stream, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o600), stream)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    os.environ["DBD_DATA_DIR"] = str(folder / "data")
    app(arguments)


def load() -> None:
    """Import what trials need, once for all of them."""
    import anndata.io  # noqa: F401
    import scanpy  # noqa: F401
    import zarr  # noqa: F401

    from diversity_by_design.datasets import inspection, loading  # noqa: F401


def readable_files(folder: Path) -> Iterator[Path]:
    """Files, and folders that are read as one, whose form is known."""
    from diversity_by_design.datasets.formats import form_of
    from diversity_by_design.errors import InputError

    for path in sorted(folder.iterdir()):
        try:
            form_of(path)
        except InputError:
            if path.is_dir():
                yield from readable_files(path)
        else:
            yield path


def trials_of(paths: list[Path], n_changes: int, seed: int) -> Iterator[Trial]:
    """All trials of some files."""
    commands = {path: commands_of(path) for path in paths}
    for path in paths:
        size = sum((path / part).stat().st_size for part in parts(path))
        for tenth in range(10):
            for command in commands[path]:
                yield Trial(path, f"cut at {tenth}/10", command, cut=size * tenth // 10)
    rng = np.random.default_rng(seed)
    for number in range(n_changes):
        path = paths[number % len(paths)]
        choices = [part for part in parts(path) if (path / part).stat().st_size]
        part = choices[rng.integers(len(choices))]
        size = (path / part).stat().st_size
        position = int(rng.integers(size if rng.random() < 0.5 else min(size, METADATA)))
        bits = int(rng.integers(1, 256))
        where = f"byte {position}" + (f" of {part}" if path.is_dir() else "")
        for command in commands[path]:
            yield Trial(path, f"{where} ^ {bits}", command, changed=(part, position, bits))
    for path in paths:
        yield from column_trials(path, commands[path])


def parts(path: Path) -> list[Path]:
    """Files of a folder, relative to it; of a file, itself."""
    if not path.is_dir():
        return [Path()]
    return sorted(file.relative_to(path) for file in path.rglob("*") if file.is_file())


def commands_of(path: Path) -> list[tuple[str, ...]]:
    """To inspect a file, and to prepare it in the way that inspecting it proposes."""
    from diversity_by_design.datasets.inspection import inspect_file
    from diversity_by_design.errors import InputError

    try:
        options = shlex.split(inspect_file(path).command)[3:]
    except InputError:
        options = []
    return [("inspect", "FILE"), ("prepare", "FILE", *options)]


def column_trials(path: Path, commands: list[tuple[str, ...]]) -> Iterator[Trial]:
    """Each column of obs for the perturbation (its most frequent value for control), the context and the batch."""
    from diversity_by_design.datasets.reading import CellFile
    from diversity_by_design.errors import InputError
    from diversity_by_design.labels import labels_as_text

    try:
        with CellFile(path, any_modality=True) as file:
            obs, modality = file.obs, file.modality
    except InputError:
        return
    few = ("--cells-per-perturbation", "2")
    chosen = () if modality is None else ("--modality", modality)
    for name in obs:
        frequent = labels_as_text(obs[name]).value_counts()
        control = () if frequent.empty else ("--control-label", str(frequent.index[0]), *few)
        plain = ("prepare", "FILE", *chosen, "--perturbation-key", name)
        # Later options replace earlier ones.
        for command in (plain, (*plain, *control), *((*commands[1], option, name, *few) for option in GROUPS)):
            yield Trial(path, f"column {name!r}", command)


def main() -> None:
    """Run all trials; exit code 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = os.environ.get("DBD_SHARED_DATA", Path(__file__).parents[1].parent / "shared" / "data")
    parser.add_argument("folder", type=Path, nargs="?", default=Path(given))
    parser.add_argument("--trials", type=int, default=500, help="copies with one byte changed, in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=120, help="seconds that a trial may take")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--log", type=Path, help="CSV file for all trials, with the messages")
    options = parser.parse_args()

    paths = list(readable_files(options.folder.resolve()))
    trials = list(trials_of(paths, options.trials, options.seed))
    print(f"{len(paths)} files of {options.folder}: {len(trials):,} trials", flush=True)
    counts: Counter[tuple[str, str]] = Counter()
    rows = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, context, initializer=load) as pool:
        outcomes = pool.map(run, trials, [options.timeout] * len(trials))
        for trial, outcome in zip(trials, outcomes, strict=True):
            kind = "cut" if trial.cut is not None else "byte changed" if trial.changed else "columns"
            counts[kind, outcome.how] += 1
            rows.append((trial.source.name, trial.what, shlex.join(trial.command), outcome.how, *shown(outcome)))
            if outcome.how not in (READ, REFUSED):
                print(f"{trial.source.name}, {trial.what}: dbd {shlex.join(trial.command)}: {outcome.how}")
                print("  " + "\n  ".join(outcome.message.splitlines()[-4:]), flush=True)
    if options.log is not None:
        with options.log.open("w", newline="") as file:
            csv.writer(file).writerows([("file", "what", "command", "outcome", "seconds", "message"), *rows])
    for (kind, how), n in sorted(counts.items()):
        print(f"{kind}: {how} {n:,}")
    failed = sum(n for (_, how), n in counts.items() if how not in (READ, REFUSED))
    print(f"{failed} of {len(trials):,} failed")
    sys.exit(1 if failed else 0)


def shown(outcome: Outcome) -> tuple[str, str]:
    """Seconds and message, without what bars draw."""
    lines = [line for line in re.split(r"[\r\n]+", outcome.message) if line.strip() and "it/s]" not in line]
    return f"{outcome.seconds:.2f}", lines[-1] if lines else ""


if __name__ == "__main__":
    main()
