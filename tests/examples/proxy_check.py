#!/usr/bin/env python3
"""Black-box tests of examples/proxy.c: proxy_check.py PROXY"""

import functools
import hashlib
import os
import random
import re
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from program import (Program, TIMEOUT_S, check, connect, receive_exactly, reset, run_cases, wait_until)

BULK_BYTES = 12 << 20
FLOOD_BYTES = 96 << 20       # more than sockets and pipes on the way hold
HELD_BYTES_MAX = 64 << 20    # what those may hold, with the kernel's own sizes
MEMORY_BYTES_MAX = 16 << 20  # by which the proxy may grow

proxy_path = ''


class Upstream:
    """A listening socket on this side, whose connections the test answers itself."""

    def __init__(self, path=None):
        self.sock = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.bind(path or ('127.0.0.1', 0))
        self.sock.listen(1024)
        self.text = 'unix:' + path.replace('\0', '@') if path else '127.0.0.1:%d' % self.sock.getsockname()[1]

    def accept(self):
        sock, _ = self.sock.accept()
        sock.settimeout(TIMEOUT_S)
        return sock

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.sock.close()


class Thread:
    """Runs function; result() waits for it and gives its result, or raises what it raised."""

    def __init__(self, function, *arguments):
        self.value = self.error = None
        self.thread = threading.Thread(target=self.run, args=(function, arguments), daemon=True)
        self.thread.start()

    def run(self, function, arguments):
        try:
            self.value = function(*arguments)
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def result(self):
        self.thread.join(3 * TIMEOUT_S)
        check(not self.thread.is_alive(), 'a thread of the test hangs')
        if self.error:
            raise self.error
        return self.value


def counts(text):
    """What the proxy says at its end."""
    words = re.fullmatch(r'(\d+) connections, at most (\d+) at a time, (\d+) open, (\d+) failed; '
                         r'(\d+) bytes up, (\d+) down\n', text)
    check(words, 'not the line at its end:', repr(text))
    return dict(zip(('all', 'most', 'open', 'failed', 'up', 'down'), map(int, words.groups())))


def start(listen, upstream, *options):
    return Program(proxy_path, *options, listen, upstream.text)


def send_random_pieces(sock, data, seed):
    """In pieces of all sizes, and then ends this half."""
    at, sizes = 0, random.Random(seed)
    while at < len(data):
        size = sizes.choice((1, 100, 1500, 20000, 300000))
        sock.sendall(data[at:at + size])
        at += size
    sock.shutdown(socket.SHUT_WR)


def receive_all(sock):
    data = bytearray()
    while True:
        piece = sock.recv(1 << 18)
        if not piece:
            return bytes(data)
        data += piece


def case_both_ways(client, upstream, proxy):
    """Much in both directions at once, byte for byte; each end is passed on."""
    up, down = random.Random(1).randbytes(BULK_BYTES), random.Random(2).randbytes(BULK_BYTES)
    with client() as near, upstream.accept() as far:
        threads = [Thread(send_random_pieces, near, up, 3), Thread(send_random_pieces, far, down, 4),
                   Thread(receive_all, far)]
        check(receive_all(near) == down, 'wrong bytes came down')
        check(threads[2].result() == up, 'wrong bytes came up')
        for thread in threads:
            thread.result()
    wait_until(lambda: proxy.sockets() == 1, 'all is closed')
    numbers = counts(proxy.stop(signal.SIGINT))
    check(numbers == {'all': 1, 'most': 1, 'open': 0, 'failed': 0, 'up': len(up), 'down': len(down)}, numbers)


def case_half_close(client, upstream, proxy):
    """After one side has ended its half the other can go on, whichever it is."""
    for first in (0, 1):
        with client() as near, upstream.accept() as far:
            one, other = (near, far) if first == 0 else (far, near)
            one.sendall(b'question')
            one.shutdown(socket.SHUT_WR)
            check(receive_all(other) == b'question', 'the question')
            for _ in range(20):
                other.sendall(b'x' * 50000)
                check(receive_exactly(one, 50000) == b'x' * 50000, 'the answer')
            other.shutdown(socket.SHUT_WR)
            check(one.recv(1) == b'', 'the end')
    wait_until(lambda: proxy.sockets() == 1, 'all is closed')
    check(counts(proxy.stop())['failed'] == 0, 'a connection failed')


def case_slow_reader(client, upstream, proxy):
    """Who does not read holds his peer back, in bounded memory; then he gets all of it."""
    block = random.Random(5).randbytes(1 << 20)
    with client() as near, upstream.accept() as far:
        progress = [0]

        def flood():
            for _ in range(FLOOD_BYTES // len(block)):
                for at in range(0, len(block), 1 << 16):
                    far.sendall(block[at:at + (1 << 16)])
                    progress[0] += 1 << 16
            far.shutdown(socket.SHUT_WR)

        before = proxy.resident_bytes()
        far.settimeout(3 * TIMEOUT_S)
        thread = Thread(flood)
        still, last = 0, -1
        while still < 20:  # half a second without progress
            time.sleep(0.025)
            still, last = (still + 1 if progress[0] == last else 0), progress[0]
        check(last <= HELD_BYTES_MAX, 'it was not held back:', last)
        check(proxy.resident_bytes() - before <= MEMORY_BYTES_MAX, 'it grew by', proxy.resident_bytes() - before)
        for _ in range(FLOOD_BYTES // len(block)):
            check(receive_exactly(near, len(block)) == block, 'wrong bytes')
        check(near.recv(1) == b'', 'the end')
        thread.result()
        check(proxy.resident_bytes() - before <= MEMORY_BYTES_MAX, 'it grew by', proxy.resident_bytes() - before)


def is_reset(sock):
    try:
        while sock.recv(1 << 16):
            pass
    except (ConnectionResetError, BrokenPipeError):
        return True
    return False


def case_resets(client, upstream, proxy):
    """A reset of either side, with and without data on its way, is passed on as one (unix knows no resets: an end)."""
    for round_number in range(24):
        near, far = client(), upstream.accept()
        one, other = (near, far) if round_number % 2 == 0 else (far, near)
        one.sendall(b'x' * (1, 70000)[round_number // 2 % 2])
        if round_number % 3 == 0:
            other.sendall(b'y' * 70000)
        check(other.recv(1) == b'x', 'the first byte')
        reset(one)
        was_reset = is_reset(other)
        check(was_reset or other.family == socket.AF_UNIX or one.family == socket.AF_UNIX, 'it looked like an end')
        other.close()
    wait_until(lambda: proxy.sockets() == 1, 'all is closed')
    check(counts(proxy.stop())['all'] == 24, 'connections were lost')


def case_resets_in_bulk(client, upstream, proxy):
    """Both directions are full when one side vanishes; others are not touched."""
    with client() as steady, upstream.accept() as steady_far:
        for round_number in range(12):
            near, far = client(), upstream.accept()

            def push(sock):
                try:
                    for _ in range(1000):
                        sock.sendall(b'z' * (1 << 16))
                except OSError:
                    pass

            threads = [Thread(push, near), Thread(push, far)]
            receive_exactly(near, 1 << 20)
            victim, other = (near, far) if round_number % 2 == 0 else (far, near)
            victim.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
            victim.shutdown(socket.SHUT_RDWR)  # wakes its thread
            victim.close()
            is_reset(other)
            for thread in threads:
                thread.result()
            other.close()
            steady.sendall(b'still')
            check(receive_exactly(steady_far, 5) == b'still', 'another connection was touched')
    wait_until(lambda: proxy.sockets() == 1, 'all is closed')


def echo_all(upstream, count):
    """Echoes on count connections until each has ended."""
    selector = selectors.DefaultSelector()
    selector.register(upstream.sock, selectors.EVENT_READ)
    ended = 0
    while ended < count:
        events = selector.select(TIMEOUT_S)
        check(events, 'nothing comes any more')
        for key, _ in events:
            if key.fileobj is upstream.sock:
                selector.register(upstream.accept(), selectors.EVENT_READ)
                continue
            data = key.fileobj.recv(65536)
            if data:
                key.fileobj.sendall(data)
            else:
                selector.unregister(key.fileobj)
                key.fileobj.close()
                ended += 1


def case_many(client, upstream, proxy):
    """Hundreds of connections at a time, each with its own bytes."""
    count = 400
    thread = Thread(echo_all, upstream, count)
    socks = [client() for _ in range(count)]
    for turn in range(3):
        data = [hashlib.sha256(b'%d %d' % (i, turn)).digest() * (1 + i % 50) for i in range(count)]
        for sock, bytes_sent in zip(socks, data):
            sock.sendall(bytes_sent)
        for sock, bytes_sent in zip(socks, data):
            check(receive_exactly(sock, len(bytes_sent)) == bytes_sent, 'mixed up')
    for sock in socks:
        sock.shutdown(socket.SHUT_WR)
        check(sock.recv(1) == b'', 'the end')
        sock.close()
    thread.result()
    wait_until(lambda: proxy.sockets() == 1, 'all is closed')
    numbers = counts(proxy.stop())
    check(numbers['all'] == numbers['most'] == count and numbers['failed'] == 0, numbers)


def case_stop(client, upstream, proxy):
    """A signal ends it with connections open."""
    with client() as near, upstream.accept() as far:
        near.sendall(b'question')
        check(receive_exactly(far, 8) == b'question', 'the question')
        check(counts(proxy.stop())['open'] == 1, 'the connection is not counted')
        check(far.recv(1) == b'', 'the end')


def connection_is_reset(port):
    """Connects; the reset may come as early as that."""
    try:
        with connect(port) as sock:
            return is_reset(sock)
    except ConnectionResetError:
        return True


def case_refused():
    """Nobody listens at the other end: the client is told by a reset, and the proxy goes on."""
    with Upstream() as upstream:
        text = upstream
    with start('127.0.0.1:0', text) as proxy:
        for _ in range(5):
            check(connection_is_reset(proxy.port), 'no reset')
        wait_until(lambda: proxy.sockets() == 1, 'all is closed')
        check(counts(proxy.stop())['failed'] == 5, 'not counted')


def case_connect_deadline():
    """The other end does not answer. Method: its backlog is full, so that the kernel drops what comes."""
    with Upstream() as upstream:
        upstream.sock.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(upstream.sock.getsockname())
        with start('127.0.0.1:0', upstream, '--connect-timeout', '0.2') as proxy:
            check(connection_is_reset(proxy.port), 'no reset')
        for filler in fillers:
            filler.close()


def case_idle():
    """A connection on which nothing moves is ended, on both sides."""
    with Upstream() as upstream, start('127.0.0.1:0', upstream, '--idle', '0.3') as proxy:
        with connect(proxy.port) as near, upstream.accept() as far:
            check(is_reset(near) and is_reset(far), 'no resets')
        check(counts(proxy.stop())['failed'] == 1, 'not counted')


def case_arguments():
    """What is no address, or no time, is told and ends it with a status of its own."""
    for arguments in ([], ['127.0.0.1:1'], ['127.0.0.1:1', 'example:x'], ['127.0.0.1:99999', '127.0.0.1:1'],
                      ['1.2.3.4', '1.2.3.4:1'], ['--idle', '0', '127.0.0.1:0', '127.0.0.1:1'],
                      ['[::1]:1x', '127.0.0.1:1'], ['127.0.0.1:1'] * 3, ['unix:' + 'x' * 200, '127.0.0.1:1']):
        process = subprocess.run([proxy_path, *arguments], capture_output=True, timeout=TIMEOUT_S, check=False)
        check(process.returncode not in (0, 1) and process.stderr, arguments, process.returncode)


def run_pair(case, near_kind, far_kind):
    """A case with sockets of these kinds on the two sides."""
    with tempfile.TemporaryDirectory(prefix='proxy_check.') as scratch:
        path = os.path.join(scratch, 'front')
        with Upstream(None if far_kind == 'tcp' else '\0' + path) as upstream:
            with start('127.0.0.1:0' if near_kind == 'tcp' else 'unix:' + path, upstream) as proxy:
                case(functools.partial(connect, proxy.port if near_kind == 'tcp' else path), upstream, proxy)


def main():
    global proxy_path  # pylint: disable=global-statement
    proxy_path = os.path.abspath(sys.argv[1])
    cases = []
    for case in (case_both_ways, case_half_close, case_slow_reader, case_resets, case_resets_in_bulk, case_many,
                 case_stop):
        for kinds in (('tcp', 'tcp'), ('unix', 'unix'), ('tcp', 'unix')):
            cases.append((case.__name__[5:] + ' %s-%s' % kinds, functools.partial(run_pair, case, *kinds)))
    for case in (case_refused, case_connect_deadline, case_idle, case_arguments):
        cases.append((case.__name__[5:], case))
    run_cases([case for case in cases if len(sys.argv) < 3 or sys.argv[2] in case[0]])


if __name__ == '__main__':
    main()
