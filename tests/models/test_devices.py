"""Jobs share the GPUs of a machine, one at a time on each; nothing here needs one."""

import itertools
import os
import re
import select
import subprocess
import sys
import threading
from collections import Counter
from types import SimpleNamespace

import pytest
from messages import naming

from diversity_by_design.errors import InputError
from diversity_by_design.models import devices

TWO = [devices._Gpu("cuda:0", "uuid-a", "First"), devices._Gpu("cuda:1", "uuid-b", "Second")]

# Claims one of two GPUs, says which, and keeps it until told to end.
JOB = """
import sys
from diversity_by_design.models import devices
gpus = [devices._Gpu(f"cuda:{number}", uuid, "") for number, uuid in enumerate(sys.argv[2].split(","))]
devices._visible_gpus = lambda: gpus
print("started", flush=True)
with devices.claim(sys.argv[3], sys.argv[1]) as device:
    print(device, flush=True)
    sys.stdin.readline()
"""


class Job:
    def __init__(self, folder, gpus="uuid-a,uuid-b", kind="cuda"):
        self.process = subprocess.Popen(
            [sys.executable, "-c", JOB, str(folder), gpus, kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def line(self):
        return self.process.stdout.readline().decode().strip()

    def says_something(self, seconds):
        return bool(select.select([self.process.stdout], [], [], seconds)[0])

    def end(self):
        self.process.stdin.write(b"\n")
        assert self.process.wait(20) == 0


@pytest.fixture
def start(tmp_path):
    """Start jobs, given by their arguments, at the same time; they end with the test."""
    jobs = []

    def start(*all_arguments):
        started = [Job(tmp_path / "locks", *arguments) for arguments in all_arguments]
        jobs.extend(started)
        assert {job.line() for job in started} == {"started"}
        return started

    yield start
    for job in jobs:
        job.process.kill()
        job.process.communicate()


@pytest.fixture
def two_gpus(monkeypatch):
    pytest.importorskip("filelock")
    monkeypatch.setattr(devices, "_visible_gpus", lambda: TWO)
    monkeypatch.setattr(devices, "_PAUSE", 0.001)


def fake_torch(monkeypatch, n_gpus, cuda="13.2", usable=True):
    def properties(number):
        assert usable
        return SimpleNamespace(uuid=f"uuid-{number}", name=f"Model {number}")

    torch = SimpleNamespace(
        __version__="9.9",
        version=SimpleNamespace(cuda=cuda),
        cuda=SimpleNamespace(
            is_available=lambda: usable and n_gpus > 0, device_count=lambda: n_gpus, get_device_properties=properties
        ),
    )
    monkeypatch.setitem(sys.modules, "torch", torch)


def test_devices_of_each_kind(monkeypatch):
    fake_torch(monkeypatch, 3)
    assert devices.available_devices("cpu") == ["cpu"]
    assert devices.available_devices("cuda") == ["cuda:0", "cuda:1", "cuda:2"]
    assert devices.available_devices("cuda:1") == ["cuda:1"]
    assert [gpu.uuid for gpu in devices._visible_gpus()] == ["uuid-0", "uuid-1", "uuid-2"]


@pytest.mark.parametrize("kind", ["gpu", "cuda:", "cuda:-1", "cuda:x", "CUDA", "cuda:1 ", "mps", "cpu:0", ""])
def test_other_kinds_are_refused(kind):
    for function in (devices.available_devices, lambda kind: devices.claim(kind).__enter__()):
        with pytest.raises(InputError, match=naming("device", repr(kind), "'cpu'", "'cuda'", "'cuda:0'")):
            function(kind)


@pytest.mark.parametrize("function", [devices.available_devices, lambda kind: devices.claim(kind).__enter__()])
def test_an_absent_gpu_is_an_error_that_says_what_there_is(monkeypatch, function):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    fake_torch(monkeypatch, 0)
    with pytest.raises(InputError, match=naming("'cuda'", "torch 9.9", "CUDA 13.2", "nvidia-smi", "--device cpu")):
        function("cuda")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    fake_torch(monkeypatch, 0, cuda=None)
    with pytest.raises(InputError, match=naming("without CUDA", "CUDA_VISIBLE_DEVICES", "''")):
        function("cuda:0")
    # A driver that is too old: torch counts the GPU, and cannot use it.
    fake_torch(monkeypatch, 1, usable=False)
    with pytest.raises(InputError, match=naming("'cuda'", "torch 9.9")):
        function("cuda")
    fake_torch(monkeypatch, 2)
    with pytest.raises(InputError, match=naming("'cuda:2'", "cuda:0 (Model 0)", "cuda:1 (Model 1)", "--device cpu")):
        function("cuda:2")


def test_what_torch_itself_says():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match=naming(torch.__version__)):
            devices.available_devices("cuda")
        return
    gpus = devices._visible_gpus()
    assert [gpu.device for gpu in gpus] == [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    assert len({gpu.uuid for gpu in gpus}) == len(gpus)
    with devices.claim("cuda") as device:
        assert torch.zeros(1, device=device).item() == 0


def test_the_cpu_is_shared(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    with devices.claim("cpu", tmp_path) as one, devices.claim("cpu", tmp_path) as other:
        assert (one, other) == ("cpu", "cpu")
    assert list(tmp_path.iterdir()) == []


def test_claims_get_different_gpus_and_give_them_back(two_gpus, tmp_path):
    with devices.claim("cuda", tmp_path) as one:
        with devices.claim("cuda", tmp_path) as other:
            assert (one, other) == ("cuda:0", "cuda:1")
        with devices.claim("cuda:1", tmp_path) as again:
            assert again == "cuda:1"
        with pytest.raises(RuntimeError, match="failed"), devices.claim("cuda", tmp_path) as other:
            raise RuntimeError("the job failed")
        with devices.claim("cuda", tmp_path) as after_failure:
            assert after_failure == other == "cuda:1"
    with devices.claim("cuda", tmp_path) as first_again:
        assert first_again == "cuda:0"


def test_locks_lie_in_the_temporary_folder(two_gpus, monkeypatch, tmp_path):
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    with devices.claim("cuda") as device, devices.claim("cuda", tmp_path / "elsewhere") as elsewhere:
        assert device == elsewhere == "cuda:0"
        assert (tmp_path / "diversity_by_design_gpu_uuid-a.lock").exists()


def test_other_users_may_lock_too(two_gpus, tmp_path):
    before = os.umask(0o077)
    try:
        with devices.claim("cuda", tmp_path):
            [lock] = tmp_path.iterdir()
            assert lock.stat().st_mode & 0o777 == 0o666
    finally:
        os.umask(before)


def test_threads_never_share_a_gpu_and_use_both(two_gpus, tmp_path):
    at_once, guard, use, most = threading.Barrier(2, timeout=20), threading.Lock(), Counter(), Counter()
    failures = []

    def job():
        try:
            with devices.claim("cuda", tmp_path) as device:
                with guard:
                    use[device] += 1
                    most[device] = max(most[device], use[device])
                # Goes on only where two jobs have a GPU at the same time.
                at_once.wait()
                with guard:
                    use[device] -= 1
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=job) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failures
    assert most == {"cuda:0": 1, "cuda:1": 1}


def test_a_long_wait_is_told_once(two_gpus, monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "PATIENCE", 0.0)
    naps = itertools.count()
    with devices.claim("cuda:0", tmp_path), devices.claim("cuda:1", tmp_path):

        def nap(_):
            if next(naps) == 3:
                raise KeyboardInterrupt

        monkeypatch.setattr(devices.time, "sleep", nap)
        with pytest.warns(UserWarning) as told, pytest.raises(KeyboardInterrupt), devices.claim("cuda", tmp_path):
            pass
    [message] = [str(warning.message) for warning in told]
    assert re.search(naming("cuda:0", "cuda:1", tmp_path), message)
    assert told[0].filename == __file__


def first_to_speak(jobs):
    """The first of the jobs that says something, taken off the list."""
    ready, _, _ = select.select([job.process.stdout for job in jobs], [], [], 30)
    return jobs.pop(next(place for place, job in enumerate(jobs) if job.process.stdout in ready))


def test_processes_take_turns_and_a_killed_one_frees_its_gpu(start):
    pytest.importorskip("filelock")
    waiting = start((), (), (), ())
    held = {job.line(): job for job in (first_to_speak(waiting), first_to_speak(waiting))}
    assert sorted(held) == ["cuda:0", "cuda:1"]
    assert not any(job.says_something(0.5) for job in waiting)
    # Killed: no clean-up of its own.
    held["cuda:1"].process.kill()
    third = first_to_speak(waiting)
    assert third.line() == "cuda:1"
    [fourth] = waiting
    assert not fourth.says_something(0.5)
    held["cuda:0"].end()
    assert fourth.line() == "cuda:0"
    third.end()
    fourth.end()


def test_a_gpu_is_the_same_one_under_another_number(start):
    pytest.importorskip("filelock")
    [first] = start(("uuid-a,uuid-b", "cuda:0"))
    assert first.line() == "cuda:0"
    # As with CUDA_VISIBLE_DEVICES=1,0: their second GPU is the first one's first.
    second, third = start(("uuid-b,uuid-a", "cuda:1"), ("uuid-b,uuid-a", "cuda"))
    assert third.line() == "cuda:0"
    assert not second.says_something(0.5)
    first.end()
    assert second.line() == "cuda:1"
