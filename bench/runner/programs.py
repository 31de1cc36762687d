"""The benchmark programs: building, finding and running them.

Every wait is bounded, and a process is ended by its own id.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
READY_S = 20
END_S = 20


# How server and load are scheduled. fifo: with the same real-time priority, so that each runs until it has nothing left
# to do, and neither preempts the other, nor does anything else preempt them.
SCHEDULERS = {
    'fifo': (os.SCHED_FIFO, os.sched_param(1)),
    'other': (os.SCHED_OTHER, os.sched_param(0)),
    'batch': (os.SCHED_BATCH, os.sched_param(0)),
}


class BenchError(Exception):
    """A program that failed, said something wrong or did not end; the message says which."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def build():
    """Sets this machine up and builds the release with its benches. Returns the build directory."""
    steps = [
        [str(ROOT / 'tools' / 'setup'), '--for', 'bench'],
        ['cmake', '--preset', 'release', '-DRINGLOOP_BENCH=ON'],
        ['cmake', '--build', '--preset', 'release', '--target', 'benches'],
    ]
    for step in steps:
        done = subprocess.run(step, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=3600, check=False)
        if done.returncode != 0:
            say(done.stdout)
            raise BenchError(f'{" ".join(step)} failed with status {done.returncode}')
    return ROOT / 'build' / 'release'


def fifo_allowed():
    """Whether this process may run others with real-time priority."""
    process = subprocess.Popen(['sleep', '60'])
    try:
        os.sched_setscheduler(process.pid, *SCHEDULERS['fifo'])
        return True
    except PermissionError:
        return False
    finally:
        process.kill()
        process.wait()


class Programs:
    """Where the programs are and how they are started."""

    def __init__(self, build_dir, scheduler='other'):
        self.directory = Path(build_dir).resolve() / 'bench'
        self.scheduler = scheduler
        self.cpus = sorted(os.sched_getaffinity(0))

    def path(self, name):
        return self.directory / name

    def has(self, name):
        return self.path(name).is_file()

    def present(self, prefix, contenders):
        """Those of the contenders whose program prefix_contender was built."""
        there = [contender for contender in contenders if self.has(f'{prefix}_{contender}')]
        for contender in contenders:
            if contender not in there:
                say(f'{prefix}: {contender} is left out, {self.path(f"{prefix}_{contender}")} was not built')
        return there

    def start(self, command, cpu=None, scheduler=None, **options):
        """Starts a program. If it is pinned to a cpu, or to some, a scheduler may be named; else it is the one of this
        run."""
        def prepare():
            if cpu is not None:
                os.sched_setaffinity(0, {cpu} if isinstance(cpu, int) else cpu)
                os.sched_setscheduler(0, *SCHEDULERS[scheduler or self.scheduler])

        return subprocess.Popen([str(word) for word in command], preexec_fn=prepare, **options)

    def run_json(self, command, cpu=None, scheduler=None, timeout_s=120):
        """Runs a program to its end; its last line on stdout is the JSON it returns."""
        process = self.start(command, cpu, scheduler, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        try:
            output, errors = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise BenchError(f'{command_text(command)} did not end within {timeout_s} s') from None
        if process.returncode != 0:
            raise BenchError(f'{command_text(command)} failed with status {process.returncode}: {errors.strip()}')
        return last_json(output, command)


def command_text(command):
    return ' '.join(str(word) for word in command)


def last_json(output, command):
    lines = output.strip().splitlines()
    try:
        return json.loads(lines[-1])
    except (IndexError, ValueError):
        raise BenchError(f'{command_text(command)} printed no JSON: {output!r}') from None


def read_line(process, timeout_s):
    """One line of the process's stdout; empty when it ends or takes too long. The pipe must be unbuffered."""
    line = b''
    while not line.endswith(b'\n'):
        readable, _, _ = select.select([process.stdout], [], [], timeout_s)
        byte = os.read(process.stdout.fileno(), 1) if readable else b''
        if not byte:
            return ''
        line += byte
    return line.decode()


def environment_of(server):
    environment = dict(os.environ)
    if not server.endswith('_ringloop'):  # the peers leave open connections to the end of the process
        environment['ASAN_OPTIONS'] = environment.get('ASAN_OPTIONS', '') + ':detect_leaks=0'
    return environment


class Server:
    """A server under test, from its ready line to its exit status 0."""

    def __init__(self, programs, name, cpu=None, scheduler=None, arguments=('--stats',)):
        self.name = name
        self.stats = None
        self.tells_stats = '--stats' in arguments
        self.process = programs.start([programs.path(name), *arguments], cpu, scheduler, stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, bufsize=0, env=environment_of(name))
        words = read_line(self.process, READY_S).split()
        if len(words) != 2 or words[0] != 'ready':
            self.process.kill()
            self.process.wait()
            raise BenchError(f'{name} did not get ready')
        self.port = int(words[1])
        self.pid = self.process.pid

    def end(self):
        """Asks it to end; its last words are its statistics."""
        if self.process.returncode is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            output, _ = self.process.communicate(timeout=END_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise BenchError(f'{self.name} did not end within {END_S} s of SIGTERM') from None
        if self.process.returncode != 0:
            raise BenchError(f'{self.name} ended with status {self.process.returncode}')
        if self.tells_stats:
            self.stats = last_json(output.decode(), [self.name])

    def cpu_ns(self):
        """CPU time of all its threads so far, user and system."""
        return time.clock_gettime_ns(~self.pid << 3 | 2)  # as clock_getcpuclockid(3) makes it

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def serving(programs, name, cpu=None, scheduler=None, arguments=('--stats',)):
    """with serving(…) as server: a server that is asked to end when the work is done, and killed when it failed."""
    server = Server(programs, name, cpu, scheduler, arguments)
    try:
        yield server
        server.end()
    finally:
        server.kill()


@contextlib.contextmanager
def strace_counting(pid):
    """Counts a process's system calls with strace while the block runs; the yielded dictionary then holds 'calls'."""
    counted = {}
    with tempfile.NamedTemporaryFile(mode='r', suffix='.strace') as file:
        strace = subprocess.Popen(['strace', '-c', '-f', '-o', file.name, '-p', str(pid)], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, bufsize=0)
        select.select([strace.stderr], [], [], READY_S)  # "Process N attached"
        try:
            yield counted
        finally:
            strace.send_signal(signal.SIGINT)
            strace.communicate(timeout=END_S)
        totals = [line.split() for line in file if line.rstrip().endswith(' total')]
        counted['calls'] = int(totals[-1][3]) if totals else 0
