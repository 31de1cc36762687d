#!/usr/bin/env python3
"""Black-box tests of examples/echo.c, by sockets and by the example ping: echo_check.py ECHO PING"""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time

from program import Program, TIMEOUT_S, check, connect, receive_exactly, reset, run_cases, wait_until

BULK_BYTES = 16 << 20
DEAF = 20
MEMORY_BYTES_MAX = (8 << 20) + DEAF * (2 << 20)


def ping(port, count):
    return subprocess.run([sys.argv[2], str(port), str(count)], capture_output=True, timeout=TIMEOUT_S, check=False)


def case_ping(echo):
    """The ping example gets its answers; when nobody listens any more it says so by its status."""
    done = ping(echo.port, 5)
    check(done.returncode == 0 and len(re.findall(rb' us$', done.stdout, re.MULTILINE)) == 5, done)
    echo.stop()
    check(ping(echo.port, 1).returncode == 1, 'ping succeeded without a server')


def case_bulk(echo):
    """Much at once comes back byte for byte, and after our end so does theirs."""
    data = random.Random(1).randbytes(BULK_BYTES)
    with connect(echo.port) as sock:
        def send():
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        check(receive_exactly(sock, len(data)) == data, 'wrong bytes')
        check(sock.recv(1) == b'', 'the end')
        thread.join(TIMEOUT_S)
    wait_until(lambda: echo.sockets() == 1, 'all is closed')


def case_no_reader(echo):
    """Peers that take nothing back are not read from: memory is bounded, and others are served."""
    before = echo.resident_bytes()
    deaf = [connect(echo.port, receive_bytes=4096) for _ in range(DEAF)]
    block = b'x' * (1 << 16)
    for sock in deaf:
        sock.setblocking(False)
        for _ in range(2000):  # 128 MiB are more than sockets hold
            try:
                sock.send(block)
            except BlockingIOError:
                time.sleep(0.002)
                try:
                    sock.send(block)
                except BlockingIOError:
                    break
        else:
            check(False, 'it reads on and on')
    check(echo.resident_bytes() - before <= MEMORY_BYTES_MAX, 'it grew by', echo.resident_bytes() - before)
    with connect(echo.port) as sock:
        sock.sendall(b'hello')
        check(receive_exactly(sock, 5) == b'hello', 'wrong bytes')
    for i, sock in enumerate(deaf):
        if i % 2:
            reset(sock)
        else:
            sock.close()
    wait_until(lambda: echo.sockets() == 1, 'all is closed')


def case_many(echo):
    """Hundreds at a time, some of which reset."""
    socks = [connect(echo.port) for _ in range(400)]
    for i, sock in enumerate(socks):
        sock.sendall(b'%d' % i * 100)
    for i, sock in enumerate(socks):
        if i % 3 == 0:
            reset(sock)
            continue
        expected = b'%d' % i * 100
        check(receive_exactly(sock, len(expected)) == expected, 'wrong bytes')
        sock.close()
    wait_until(lambda: echo.sockets() == 1, 'all is closed')


def case_stop(echo):
    """A signal ends it with connections open."""
    with connect(echo.port) as sock:
        sock.sendall(b'hello')
        check(receive_exactly(sock, 5) == b'hello', 'wrong bytes')
        echo.stop(signal.SIGINT)
        check(sock.recv(1) == b'', 'the end')


def main():
    def run(case):
        with Program(os.path.abspath(sys.argv[1]), '0') as echo:
            case(echo)

    cases = (case_ping, case_bulk, case_no_reader, case_many, case_stop)
    run_cases([(case.__name__[5:], lambda case=case: run(case)) for case in cases])


if __name__ == '__main__':
    main()
