#!/usr/bin/env python3
"""The example supervise keeps workers alive: supervise_check.py SUPERVISE"""
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

TIMEOUT_S = 60
WORKER = "import time; time.sleep(1000)"
# Says when it has a handler, in one write since others write there, too; ends by SIGTERM with status 7.
POLITE = ("import os, signal, sys, time; signal.signal(signal.SIGTERM, lambda *a: sys.exit(7)); "
          "os.write(1, b'up\\n'); time.sleep(1000)")


class Supervisor:
    def __init__(self, *arguments):
        self.process = subprocess.Popen([sys.argv[1], *arguments], stdout=subprocess.PIPE, text=True)
        self.lines = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def until(self, pattern):
        """Reads lines until one matches; the match."""
        while True:
            line = self.process.stdout.readline()
            assert line, f"the end before {pattern!r}: {self.lines}"
            self.lines.append(line.rstrip("\n"))
            match = re.fullmatch(pattern, self.lines[-1])
            if match:
                return match

    def started(self, count):
        return dict(tuple(map(int, self.until(r"worker (\d+) started: (\d+)").groups())) for _ in range(count))

    def send(self, number):
        self.process.send_signal(number)

    def ended(self):
        self.until("all ended")
        assert self.process.wait(TIMEOUT_S) == 0


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def all_gone(pids):
    until = time.monotonic() + TIMEOUT_S
    while any(map(is_alive, pids)) and time.monotonic() < until:
        time.sleep(0.01)
    return not any(map(is_alive, pids))


def killed_ones_come_back():
    with Supervisor("3", sys.executable, "-c", WORKER) as supervisor:
        pids = supervisor.started(3)
        assert sorted(pids) == [0, 1, 2]
        os.kill(pids[1], signal.SIGKILL)
        supervisor.until("worker 1 ended by signal 9")
        again = supervisor.started(1)
        assert list(again) == [1] and again[1] != pids[1]
        pids.update(again)
        supervisor.send(signal.SIGTERM)
        supervisor.until("stopping, by signal 15")
        supervisor.ended()
        assert all_gone(pids.values())


def one_by_one():
    with Supervisor("3", sys.executable, "-c", POLITE) as supervisor:
        first = supervisor.started(3)
        for _ in range(3 - supervisor.lines.count("up")):
            supervisor.until("up")
        mark = len(supervisor.lines)
        supervisor.send(signal.SIGHUP)
        supervisor.until("replacing all")
        supervisor.until("all replaced")
        lines = [line for line in supervisor.lines[mark:] if line != "up"]
        kinds = [re.sub(r"started: \d+", "started", line) for line in lines]
        assert [line for line in kinds if "ended" in line] == [f"worker {i} ended with status 7" for i in range(3)], lines
        order = [re.match(r"worker (\d)", line).group(1) for line in kinds if line.startswith("worker")]
        assert order == list("001122"), lines
        assert all_gone(first.values())
        supervisor.send(signal.SIGINT)
        supervisor.ended()


def back_off():
    with tempfile.TemporaryDirectory() as directory:
        missing = os.path.join(directory, "missing")
        with Supervisor("1", missing) as supervisor:
            for _ in range(3):
                supervisor.until("worker 0 cannot be started, executing the program: No such file or directory")
            supervisor.send(signal.SIGTERM)
            supervisor.ended()
    with Supervisor("2", "false") as supervisor:
        for _ in range(6):
            supervisor.until(r"worker \d ended with status 1")
        supervisor.send(signal.SIGTERM)
        supervisor.ended()


def stubborn_ones():
    """A second SIGTERM does not wait for those that ignore the first."""
    with Supervisor("2", "sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done") as supervisor:
        for _ in range(2):
            supervisor.until("up")
        supervisor.send(signal.SIGTERM)
        supervisor.until("stopping, by signal 15")
        supervisor.send(signal.SIGTERM)
        for _ in range(2):
            supervisor.until(r"worker \d ended by signal 9")
        supervisor.ended()


def die_with_it():
    with Supervisor("2", sys.executable, "-c", WORKER) as supervisor:
        pids = supervisor.started(2)
        supervisor.process.kill()
        assert all_gone(pids.values())


def main():
    signal.alarm(150)
    for case in (killed_ones_come_back, one_by_one, back_off, stubborn_ones, die_with_it):
        case()
        print("ok     ", case.__name__, flush=True)


if __name__ == "__main__":
    main()
