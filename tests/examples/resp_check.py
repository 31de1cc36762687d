#!/usr/bin/env python3
"""Black-box tests of a RESP server with the commands of examples/resp.c.

resp_check.py [--without-timers] SERVER_BINARY [its arguments; default: 0, any port]

Starts the server, talks to it over plain sockets and by redis-cli and redis-benchmark (left out where they are not
installed), prints one line a case, and exits with 0 if all passed. --without-timers: keys need only be gone when they
are asked for.
"""

import bisect
import itertools
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

TIMEOUT_S = 20  # of any one wait
TOTAL_S = 100   # of everything
SEED = 20261121
GROWTH_MAX = 96 << 20  # of a server whose client does not read; sanitizers need more than the server itself


class Failure(Exception):
    pass


def check(condition, *what):
    if not condition:
        raise Failure(' '.join(repr(w) if isinstance(w, bytes) else str(w) for w in what))


# ---- a client

def encode(*words):
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b'*%d\r\n' % len(parts) + b''.join(b'$%d\r\n%s\r\n' % (len(part), part) for part in parts)


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(('127.0.0.1', port), TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile('rb')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def reply(self):
        """bytes of a bulk, None, int, list, or a str: '+OK', '-ERR …'."""
        line = self.file.readline()
        check(line.endswith(b'\r\n'), 'the server closed:', line)
        kind, rest = line[:1], line[1:-2]
        if kind in b'+-':
            return line[:-2].decode()
        if kind == b':':
            return int(rest)
        if kind == b'*':
            return [self.reply() for _ in range(int(rest))]
        check(kind == b'$', 'no reply:', line)
        if rest == b'-1':
            return None
        data = self.file.read(int(rest) + 2)
        check(data.endswith(b'\r\n'), 'a bulk is longer than it says')
        return data[:-2]

    def ask(self, *words):
        self.send(encode(*words))
        return self.reply()

    def expect(self, reply, *words):
        got = self.ask(*words)
        check(got == reply, words, 'gave', got, 'and not', reply)

    def expect_error(self, text, *words):
        got = self.ask(*words)
        check(isinstance(got, str) and got.startswith('-' + text), words, 'gave', got, 'and not', text)

    def expect_closed(self):
        check(self.file.read() == b'', 'the server goes on')


# ---- what the server should answer

class Model:
    """Strings and counters, as the server keeps them."""

    def __init__(self):
        self.keys = {}

    def answer(self, words):
        name, key = words[0].upper(), words[1]
        if name == 'SET':
            self.keys[key] = words[2]
            return '+OK'
        if name == 'GET':
            return self.keys.get(key)
        if name == 'DEL':
            return int(self.keys.pop(key, None) is not None)
        if name == 'EXISTS':
            return int(key in self.keys)
        if name == 'ECHO':
            return key.encode()
        value = self.keys.get(key, b'0')
        if not value.removeprefix(b'-').isdigit() or (value.lstrip(b'-0') == b'' and value != b'0'):
            return '-ERR value is not an integer or out of range'
        self.keys[key] = str(int(value) + 1).encode()
        return int(self.keys[key])


def random_commands(source, count):
    for _ in range(count):
        key = f'random:{source.randrange(40)}'
        name = source.choice(['SET', 'set', 'GET', 'Get', 'DEL', 'INCR', 'EXISTS', 'ECHO'])
        if name.upper() != 'SET':
            yield (name, key)
        elif source.random() < 0.3:
            yield (name, key, str(source.randrange(-500, 500)).encode())
        else:
            yield (name, key, source.randbytes(source.choice([0, 1, 7, 300, 5000, 40000])))


# ---- cases; each gets the server

def case_commands(server):
    with Client(server.port) as client:
        client.expect('+PONG', 'PING')
        client.expect(b'hello', 'ping', 'hello')
        client.expect(None, 'GET', 'a')
        client.expect('+OK', 'SET', 'a', b'x\r\n\0y')
        client.expect(b'x\r\n\0y', 'GET', 'a')
        client.expect('+OK', 'SET', 'a', '')
        client.expect(b'', 'GET', 'a')
        client.expect(None, 'SET', 'a', 'no', 'NX')
        client.expect(None, 'SET', 'b', 'no', 'XX')
        client.expect('+OK', 'SET', 'b', 'yes', 'NX')
        client.expect(2, 'EXISTS', 'a', 'b', 'c')
        client.expect(2, 'DBSIZE')
        client.expect(2, 'DEL', 'a', 'b', 'c')
        client.expect(0, 'DBSIZE')
        client.expect_error('ERR unknown command', 'LPUSH', 'a', '1')
        client.expect_error('ERR wrong number of arguments', 'GET')
        client.expect_error('ERR syntax error', 'SET', 'a', 'b', 'what')
        client.expect_error('ERR syntax error', 'SET', 'a', 'b', 'EX')
        client.expect_error('ERR syntax error', 'SET', 'a', 'b', 'NX', 'XX')
        client.expect('+OK', 'SELECT', '0')
        client.expect_error('ERR DB index', 'SELECT', '1')
        client.expect([], 'COMMAND', 'DOCS')
        client.expect([b'save', b''], 'CONFIG', 'GET', 'save')
        client.expect_error('NOPROTO', 'HELLO', '3')
        check(client.ask('HELLO', '2')[-2:] == [b'proto', 2], 'HELLO 2')
        client.expect('+OK', 'CLIENT', 'SETNAME', 'me')
        client.send(b'*0\r\n*-1\r\n\r\nPING\r\n  set  a   1 \r\nget a\n')
        check([client.reply() for _ in range(3)] == ['+PONG', '+OK', b'1'], 'inline requests')
        client.expect('+OK', 'FLUSHALL')
        client.expect('+OK', 'QUIT')
        client.expect_closed()


def case_numbers(server):
    with Client(server.port) as client:
        client.expect(1, 'INCR', 'n')
        client.expect(b'1', 'GET', 'n')
        client.expect(-1, 'DECRBY', 'n', '2')
        client.expect(0, 'INCR', 'n')
        client.expect(-1, 'DECR', 'n')
        client.expect('+OK', 'SET', 'n', str(2**63 - 2))
        client.expect(2**63 - 1, 'INCR', 'n')
        client.expect_error('ERR increment or decrement would overflow', 'INCR', 'n')
        client.expect(b'%d' % (2**63 - 1), 'GET', 'n')
        client.expect('+OK', 'SET', 'n', str(-2**63))
        client.expect_error('ERR increment or decrement would overflow', 'DECR', 'n')
        client.expect_error('ERR increment or decrement would overflow', 'DECRBY', 'n', str(-2**63))
        client.expect(-2**63 + 1, 'INCR', 'n')
        for text in ('', ' 1', '1 ', '+1', '01', '-', '-0', '1.0', 'x', str(2**63), '9' * 30, '0x1', b'1\0'):
            client.expect('+OK', 'SET', 'n', text)
            client.expect_error('ERR value is not an integer', 'INCR', 'n')
            client.expect(text if isinstance(text, bytes) else text.encode(), 'GET', 'n')
            client.expect_error('ERR value is not an integer', 'INCRBY', 'm', text)
        client.expect('+OK', 'FLUSHALL')


def case_expiry(server):
    with Client(server.port) as client:
        client.expect('+OK', 'SET', 'short', 'x', 'PX', '60')
        client.expect('+OK', 'SET', 'long', 'x', 'EX', '100')
        client.expect('+OK', 'SET', 'never', 'x')
        client.expect(-1, 'TTL', 'never')
        client.expect(-2, 'TTL', 'nothing')
        client.expect(100, 'TTL', 'long')
        check(90_000 < client.ask('PTTL', 'long') <= 100_000, 'PTTL')
        client.expect(1, 'PEXPIRE', 'never', '60')
        client.expect(0, 'EXPIRE', 'nothing', '1')
        client.expect('+OK', 'SET', 'kept', 'x', 'PX', '60')
        client.expect(1, 'PERSIST', 'kept')
        client.expect(0, 'PERSIST', 'kept')
        client.expect('+OK', 'SET', 'written', 'x', 'PX', '60')
        client.expect('+OK', 'SET', 'written', 'y')
        client.expect('+OK', 'SET', 'longer', '1', 'PX', '60')
        client.expect(2, 'INCR', 'longer')
        client.expect(1, 'EXPIRE', 'longer', '100')
        client.expect('+OK', 'SET', 'removed', 'x', 'PX', '60')
        client.expect(1, 'DEL', 'removed')
        client.expect('+OK', 'SET', 'stays', '1', 'PX', '60')
        client.expect('+OK', 'SET', 'stays', '2', 'KEEPTTL')
        check(0 <= client.ask('PTTL', 'stays') <= 60, 'KEEPTTL')
        deadline = time.monotonic() + TIMEOUT_S
        if server.timers:  # nobody asks for the keys
            while client.ask('DBSIZE') > 4:
                check(time.monotonic() < deadline, 'keys do not expire')
                time.sleep(0.01)
        else:
            time.sleep(0.2)
        for key, value in (('short', None), ('never', None), ('stays', None), ('long', b'x'), ('kept', b'x'),
                           ('written', b'y'), ('longer', b'2')):
            client.expect(value, 'GET', key)
        client.expect(1, 'EXPIRE', 'kept', '0')
        client.expect(1, 'EXPIRE', 'written', '-1')
        client.expect(0, 'EXISTS', 'kept', 'written')
        client.expect_error('ERR value is not an integer', 'EXPIRE', 'long', 'soon')
        client.expect_error('ERR value is not an integer', 'EXPIRE', 'long', str(2**62))
        client.expect_error('ERR invalid expire time', 'SET', 'long', 'x', 'EX', '0')
        for i in range(300):
            client.expect('+OK', 'SET', f'many:{i}', 'x', 'PX', 1 + i % 20)
        if server.timers:
            while client.ask('DBSIZE') > 2:
                check(time.monotonic() < deadline, 'many keys do not expire')
        client.expect('+OK', 'SET', 'at the end', 'x', 'EX', '1000')
        client.expect('+OK', 'FLUSHALL')
        client.expect(0, 'DBSIZE')


def case_pieces(server):
    """Requests cut anywhere give the replies of a model."""
    source = random.Random(SEED)
    model = Model()
    with Client(server.port) as client:
        for piece_max in (3, 50, 4000, 100_000):
            commands = list(random_commands(source, 40 if piece_max == 3 else 400))
            if piece_max == 3:
                commands = [words for words in commands if len(encode(*words)) < 500]
            data = b''.join(encode(*words) for words in commands)
            ends = list(itertools.accumulate(len(encode(*words)) for words in commands))
            replies = [model.answer(words) for words in commands]
            sent = received = 0
            while sent < len(data):
                piece = data[sent:sent + source.randint(1, piece_max)]
                client.send(piece)
                sent += len(piece)
                while received < bisect.bisect_right(ends, sent):
                    got = client.reply()
                    check(got == replies[received], commands[received][:2], 'gave', got, 'not', replies[received])
                    received += 1
            check(received == len(replies), 'replies are missing')
        client.expect('+OK', 'FLUSHALL')


def case_big_values(server):
    with Client(server.port) as client:
        for size in (1 << 20, (1 << 20) + 1, 16 << 20):
            value = random.Random(size).randbytes(size)
            client.expect('+OK', 'SET', 'big', value)
            check(client.ask('GET', 'big') == value, 'a value of', size, 'bytes has changed')
        client.expect(1, 'DEL', 'big')
        client.send(b'*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$%d\r\n' % ((16 << 20) + 1))
        check(client.reply().startswith('-ERR Protocol error: invalid bulk length'), 'too big a value')
        client.expect_closed()


def case_malformed(server):
    too_many = b'*1025\r\n'
    wrong = [b'*1\r\n+PING\r\n', b'*x\r\n', b'*1x\r\n', b'*\r\n', b'*-\r\n', b'*1\rx', b'*99999999999\r\n', too_many,
             b'*1\r\n$-1\r\n', b'*1\r\n$4\r\nPINGxx', b'*1\r\n$x\r\n', b'*1\r\n$\r\n', b'*1\r\n$1234567890123\r\n',
             b'*2\r\n$4\r\nPING\r\nPING\r\n', b'x' * (16 << 10),
             b'*1024\r\n' + b'$1048576\r\n%s\r\n' % (b'x' * (1 << 20)) * 33]
    for data in wrong:
        with Client(server.port) as client:
            try:
                client.send(encode('PING') + data)
                check(client.reply() == '+PONG', data[:40])
                reply = client.reply()
                check(isinstance(reply, str) and reply.startswith('-ERR Protocol error'), data[:40], 'gave', reply)
                client.expect_closed()
            except ConnectionError:
                check(len(data) > 1 << 20, data[:40])  # closed while we were sending on
    source = random.Random(SEED)
    for _ in range(200):
        with Client(server.port) as client:
            client.send(bytes(source.choice(b'*$:+-0123456789\r\nPINGSETx\0') for _ in range(source.randint(1, 200))))
    with Client(server.port) as client:
        client.expect('+PONG', 'PING')


def case_end_of_half(server):
    with Client(server.port) as client:
        client.send(encode('ECHO', 'last') + b'*1\r\n$4\r\nPI')
        client.socket.shutdown(socket.SHUT_WR)
        check(client.reply() == b'last', 'after the half-close')
        client.expect_closed()


def case_no_reader(server):
    """The server must not gather what a client does not take, and must serve it and others all the same."""
    value = b'v' * (1 << 20)
    requests = 500
    with Client(server.port) as hoarder, Client(server.port) as other:
        other.expect('+OK', 'SET', 'big', value)
        before = server.memory()
        hoarder.send(encode('GET', 'big') * requests)
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            other.expect('+PONG', 'PING')
        growth = server.memory() - before
        check(growth < GROWTH_MAX, 'the server grew by', growth >> 20, 'MiB')
        hoarder.send(encode('ECHO', 'last'))
        for _ in range(requests):
            check(hoarder.reply() == value, 'a big reply')
        check(hoarder.reply() == b'last', 'the last reply')
        # One that goes on sending is stopped.
        hoarder.socket.settimeout(0.3)
        sent = 0
        try:
            while sent < 256 << 20:
                sent += hoarder.socket.send(encode('GET', 'big') * 1000)
            raise Failure('the server reads without end from one that does not')
        except TimeoutError:
            pass
        growth = server.memory() - before
        check(growth < GROWTH_MAX, 'the server grew by', growth >> 20, 'MiB')
        other.expect('+OK', 'FLUSHALL')


def run_tool(words, data=b''):
    done = subprocess.run(words, input=data, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
    return done.returncode, done.stdout.decode()


def case_redis_cli(server):
    cli = ['redis-cli', '-p', str(server.port)]
    script = b'SET greeting "hello world"\nGET greeting\nINCR counter\nINCR greeting\nEXPIRE counter 100\nTTL counter\n'
    status, output = run_tool(cli, script)
    check(status == 0 and output.splitlines()[:3] == ['OK', 'hello world', '1'], output)
    check('not an integer' in output and output.split()[-2:] == ['1', '100'], output)
    _, output = run_tool([*cli, '-3', 'GET', 'greeting'])  # tries HELLO 3, and goes on without it
    check('hello world' in output, output)
    pipe = b''.join(encode('SET', f'pipe:{i}', b'%d' % i * 20) for i in range(20_000))
    status, output = run_tool([*cli, '--pipe'], pipe)
    check(status == 0 and 'errors: 0, replies: 20000' in output, output)
    with Client(server.port) as client:
        client.expect(20_002, 'DBSIZE')
        client.expect('+OK', 'FLUSHALL')


def case_redis_benchmark(server):
    for depth in (1, 16):
        status, output = run_tool(['redis-benchmark', '-p', str(server.port), '-q', '-n', '4000', '-c', '20', '-P',
                                   str(depth), '-t', 'ping,set,get,incr', '-r', '100'])
        results = [line for line in output.replace('\r', '\n').splitlines() if 'requests per second' in line]
        check(status == 0 and len(results) == 5, status, output)
        check('WARNING' not in output and 'rror' not in output, output)


def case_end(server):
    """SIGTERM with a client connected, half a request there, and a timer running."""
    with Client(server.port) as client:
        client.expect('+OK', 'SET', 'last', 'x', 'EX', '1000')
        client.send(b'*2\r\n$4\r\nECHO\r\n$10\r\nab')
        server.process.send_signal(signal.SIGTERM)
        check(server.process.wait(TIMEOUT_S) == 0, 'the server ended with', server.process.returncode)


CASES = [case_commands, case_numbers, case_expiry, case_pieces, case_big_values, case_malformed, case_end_of_half,
         case_no_reader]
TOOLS = {'redis-cli': case_redis_cli, 'redis-benchmark': case_redis_benchmark}


class Server:
    def __init__(self, command, timers):
        self.timers = timers
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        words = self.process.stdout.readline().split()
        check(len(words) == 2 and words[0] == b'ready', 'the server did not get ready')
        self.port = int(words[1])

    def memory(self):
        with open(f'/proc/{self.process.pid}/status', encoding='ascii') as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith('RssAnon'))



def out_of_time(*_):
    raise Failure(f'not done within {TOTAL_S} s')


def main():
    words = sys.argv[1:]
    timers = words[:1] != ['--without-timers']
    words = words[not timers:]
    if not words:
        sys.exit(__doc__)
    signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(TOTAL_S)
    server = Server(words if len(words) > 1 else [*words, '0'], timers)
    cases = CASES + [case for tool, case in TOOLS.items() if shutil.which(tool)] + [case_end]
    failed = False
    try:
        for case in cases:
            case(server)
            print('ok', case.__name__.removeprefix('case_').replace('_', ' '), flush=True)
    except (Failure, OSError, subprocess.TimeoutExpired) as failure:
        print(f'FAILED {case.__name__}: {failure}', flush=True)
        failed = True
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
