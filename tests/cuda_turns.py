"""Numba's CUDA simulator, with threads that take turns.

The simulator lets threads run as they like, which is slow where they wait for each other often, and not safe everywhere
(shared arrays, global names). Here a thread runs until it waits for the others or ends, then it is the next one's turn.
"""

import threading

import numpy as np
from numba.cuda.simulator import kernel


class _Thread(kernel.BlockThread):
    def __init__(self, f, manager, block, thread):
        super().__init__(f, manager, block, thread, debug=False)
        self.turn, self.over, self.ended = threading.Semaphore(0), manager.over, False

    def run(self):
        self.turn.acquire()
        super().run()
        self.ended = True
        self.over.release()

    def syncthreads(self):
        self.over.release()
        self.turn.acquire()


class _Block(kernel.BlockManager):
    """Threads take turns in ascending and descending order: a missing barrier shows in the one or the other."""

    def run(self, grid_point, *args):
        self.over = threading.Semaphore(0)
        threads = [
            _Thread(lambda: self._f(*args), self, grid_point, position) for position in np.ndindex(*self._block_dim)
        ]
        for thread in threads:
            thread.start()
        while threads:
            for thread in threads:
                thread.turn.release()
                self.over.acquire()
                if thread.exception:
                    raise thread.exception[0].with_traceback(thread.exception[1])
            waiting = [thread for thread in threads if not thread.ended]
            assert len(waiting) in (0, len(threads)), "some threads end while others wait for them"
            threads = waiting[::-1]


kernel.BlockManager = _Block
