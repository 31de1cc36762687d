"""What the tests of the examples share: running a server, talking to it, running cases. Standard library only."""

import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

TIMEOUT_S = 20  # of any one wait; the machine may be busy
TOTAL_S = 150   # of everything


class Failure(Exception):
    pass


def check(condition, *what):
    if not condition:
        raise Failure(' '.join(str(w) for w in what))


class Program:
    """A server that says "ready PORT" when it listens, and ends by SIGINT or SIGTERM with status 0."""

    def __init__(self, *command):
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.errors)
        words = self.process.stdout.readline().split()
        if len(words) != 2 or words[0] != b'ready':
            self.process.kill()
            self.process.wait()
            raise Failure('it did not say "ready PORT" but', words, self.error_text())
        self.port = int(words[1])

    def __enter__(self):
        return self

    def __exit__(self, kind, *exception):
        if self.process.poll() is not None:
            check(self.process.returncode == 0, 'status', self.process.returncode, self.error_text())
        elif kind is None:
            self.stop()
        else:
            self.process.kill()
            self.process.wait()

    def stop(self, number=signal.SIGTERM):
        """Returns what it had to say at its end."""
        self.process.send_signal(number)
        try:
            output, _ = self.process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failure('it did not end by signal', number)
        check(self.process.returncode == 0, 'status', self.process.returncode, self.error_text())
        return output.decode()

    def error_text(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors='replace').strip()

    def sockets(self):
        """How many it has open."""
        directory, count = '/proc/%d/fd/' % self.process.pid, 0
        for name in os.listdir(directory):
            try:
                count += os.readlink(directory + name).startswith('socket:')
            except FileNotFoundError:
                pass  # closed just now
        return count

    def resident_bytes(self):
        """0 with the address sanitizer, which keeps freed memory for a while."""
        with open('/proc/%d/maps' % self.process.pid) as maps:
            if 'libasan' in maps.read():
                return 0
        with open('/proc/%d/statm' % self.process.pid) as file:
            return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def connect(port, receive_bytes=0):
    """To a TCP port, or by a string to a unix socket (a NUL at its beginning: an abstract one)."""
    sock = socket.socket(socket.AF_UNIX if isinstance(port, str) else socket.AF_INET)
    if receive_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    sock.settimeout(TIMEOUT_S)
    sock.connect(port if isinstance(port, str) else ('127.0.0.1', port))
    return sock


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    sock.close()


def receive_exactly(sock, size):
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(min(size - len(data), 1 << 18))
        check(piece, 'ended after', len(data), 'of', size, 'bytes')
        data += piece
    return bytes(data)


def wait_until(condition, what):
    for _ in range(TIMEOUT_S * 50):
        if condition():
            return
        time.sleep(0.02)
    raise Failure('in vain: ' + what)


def run_cases(cases):
    """Runs (name, function) pairs and ends the process: with 0 if all passed."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, limit[1]), limit[1]))
    failures = 0

    def out_of_time(_number, _frame):
        raise Failure('out of time')

    signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(TOTAL_S)
    for name, function in cases:
        try:
            function()
            print('ok      ' + name, flush=True)
        except (Failure, OSError) as failure:
            failures += 1
            print('FAILED  %s: %s: %s' % (name, type(failure).__name__, failure), flush=True)
    sys.exit(1 if failures else 0)
