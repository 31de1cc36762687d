#!/usr/bin/env python3
"""Black-box tests of examples/prefork.c, by sockets and signals: prefork_check.py PREFORK"""

import os
import signal
import sys

from program import Failure, Program, check, connect, receive_exactly, run_cases, wait_until

WORKERS = 3


def line_of(sock):
    line = b''
    while not line.endswith(b'\n'):
        line += receive_exactly(sock, 1)
    return line


def talk(port):
    """Returns which worker has answered. One that was just killed may take a connection with it, or the one wake-up that
    a connection gives: then the next helps."""
    for _ in range(50):
        with connect(port) as sock:
            sock.settimeout(0.5)
            try:
                word, number = line_of(sock).split()
                sock.sendall(b'hello')
                check(word == b'worker' and receive_exactly(sock, 5) == b'hello', 'wrong bytes')
                return int(number)
            except (TimeoutError, ConnectionError, Failure):
                pass
    check(False, 'nobody answers')


def children(prefork):
    with open('/proc/%d/task/%d/children' % (prefork.process.pid, prefork.process.pid)) as file:
        return {int(pid) for pid in file.read().split()}


def case_workers(prefork):
    """All that answer are its children, and not the parent itself."""
    wait_until(lambda: len(children(prefork)) == WORKERS, 'the workers')
    for _ in range(100):
        check(talk(prefork.port) in children(prefork), 'a stranger')


def case_replaced(prefork):
    """A worker that is killed is replaced, and meanwhile the others answer."""
    wait_until(lambda: len(children(prefork)) == WORKERS, 'the workers')
    before = children(prefork)
    victim = talk(prefork.port)
    os.kill(victim, signal.SIGKILL)
    for _ in range(30):
        check(talk(prefork.port) != victim, 'it is dead')
    wait_until(lambda: len(children(prefork)) == WORKERS and children(prefork) != before, 'its successor')
    seen = set()
    wait_until(lambda: seen.add(talk(prefork.port)) or len(seen) > 0 and seen <= children(prefork), 'answers')


def case_stop(prefork):
    """A signal ends all of them, with connections open, and the port is free again."""
    wait_until(lambda: len(children(prefork)) == WORKERS, 'the workers')
    workers = children(prefork)
    with connect(prefork.port) as sock:
        line_of(sock)
        prefork.stop()
        check(sock.recv(1) == b'', 'the end')
    check(not any(os.path.exists('/proc/%d' % pid) for pid in workers), 'workers are left')
    with Program(os.path.abspath(sys.argv[1]), str(prefork.port), '1') as again:
        talk(again.port)


def main():
    def run(case):
        with Program(os.path.abspath(sys.argv[1]), '0', str(WORKERS)) as prefork:
            case(prefork)

    run_cases([(case.__name__[5:], lambda case=case: run(case)) for case in (case_workers, case_replaced, case_stop)])


if __name__ == '__main__':
    main()
