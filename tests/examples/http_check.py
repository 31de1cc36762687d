#!/usr/bin/env python3
"""Black-box tests of an HTTP server with the command line of examples/http.c.

http_check.py SERVER_BINARY [extra server arguments]

Starts the server on a port of its own choice, talks to it over plain sockets, prints one line a case, and exits with 0
if all passed. Uses the standard library only; a load test is added if wrk is installed.
"""

import hashlib
import os
import random
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

TIMEOUT_S = 10  # of any one wait
TOTAL_S = 150   # of everything
BIG_BYTES = 8 << 20


class Failure(Exception):
    pass


def check(condition, *what):
    if not condition:
        raise Failure(' '.join(str(w) for w in what))


# ---- the document root that most cases use

def make_root(root):
    def write(name, content):
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as file:
            file.write(content)

    outside = root + '.outside'
    os.mkdir(outside)
    with open(os.path.join(outside, 'secret.txt'), 'wb') as file:
        file.write(b'secret')
    write('index.html', b'<!doctype html><title>index</title>\n')
    write('style.css', b'body { margin: 0 }\n')
    write('empty.txt', b'')
    write('with space.txt', b'space\n')
    write('sub/index.html', b'sub index\n')
    write('sub/data.json', b'{}')
    write('.hidden', b'secret')
    write('middle.bin', random.Random(1).randbytes(3000))
    write('big.bin', random.Random(2).randbytes(BIG_BYTES))
    os.symlink('style.css', os.path.join(root, 'inside.css'))
    os.symlink('../' + os.path.basename(outside) + '/secret.txt', os.path.join(root, 'outside.txt'))
    os.symlink(os.path.join(outside, 'secret.txt'), os.path.join(root, 'absolute.txt'))
    os.symlink(outside, os.path.join(root, 'outside'))
    os.mkfifo(os.path.join(root, 'fifo'))


# ---- the server

class Server:
    def __init__(self, command, arguments=(), files_max=None):
        self.errors = tempfile.TemporaryFile()

        def limit_files():
            if files_max:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files_max, files_max))

        self.process = subprocess.Popen(command + ['--port', '0'] + list(arguments), stdout=subprocess.PIPE,
                                        stderr=self.errors, preexec_fn=limit_files)
        words = self.process.stdout.readline().split()
        if len(words) != 2 or words[0] != b'ready':
            self.process.kill()
            self.process.wait()
            raise Failure('server did not say "ready PORT" but', words, self.error_text())
        self.port = int(words[1])

    def connect(self, receive_buffer=None):
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(TIMEOUT_S)
        sock.connect(('127.0.0.1', self.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Connection(sock)

    def fds(self):
        return len(os.listdir('/proc/%d/fd' % self.process.pid))

    def resident_bytes(self):
        with open('/proc/%d/statm' % self.process.pid) as file:
            return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')

    def cpu_s(self):
        with open('/proc/%d/stat' % self.process.pid) as file:
            fields = file.read().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def error_text(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors='replace').strip()

    def stop(self, number=signal.SIGTERM):
        """Ends the server by a signal and returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failure('server did not end after signal', number)
        finally:
            self.process.stdout.close()


class Reply:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body


class Connection:
    def __init__(self, sock):
        self.sock = sock
        self.received = b''

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def fill(self):
        try:
            piece = self.sock.recv(65536)
        except ConnectionResetError as reset:
            raise Failure('connection was reset') from reset
        self.received += piece
        return len(piece) > 0

    def reply(self, to_head=False):
        """Reads exactly one reply."""
        while b'\r\n\r\n' not in self.received:
            check(self.fill(), 'connection ended inside a head:', self.received[:100])
        head, _, rest = self.received.partition(b'\r\n\r\n')
        lines = head.decode('latin-1').split('\r\n')
        match = re.fullmatch(r'HTTP/1\.1 (\d{3}) [A-Za-z ]+', lines[0])
        check(match, 'status line:', lines[0])
        headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(': ')
            check(colon and name.lower() not in headers, 'header line:', line)
            headers[name.lower()] = value
        status = int(match[1])
        length = int(headers.get('content-length', 0))
        if to_head or status in (100, 304):
            length = 0
        self.received = rest
        while len(self.received) < length:
            check(self.fill(), 'connection ended inside a body')
        body, self.received = self.received[:length], self.received[length:]
        return Reply(status, headers, body)

    def expect_end(self):
        check(not self.received, 'more than was asked for:', self.received[:100])
        check(not self.fill(), 'connection is still open, and sent', self.received[:100])

    def expect_open(self):
        self.send(get('/style.css'))
        check(self.reply().status == 200, 'the connection does not go on')

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.sock.close()


def request(method, target, *headers, body=b'', version='1.1', host=True):
    lines = ['%s %s HTTP/%s' % (method, target, version)]
    if host:
        lines.append('Host: test')
    lines.extend(headers)
    return '\r\n'.join(lines).encode('latin-1') + b'\r\n\r\n' + body


def get(target, *headers, **more):
    return request('GET', target, *headers, **more)


def ask(server, data, to_head=False):
    with server.connect() as connection:
        connection.send(data)
        return connection.reply(to_head)


# ---- cases; each gets the server with the document root

def case_page(server):
    """GET of a page: status, type, length, date, body"""
    with server.connect() as connection:
        connection.send(get('/'))
        reply = connection.reply()
        check(reply.status == 200, reply.status)
        check(reply.body == b'<!doctype html><title>index</title>\n', reply.body)
        check(reply.headers['content-type'].startswith('text/html'), reply.headers)
        shown = time.mktime(time.strptime(reply.headers['date'], '%a, %d %b %Y %H:%M:%S GMT'))
        check(abs(shown - time.mktime(time.gmtime())) <= 2, 'Date:', reply.headers['date'])
        check('connection' not in reply.headers, 'Connection in a 1.1 reply that keeps alive')
        connection.expect_open()


def case_targets(server):
    """paths, types, directories, empty files, escapes, queries, absolute targets, links inside the root"""
    for target, body, kind in (
            ('/index.html', None, 'text/html'),
            ('/style.css', b'body { margin: 0 }\n', 'text/css'),
            ('/style.css?version=2', b'body { margin: 0 }\n', 'text/css'),
            ('/%73tyle.css', b'body { margin: 0 }\n', 'text/css'),
            ('/inside.css', b'body { margin: 0 }\n', 'text/css'),
            ('/with%20space.txt', b'space\n', 'text/plain'),
            ('/empty.txt', b'', 'text/plain'),
            ('/sub/', b'sub index\n', 'text/html'),
            ('/sub/data.json', b'{}', 'application/json'),
            ('http://example.org/style.css', b'body { margin: 0 }\n', 'text/css'),
            ('http://example.org', None, 'text/html'),
            ('http://example.org?q', None, 'text/html')):
        reply = ask(server, get(target))
        check(reply.status == 200, target, reply.status)
        check(body is None or reply.body == body, target, reply.body)
        check(reply.headers['content-type'].startswith(kind), target, reply.headers)


def case_not_found(server):
    """404 keeps the connection"""
    with server.connect() as connection:
        for target in ('/nothing', '/sub', '/sub/nothing/', '/index.html/', '/INDEX.HTML', '/' + 'a/' * 1000):
            connection.send(get(target))
            check(connection.reply().status == 404, target)
        connection.expect_open()


def case_escapes(server):
    """no way out of the root, to hidden files, or through links"""
    up = '../' * 12
    name = os.path.basename(server.outside)
    for target in (
            '/../etc/passwd', '/' + up + 'etc/passwd', '/sub/../../etc/passwd', '/sub/../index.html', '/./index.html',
            '/%2e%2e/etc/passwd', '/%2e%2e%2fetc%2fpasswd', '/..%2fetc/passwd', '/sub%2findex.html', '/%2Fetc/passwd',
            '/..%5c..%5cetc/passwd', '/..\\etc\\passwd', '/%252e%252e/etc/passwd', '/%c0%ae%c0%ae/etc/passwd',
            '/index.html%00', '/index.html%00.css', '/%00', '/index.html%', '/index.html%2', '/index.html%zz',
            '//etc/passwd', '///index.html', '/etc/passwd', '/.hidden', '/outside.txt', '/absolute.txt',
            '/outside/secret.txt', '/../' + name + '/secret.txt', '/fifo', '*', 'index.html', 'etc/passwd',
            'http://test/../etc/passwd', 'http://test/%2e%2e/etc/passwd', 'http://test//etc/passwd',
            'file:///etc/passwd', 'http:///etc/passwd', '/proc/self/environ'):
        reply = ask(server, get(target))
        check(reply.status in (400, 404), target, 'gave', reply.status)
        check(b'root:' not in reply.body and b'secret' not in reply.body, target, 'leaks')


def case_head(server):
    """HEAD: the same headers, no body"""
    with server.connect() as connection:
        connection.send(request('HEAD', '/style.css') + request('HEAD', '/big.bin') + request('HEAD', '/nothing') +
                        get('/style.css'))
        for status, length in ((200, 19), (200, BIG_BYTES), (404, None)):
            reply = connection.reply(to_head=True)
            check(reply.status == status, reply.status)
            check(length is None or int(reply.headers['content-length']) == length, reply.headers)
        check(connection.reply().body == b'body { margin: 0 }\n')


def case_methods(server):
    """405 with Allow for known methods, 501 for unknown ones"""
    for method in ('POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'PATCH'):
        with server.connect() as connection:
            connection.send(request(method, '/', 'Content-Length: 5', body=b'hello'))
            reply = connection.reply()
            check(reply.status == 405, method, reply.status)
            check(set(reply.headers['allow'].split(', ')) == {'GET', 'HEAD'}, reply.headers)
            connection.expect_open()
    for method in ('FROB', 'get', 'GETS'):
        with server.connect() as connection:
            connection.send(request(method, '/'))
            check(connection.reply().status == 501, method)
            connection.expect_end()
    check(ask(server, request('CONNECT', 'test:80')).status in (405, 501))


def case_malformed(server):
    """400, and the connection ends"""
    for data in (
            b'GARBAGE\r\n\r\n', b'\x16\x03\x01\x02\x00\x01\x00\r\n\r\n', b'GET\r\n\r\n', b'GET /\r\n\r\n',
            b'GET / XTTP/1.1\r\nHost: a\r\n\r\n', b'GET / HTTP/1.1\r\nHost a\r\n\r\n',
            b'GET / HTTP/1.1\r\nHo st: a\r\n\r\n', b'GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n',
            b'GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n',
            b'GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n',
            b'GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n',
            b'GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
            b'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n'):
        with server.connect() as connection:
            connection.send(data)
            reply = connection.reply()
            check(reply.status == 400, data, 'gave', reply.status)
            check(reply.headers.get('connection') == 'close', reply.headers)
            connection.expect_end()


def case_host(server):
    """Host is required in 1.1, once, and not in 1.0"""
    check(ask(server, get('/', host=False)).status == 400, 'without Host')
    check(ask(server, get('/', 'Host: other')).status == 400, 'with two Hosts')
    check(ask(server, get('/', 'hOST:', host=False)).status == 200, 'with an empty Host')
    check(ask(server, get('/', host=False, version='1.0')).status == 200, '1.0 without Host')


def case_versions(server):
    """505 for versions other than 1.x"""
    for version in ('2.0', '3.0', '9.9'):
        check(ask(server, get('/', version=version)).status == 505, version)


def case_keep_alive(server):
    """keep-alive: default in 1.1, on request in 1.0; close when asked"""
    with server.connect() as connection:
        for _ in range(20):
            connection.expect_open()
        connection.send(get('/', 'Connection: close'))
        reply = connection.reply()
        check(reply.headers.get('connection') == 'close', reply.headers)
        connection.expect_end()
    with server.connect() as connection:
        connection.send(get('/', version='1.0'))
        check(connection.reply().headers.get('connection') == 'close')
        connection.expect_end()
    with server.connect() as connection:
        for _ in range(3):
            connection.send(get('/', 'Connection: keep-alive', version='1.0'))
            check(connection.reply().headers.get('connection') == 'keep-alive')
    with server.connect() as connection:
        connection.send(get('/', 'Connection: close') + get('/style.css') * 3)
        check(connection.reply().status == 200)
        connection.expect_end()


PIPELINE = [('/style.css', 200), ('/nothing', 404), ('/middle.bin', 200), ('/', 200), ('/sub/', 200)]


def expect_pipeline(server, connection, count):
    for i in range(count):
        target, status = PIPELINE[i % len(PIPELINE)]
        reply = connection.reply()
        check(reply.status == status, 'reply', i, reply.status)
        if target == '/middle.bin':
            check(reply.body == random.Random(1).randbytes(3000), 'reply', i, 'has another body')


def case_pipeline(server):
    """50 requests in one packet, answered in order"""
    with server.connect() as connection:
        connection.send(b''.join(get(PIPELINE[i % len(PIPELINE)][0]) for i in range(50)))
        expect_pipeline(server, connection, 50)
        connection.expect_open()


def case_bytewise(server):
    """the same byte by byte"""
    data = b''.join(get(PIPELINE[i % len(PIPELINE)][0], 'X-Long: ' + 'y' * 40) for i in range(50))
    with server.connect() as connection:
        for i in range(len(data)):
            connection.send(data[i:i + 1])
        expect_pipeline(server, connection, 50)
        connection.expect_open()


def case_interleaved(server):
    """several partial requests at the same time do not get into each other"""
    targets = ['/style.css', '/sub/data.json', '/with%20space.txt', '/nothing']
    connections = [server.connect() for _ in targets]
    requests = [get(target, 'X-Filler: ' + 'z' * 30) for target in targets]
    for at in range(max(len(r) for r in requests)):
        for connection, data in zip(connections, requests):
            if at < len(data):
                connection.send(data[at:at + 1])
    bodies = [c.reply().body for c in connections]
    check(bodies[:3] == [b'body { margin: 0 }\n', b'{}', b'space\n'], bodies)
    for connection in connections:
        connection.sock.close()


def case_long_pipeline(server):
    """3000 requests sent at once: bounded, in order, complete"""
    with server.connect() as connection:
        connection.send(get('/style.css') * 3000)
        for i in range(3000):
            check(connection.reply().body == b'body { margin: 0 }\n', 'reply', i)


def case_long_uri(server):
    """414 above 4 KiB"""
    check(ask(server, get('/' + 'a' * 4000)).status == 404, '4001 bytes')
    for size in (4096, 8000, 60000):
        with server.connect() as connection:
            connection.send(get('/' + 'a' * size))
            check(connection.reply().status == 414, size)
            connection.expect_end()


def case_large_head(server):
    """431 above 16 KiB"""
    check(ask(server, get('/style.css', 'X-A: ' + 'a' * 15000)).status == 200, '15 KB')
    for headers in (['X-A: ' + 'a' * 17000], ['X-%d: %s' % (i, 'a' * 90) for i in range(200)],
                    ['x' * 17000 + ': a'], ['X: '] * 6000):
        with server.connect() as connection:
            connection.send(get('/style.css', *headers))
            check(connection.reply().status == 431, len(headers), 'headers')
            connection.expect_end()


def chunked(body, size):
    pieces = [body[i:i + size] for i in range(0, len(body), size)]
    return b''.join(b'%x\r\n%s\r\n' % (len(p), p) for p in pieces) + b'0\r\n\r\n'


def case_bodies(server):
    """bodies up to 64 KiB are discarded, also chunked ones with trailers"""
    with server.connect() as connection:
        for body in (b'', b'GET /nothing HTTP/1.1\r\n\r\n', b'x' * 65536):
            length = 'Content-Length: %d' % len(body)
            connection.send(get('/style.css', length, body=body))
            check(connection.reply().status == 200, len(body))
            connection.send(get('/style.css', 'Transfer-Encoding: chunked', body=chunked(body, 1000)))
            check(connection.reply().status == 200, 'chunked', len(body))
        connection.send(get('/style.css', 'Transfer-Encoding: chunked', 'Trailer: X-T',
                            body=b'5;name=value\r\nhello\r\n0\r\nX-T: 1\r\nHost: a\r\n\r\n'))
        check(connection.reply().status == 200, 'trailer')
        connection.expect_open()


def case_large_bodies(server):
    """413 above 64 KiB, and the reply arrives although the client goes on sending"""
    body = b'x' * 200000
    for data in (get('/', 'Content-Length: 200000', body=body),
                 get('/', 'Content-Length: 65537', body=b'x' * 10),
                 get('/', 'Transfer-Encoding: chunked', body=chunked(body, 5000))):
        with server.connect() as connection:
            connection.send(data)
            check(connection.reply().status == 413)
            connection.expect_end()


def case_expect(server):
    """100 Continue before the body, 417 for other expectations"""
    with server.connect() as connection:
        connection.send(get('/style.css', 'Content-Length: 5', 'Expect: 100-continue'))
        check(connection.reply().status == 100)
        connection.send(b'hello')
        check(connection.reply().status == 200)
    check(ask(server, get('/', 'Expect: miracles')).status == 417)


def case_upgrade(server):
    """offers to upgrade are passed over"""
    with server.connect() as connection:
        connection.send(get('/style.css', 'Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAA'))
        check(connection.reply().status == 200)
        connection.expect_open()


def case_conditional(server):
    """If-None-Match and If-Modified-Since give 304"""
    first = ask(server, get('/style.css'))
    with server.connect() as connection:
        connection.send(get('/style.css', 'If-None-Match: ' + first.headers['etag']))
        check(connection.reply().status == 304)
        connection.send(get('/style.css', 'If-None-Match: "other"'))
        check(connection.reply().status == 200)
        connection.send(get('/style.css', 'If-Modified-Since: ' + first.headers['last-modified']))
        check(connection.reply().status == 304)
        connection.expect_open()


def read_slowly(connection, size, piece, pause_s):
    """Reads one reply with a body of size bytes at a walking pace, and returns the body's hash."""
    digest = hashlib.sha256()
    data = b''
    while b'\r\n\r\n' not in data:
        data += connection.sock.recv(piece)
    data = data.partition(b'\r\n\r\n')[2]
    got = len(data)
    digest.update(data)
    while got < size:
        data = connection.sock.recv(min(piece, size - got))
        check(data, 'ended after', got)
        got += len(data)
        digest.update(data)
        if pause_s:
            time.sleep(pause_s)
    return digest.hexdigest()


BIG_HASH = hashlib.sha256(random.Random(2).randbytes(BIG_BYTES)).hexdigest()


def case_big_file(server):
    """8 MiB arrive intact, twice on one connection"""
    with server.connect() as connection:
        connection.send(get('/big.bin') * 2)
        check(read_slowly(connection, BIG_BYTES, 65536, 0) == BIG_HASH)
        check(read_slowly(connection, BIG_BYTES, 65536, 0) == BIG_HASH)
        connection.expect_open()


def case_slow_reader(server):
    """the same to a slow reader, while others are served"""
    with server.connect(receive_buffer=8192) as connection:
        connection.send(get('/big.bin'))
        time.sleep(0.5)
        check(ask(server, get('/style.css')).status == 200)
        check(read_slowly(connection, BIG_BYTES, 32768, 0.002) == BIG_HASH)
        connection.expect_open()


def case_no_reader(server):
    """a peer that asks for gigabytes and reads nothing costs little memory"""
    before = server.resident_bytes()
    with server.connect(receive_buffer=8192) as connection:
        connection.sock.settimeout(1)
        sent = 0
        try:
            while sent < 100 << 20:
                connection.send(get('/big.bin') * 100)
                sent += 100 * len(get('/big.bin'))
        except (socket.timeout, ConnectionError):
            pass
        check(sent < 50 << 20, 'the server reads on and on:', sent)
        check(ask(server, get('/style.css')).status == 200)
        grown = server.resident_bytes() - before
        check(grown < 16 << 20, 'grew by', grown, 'bytes')


def case_half_close(server):
    """requests followed by a half-close are answered before the end"""
    with server.connect() as connection:
        connection.send(get('/style.css') + get('/big.bin'))
        connection.sock.shutdown(socket.SHUT_WR)
        check(connection.reply().status == 200)
        check(len(connection.reply().body) == BIG_BYTES)
        connection.expect_end()
    with server.connect() as connection:
        connection.sock.shutdown(socket.SHUT_WR)
        connection.expect_end()
    with server.connect() as connection:
        connection.send(get('/')[:20])
        connection.sock.shutdown(socket.SHUT_WR)
        connection.expect_end()


def case_reset(server):
    """resets in the middle of a request and of a reply"""
    for _ in range(20):
        connection = server.connect()
        connection.send(get('/style.css')[:25])
        connection.reset()
        connection = server.connect()
        connection.send(get('/big.bin') * 3)
        connection.sock.recv(1000)
        connection.reset()
    check(ask(server, get('/style.css')).status == 200)


def case_many(server):
    """500 connections at a time, each used twice"""
    connections = [server.connect() for _ in range(500)]
    for _ in range(2):
        for connection in connections:
            connection.send(get('/middle.bin'))
        for connection in connections:
            check(connection.reply().status == 200)
    for connection in connections:
        connection.sock.close()


def case_fds(server):
    """no descriptor is left behind"""
    deadline = time.monotonic() + TIMEOUT_S
    while server.fds() != server.base_fds and time.monotonic() < deadline:
        time.sleep(0.05)
    check(server.fds() == server.base_fds, server.fds(), 'open,', server.base_fds, 'at first')


# ---- cases that need a server of their own

def separate_slow_header(command, root):
    """a request must arrive within --header-timeout: 408, or end if nothing came; idle connections may stay"""
    server = Server(command, ['--root', root, '--header-timeout', '0.5'])
    try:
        idle, silent, slow = server.connect(), server.connect(), server.connect()
        begin = time.monotonic()
        idle.expect_open()
        slow.send(get('/style.css', 'X-A: b')[:-4])
        silent.expect_end()
        check(slow.reply().status == 408)
        slow.expect_end()
        took = time.monotonic() - begin
        check(0.4 < took < 3, 'took', took)
        drip = server.connect()
        try:
            for byte in get('/style.css', 'X-Slow: ' + 'a' * 200):
                drip.send(bytes([byte]))
                time.sleep(0.02)
            raise Failure('a dripping request was let through')
        except (BrokenPipeError, ConnectionResetError):
            pass
        except Failure:
            check(drip.reply().status == 408, 'a dripping request was answered')
        idle.expect_open()
        for connection in (idle, silent, slow, drip):
            connection.sock.close()
    finally:
        check(server.stop() == 0, 'exit status', server.process.returncode)


def separate_few_fds(command, root):
    """without descriptors: no spinning, no end, and service goes on afterwards"""
    server = Server(command, ['--root', root], files_max=40)
    try:
        connections = [server.connect() for _ in range(80)]
        time.sleep(0.3)
        used = server.cpu_s()
        time.sleep(1)
        used = server.cpu_s() - used
        check(used < 0.5, 'used', used, 's of CPU in a second')
        connections[0].expect_open()
        for connection in connections:
            connection.sock.close()
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                check(ask(server, get('/style.css')).status == 200)
                break
            except (OSError, Failure):
                check(time.monotonic() < deadline, 'does not serve again')
                time.sleep(0.1)
    finally:
        check(server.stop() == 0, 'exit status', server.process.returncode)


def separate_greeting(command, root):
    """without --root: Hello, World! as / and /plaintext"""
    server = Server(command)
    try:
        for target in ('/', '/plaintext'):
            reply = ask(server, get(target))
            check(reply.status == 200 and reply.body == b'Hello, World!', target, reply.body)
            check(reply.headers['content-type'].startswith('text/plain'), reply.headers)
        check(ask(server, get('/style.css')).status == 404)
    finally:
        check(server.stop(signal.SIGINT) == 0, 'exit status after SIGINT', server.process.returncode)


def separate_busy_stop(command, root):
    """SIGTERM with connections open, idle and in the middle of replies: exit status 0"""
    server = Server(command, ['--root', root])
    connections = [server.connect(receive_buffer=8192) for _ in range(20)]
    for number, connection in enumerate(connections):
        connection.send([b'', get('/style.css')[:20], get('/big.bin'), get('/style.css')][number % 4])
    time.sleep(0.2)
    status = server.stop()
    for connection in connections:
        connection.sock.close()
    check(status == 0, 'exit status', status, server.error_text())


def separate_bad_arguments(command, root):
    """wrong arguments and a port in use are refused with a message"""
    for arguments in (['--port', 'x'], ['--port', '65536'], ['--address', 'nowhere'], ['--header-timeout', '0'],
                      ['--frob'], ['surplus'], ['--root', '/nonexistent']):
        run = subprocess.run(command + arguments, capture_output=True, timeout=TIMEOUT_S)
        check(run.returncode in (1, 2) and run.stderr, arguments, run.returncode, run.stderr)
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        run = subprocess.run(command + ['--port', str(taken.getsockname()[1])], capture_output=True, timeout=TIMEOUT_S)
        check(run.returncode == 1 and run.stderr, 'port in use:', run.returncode)


def separate_root_limits(command, root):
    """a document root beyond the limits is refused with a message"""
    with tempfile.TemporaryDirectory() as crowded:
        for i in range(4097):
            with open(os.path.join(crowded, str(i)), 'w'):
                pass
        run = subprocess.run(command + ['--port', '0', '--root', crowded], capture_output=True, timeout=TIMEOUT_S)
        check(run.returncode == 1 and b'files' in run.stderr, run.returncode, run.stderr)
    with tempfile.TemporaryDirectory() as heavy:
        with open(os.path.join(heavy, 'a'), 'w') as file:
            file.truncate((256 << 20) + 1)
        run = subprocess.run(command + ['--port', '0', '--root', heavy], capture_output=True, timeout=TIMEOUT_S)
        check(run.returncode == 1 and b'MiB' in run.stderr, run.returncode, run.stderr)


def separate_ipv6(command, root):
    """listens on an IPv6 address"""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(('::1', 0))
    except OSError:
        return
    server = Server(command, ['--address', '::1'])
    try:
        with socket.create_connection(('::1', server.port), TIMEOUT_S) as sock:
            connection = Connection(sock)
            connection.send(get('/'))
            check(connection.reply().status == 200)
    finally:
        check(server.stop() == 0, 'exit status', server.process.returncode)


def separate_load(command, root):
    """two seconds of wrk without an error"""
    server = Server(command)
    try:
        run = subprocess.run(['wrk', '-t1', '-c64', '-d2', 'http://127.0.0.1:%d/plaintext' % server.port],
                             stdout=subprocess.PIPE, text=True, timeout=30, check=True)
        check('Socket errors' not in run.stdout and 'Non-2xx' not in run.stdout, run.stdout)
        rate = re.search(r'Requests/sec:\s*([\d.]+)', run.stdout)
        check(rate and float(rate[1]) > 100, run.stdout)
    finally:
        check(server.stop() == 0, 'exit status', server.process.returncode)


# ---- running them

class Report:
    def __init__(self):
        self.failures = 0

    def run(self, function, *arguments):
        begin = time.monotonic()
        problem = None
        try:
            function(*arguments)
        except Failure as failure:
            problem = str(failure)
        except Exception as error:  # whatever goes wrong is this case's failure
            problem = '%s: %s' % (type(error).__name__, error)
        took = time.monotonic() - begin
        name = function.__name__.partition('_')[2]
        print('%-4s %-16s %5.2f s  %s' % ('ok' if problem is None else 'FAIL', name, took, function.__doc__))
        if problem is not None:
            print('       %s' % problem)
            self.failures += 1
        sys.stdout.flush()


def cases(prefix):
    return [value for name, value in globals().items() if name.startswith(prefix)]


def run_shared_cases(report, command, root):
    try:
        server = Server(command, ['--root', root])
    except Failure as failure:
        print('FAIL start: %s' % failure)
        report.failures += 1
        return
    server.outside = root + '.outside'
    ask(server, get('/'))
    time.sleep(0.1)
    server.base_fds = server.fds()
    for case in cases('case_'):
        report.run(case, server)
        if server.process.poll() is not None:
            print('FAIL the server has ended with status %d' % server.process.returncode)
            report.failures += 1
            break

    def case_stop():
        """SIGTERM: exit status 0, and nothing on stderr"""
        status = server.stop()
        check(status == 0, 'exit status', status, server.error_text())
        check(not server.error_text(), server.error_text())

    report.run(case_stop)


def out_of_time(_number, _frame):
    raise SystemExit('FAIL not finished after %d s' % TOTAL_S)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    command = [os.path.abspath(sys.argv[1])] + sys.argv[2:]
    if not os.access(command[0], os.X_OK):
        sys.exit('not a program: ' + command[0])
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, limit[1]), limit[1]))
    signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(TOTAL_S)
    report = Report()
    with tempfile.TemporaryDirectory(prefix='http_check.') as scratch:
        root = os.path.join(scratch, 'root')
        os.mkdir(root)
        make_root(root)
        run_shared_cases(report, command, root)
        for case in cases('separate_'):
            if case is not separate_load or shutil.which('wrk'):
                report.run(case, command, root)
    print('%d failed' % report.failures if report.failures else 'all passed')
    sys.exit(1 if report.failures else 0)


if __name__ == '__main__':
    main()
