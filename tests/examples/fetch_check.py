#!/usr/bin/env python3
"""Black-box tests of examples/fetch.c: fetch_check.py FETCH"""

import http.server
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from program import TIMEOUT_S, check, run_cases

fetch_path = ''


class Site(http.server.ThreadingHTTPServer):
    """/N/ANYTHING: N bytes; /missing: 404; /redirect: to /10/x; /slow: nothing until the end."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        self.lock = threading.Lock()
        self.now = self.most = self.slow = 0
        self.over = threading.Event()
        super().__init__(('127.0.0.1', 0), Visit)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # clients that have gone

    def __exit__(self, *exception):
        self.over.set()
        self.shutdown()
        self.server_close()

    def url(self, path):
        return 'http://127.0.0.1:%d%s' % (self.port, path)


class Visit(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        with self.server.lock:
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
        try:
            self.answer()
        finally:
            with self.server.lock:
                self.server.now -= 1

    def answer(self):
        if self.path == '/missing':
            self.send_error(404)
            return
        if self.path == '/slow':
            with self.server.lock:
                self.server.slow += 1
            self.server.over.wait(TIMEOUT_S)
            return
        if self.path == '/redirect':
            self.send_response(302)
            self.send_header('Location', '/10/x')
            self.send_header('Content-Length', '0')
            self.end_headers()
            return
        size = int(self.path.split('/')[1])
        self.send_response(200)
        self.send_header('Content-Length', str(size))
        self.end_headers()
        self.wfile.write(body(size))


def body(size):
    return bytes(i % 253 for i in range(256)) * (size // 256) + bytes(i % 253 for i in range(size % 256))


def fetch(*arguments):
    result = subprocess.run([fetch_path, *arguments], capture_output=True, timeout=TIMEOUT_S,
                            env={**os.environ, 'no_proxy': '*'})
    return result.returncode, result.stdout.decode().splitlines(), result.stderr.decode()


def many_at_once():
    sizes = [i * 997 for i in range(100)]
    with Site() as site, tempfile.TemporaryDirectory() as directory:
        status, lines, errors = fetch('-o', directory, *[site.url('/%d/%d' % (n, i)) for i, n in enumerate(sizes)])
        check(status == 0, 'status', status, errors)
        check(len(lines) == 100 and all(line.startswith('ok ') for line in lines), lines)
        for i, size in enumerate(sizes):
            with open('%s/%d' % (directory, i), 'rb') as file:
                check(file.read() == body(size), 'file', i)
        check(site.most <= 8, site.most, 'at a time')


def one_by_one():
    with Site() as site:
        status, lines, errors = fetch('-j', '1', *[site.url('/%d/' % (10 - i)) for i in range(10)])
        check(status == 0, 'status', status, errors)
        check([int(line.split()[1]) for line in lines] == list(range(10, 0, -1)), lines)
        check(site.most == 1, site.most, 'at a time')


def failures():
    with socket.socket() as unused:
        unused.bind(('127.0.0.1', 0))
        closed = 'http://127.0.0.1:%d/' % unused.getsockname()[1]
        with Site() as site:
            status, lines, errors = fetch(site.url('/missing'), closed, 'nonsense://x', site.url('/redirect'))
    check(status == 1, 'status', status)
    check(sorted(line.split()[0] for line in lines) == ['failed'] * 3 + ['ok'], lines)
    check('404' in errors and closed in errors and 'nonsense' in errors, errors)
    status, lines, errors = fetch()
    check(status == 2 and 'usage' in errors, status, errors)


def interrupted():
    with Site() as site:
        process = subprocess.Popen([fetch_path, site.url('/slow'), site.url('/slow')], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, env={**os.environ, 'no_proxy': '*'})
        for _ in range(TIMEOUT_S * 100):
            if site.slow == 2:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        check(process.wait(TIMEOUT_S) == 1, 'status', process.returncode)


if __name__ == '__main__':
    fetch_path = sys.argv[1]
    run_cases([(case.__name__, case) for case in (many_at_once, one_by_one, failures, interrupted)])
