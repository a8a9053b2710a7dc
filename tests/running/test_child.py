"""Processes that end with the one that started them."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import running, wait_until

from diversity_by_design.running.child import start

SCRIPT = """
import sys
from diversity_by_design.running.executors import LocalProcesses
from executor_tasks import process_id

if __name__ == "__main__":
    with LocalProcesses(1) as place:
        for _, outcome in place.run(process_id, [0.0, 60.0]):
            print(__file__, sys.argv, sys.path[0], outcome.value, sep="|", flush=True)
"""
PARENT = """
import sys
from pathlib import Path
from diversity_by_design.running.child import start
child = start(Path(sys.argv[1]), ["--seed", "3"])
print(child.pid, flush=True)
child.wait()
"""


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_children_and_their_children_end_with_the_parent(end, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-c", PARENT, str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        file, arguments, place, grandchild = parent.stdout.readline().rstrip().split("|")
        assert (file, arguments, place) == (str(script), str([str(script), "--seed", "3"]), str(tmp_path))
        descendants = [child, int(grandchild)]
        assert all(map(running, descendants))
        parent.send_signal(signal.SIGKILL if end == "kill" else signal.SIGTERM)
        parent.wait()
        assert wait_until(lambda: not any(map(running, descendants)))


@pytest.mark.parametrize(("ending", "code"), [("", 0), ("raise SystemExit(3)", 3), ("1 / 0", 1)])
def test_exit_codes_are_those_of_the_script(tmp_path, ending, code, capfd):
    script = tmp_path / "script.py"
    script.write_text(f"import sys\n{ending}")
    with start(script, []) as child:
        assert child.wait() == code
    assert ("ZeroDivisionError" in capfd.readouterr().err) == (code == 1)
