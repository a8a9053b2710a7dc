"""Simulation on an NVIDIA GPU: data sets drawn, added up and scored there, several at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from diversity_by_design.errors import InputError, whole_number
from diversity_by_design.running.executors.interface import Executor, Function, Outcome, Outcomes, attempt
from diversity_by_design.simulator.cells import Sums
from diversity_by_design.simulator.evaluation import METRICS
from diversity_by_design.simulator.truth import COUNTS, Floats, Integers, Seed, Truth, child

# Blocks of a launch: about as many as a large GPU runs at a time, so that none waits until another ends.
BLOCKS = 384
# Threads of a block, of kernels whose threads work together and of one whose threads do not; powers of two.
THREADS, LONE_THREADS = 256, 32
# Groups of cells are split so that about so many blocks have something to do, but not below so many cells.
_ROWS, _FEWEST_CELLS = 1024, 16
# Data sets on the GPU at a time, and bytes of its memory for each: table 1's largest takes about 420 MB.
IN_FLIGHT, _BYTES_EACH = 16, 2**29

# Kernels are compiled at their first launch, which is not safe in several threads at once.
_launching = threading.Lock()
_of_thread = threading.local()


def sums(truth: Truth, seed: Seed, parts: int = 1) -> Sums:
    """Draw all cells of a data set and add up their log1p expression by perturbation, or by `parts` of each.

    The same seed gives the same cells, though not those that it gives on the CPU.
    """
    drawn = _Drawn(truth, seed, parts)
    wanted = np.ix_(drawn.first_rows[:-1], np.argsort(drawn.order))
    total, total_sq = (drawn.space.download(array)[wanted] for array in (drawn.sums, drawn.sums_sq))
    return Sums(total[1:], total_sq[1:], total[0], total_sq[0], drawn.n_empty_cells())


def scores(truth: Truth, seed: Seed) -> tuple[Floats, int]:
    """Scores (perturbations, 12) as of `evaluation.evaluate`, and the number of cells without a count.

    Equals the evaluation of the statistics that `sums` returns, but for rounding; only the result leaves the GPU.
    """
    drawn = _Drawn(truth, seed)
    return drawn.scores(), drawn.n_empty_cells()


class DataSetsInFlight(Executor):
    """Tasks run in threads of this process, each of which prepares a data set while the GPU works on those of others.

    The order of the results differs from run to run, the results do not. By default 16 data sets are in flight, or as
    many as the free memory of the GPU holds at 512 MiB each.
    """

    def __init__(self, in_flight: int | None = None) -> None:
        cuda = _cuda()
        if in_flight is None:
            in_flight = max(1, int(min(IN_FLIGHT, cuda.current_context().get_memory_info().free // _BYTES_EACH)))
        self.in_flight = whole_number(in_flight, "in_flight", 1)

    def run(self, function: Function, tasks: Iterable[Any], *, shared: tuple = ()) -> Outcomes:
        """See `Executor.run`."""
        remaining = enumerate(tasks)
        running: dict[Future[Outcome], int] = {}
        pool = ThreadPoolExecutor(self.in_flight)
        try:
            while True:
                # As many more wait, so that no thread idles while results are put away.
                for index, task in islice(remaining, 2 * self.in_flight - len(running)):
                    running[pool.submit(attempt, function, task, shared)] = index
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        """Do nothing: threads end when `run` does."""


def _cuda() -> Any:
    """Return numba's module for CUDA, if it can be used here."""
    try:
        from numba import cuda

        usable, reason = cuda.is_available(), "numba finds no GPU, no driver or no NVVM (see `numba -s`)"
    except ImportError as error:
        usable, reason = False, str(error)
    if not usable:
        raise InputError(
            f"--device cuda needs an NVIDIA GPU and numba's CUDA support, but {reason}; --device cpu works everywhere"
        )
    return cuda


class _Space:
    """Stream of work and memory on the GPU that a thread uses for one data set after the other.

    Memory is kept, since taking and giving it back would make all streams wait for each other.
    """

    def __init__(self) -> None:
        self._cuda = _cuda()
        self.stream = self._cuda.stream()
        self._held: dict[str, Any] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Any:
        """Array on the GPU, with whatever it holds; the one of the same name before is lost."""
        size = int(np.prod(shape))
        if name not in self._held or len(self._held[name]) < size:
            self._held.pop(name, None)
            self._held[name] = self._cuda.device_array(size, dtype)
        return self._held[name][:size].reshape(shape)

    def upload(self, name: str, values: npt.NDArray[Any]) -> Any:
        # There are no empty arrays on the GPU; nobody reads the element that one gets.
        values = values if values.size else np.zeros(1, values.dtype)
        array = self.array(name, values.shape, values.dtype)
        array.copy_to_device(values, stream=self.stream)
        return array

    def download(self, array: Any) -> npt.NDArray[Any]:
        values = array.copy_to_host(stream=self.stream)
        self.stream.synchronize()
        return values

    def launch(self, kernel: Any, threads: int, *arguments: Any) -> None:
        with _launching:
            kernel[BLOCKS, threads, self.stream](*arguments)


def _space() -> _Space:
    """Return what this thread uses of the GPU."""
    if not hasattr(_of_thread, "space"):
        _of_thread.space = _Space()
    return _of_thread.space


class _Drawn:
    """The sums of a data set, on the GPU; genes are sorted by mean.

    Groups are control and then the parts of each perturbation. Their cells are in one row or more of the sums; when
    all rows are done, each group's are added up into its first.
    """

    def __init__(self, truth: Truth, seed: Seed, parts: int = 1) -> None:
        self.space = space = _space()
        from diversity_by_design.simulator import cuda_kernels

        self.config = config = truth.config
        self.first_rows, cells = _rows(config.n_0, config.n_p, config.k, parts)
        n_rows = len(cells) - 1
        groups = np.repeat(np.arange(len(self.first_rows) - 1), np.diff(self.first_rows))
        self.order = np.argsort(truth.mean_base, kind="stable")
        rank = np.argsort(self.order)
        effects = truth.effects

        self.sums, self.sums_sq = (space.array(name, (n_rows, config.g), np.float64) for name in ("sums", "sums_sq"))
        self.totals, self.totals_sq = (space.array(name, (config.g,), np.float64) for name in ("totals", "totals_sq"))
        self.n_empty = space.array("n_empty", (n_rows,), np.int32)
        self.doubles = space.array("doubles", (BLOCKS, config.g), np.float64)
        self.words = space.array("words", (BLOCKS, cuda_kernels.CELLS_AT_A_TIME, config.g), np.uint32)
        # Arguments that kernels have in common: the pairs of perturbation and gene, and the rows with their sums.
        self.pairs = (
            space.upload("starts", effects.starts.astype(np.int64)),
            space.upload("affected", rank[effects.genes].astype(np.int32)),
        )
        first_rows = space.upload("first_rows", self.first_rows.astype(np.int32))
        self.rows = (first_rows, self.sums, self.sums_sq, self.totals, self.totals_sq)
        inputs = (
            space.upload("cells", cells.astype(np.int32)),
            space.upload("perturbations", ((groups - 1) // parts).astype(np.int32)),
            space.upload("factors", np.concatenate([truth.control_factors, truth.factors])),
            space.upload("means", np.stack([truth.mean_control[self.order], truth.mean_base[self.order]])),
            space.upload("dispersions", truth.dispersion[self.order]),
            *self.pairs,
            space.upload("effects", np.where(effects.upward, config.epsilon, 1.0 / config.epsilon)),
        )
        outputs = (self.doubles, self.words, self.sums, self.sums_sq, self.n_empty)
        key = child(seed, COUNTS).generate_state(1, np.uint64)[0]
        space.launch(cuda_kernels.draw, THREADS, key, *inputs, *outputs)
        space.launch(cuda_kernels.add_rows, LONE_THREADS, *self.rows)

    def n_empty_cells(self) -> int:
        return int(self.space.download(self.n_empty).sum())

    def scores(self) -> Floats:
        from diversity_by_design.simulator.cuda_evaluation import evaluate

        config = self.config
        values = self.space.array("values", (config.k, len(METRICS)), np.float64)
        order = self.space.upload("order", self.order.astype(np.int32))
        words = self.words.reshape(BLOCKS * self.words.shape[1], config.g)[:BLOCKS]
        scratch = (self.doubles, self.doubles.view(np.int64), words)
        self.space.launch(evaluate, THREADS, config.n_0, config.n_p, *self.rows, order, *self.pairs, *scratch, values)
        return self.space.download(values)


def _rows(n_0: int, n_p: int, k: int, parts: int) -> tuple[Integers, Integers]:
    """Split groups of cells into rows of about the same size: first row of each group, first cell of each row.

    Each with the end as a last element.
    """
    part_ends = -(-np.arange(1, parts + 1) * n_p // parts)
    group_ends = n_0 + np.add.outer(n_p * np.arange(k), part_ends).ravel()
    first_cells = np.concatenate([[0, n_0], group_ends])
    sizes = np.diff(first_cells)
    n_rows = -(-sizes // max(_FEWEST_CELLS, -(-sizes.sum() // _ROWS)))
    first_rows = np.concatenate([[0], np.cumsum(n_rows)])
    groups = np.repeat(np.arange(len(sizes)), n_rows)
    number = np.arange(first_rows[-1]) - first_rows[groups]
    return first_rows, np.append(first_cells[groups] + sizes[groups] * number // n_rows[groups], first_cells[-1])
