#!/usr/bin/env python3
"""Black-box tests of examples/chat.c: chat_check.py CHAT"""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading

from program import Failure, Program, TIMEOUT_S, check, connect, reset, run_cases, wait_until

MEMORY_BYTES_MAX = 16 << 20

chat_path = ''


class Client:
    def __init__(self, chat, name=None, receive_bytes=0):
        self.sock = connect(chat.port, receive_bytes)
        self.received = b''
        self.name = name
        self.expect('your name?')
        if name:
            self.say(name)
            check(self.line().startswith('* %s has joined' % name), 'no welcome')

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.sock.close()

    def say(self, text):
        self.sock.sendall(text.encode() + b'\n')

    def line(self):
        while b'\n' not in self.received:
            piece = self.sock.recv(65536)
            if not piece:
                raise Failure('%s: the end instead of a line' % self.name)
            self.received += piece
        line, _, self.received = self.received.partition(b'\n')
        return line.decode()

    def expect(self, text):
        line = self.line()
        check(line == text, 'expected', repr(text), 'but', self.name, 'got', repr(line))

    def wait_for(self, text):
        for _ in range(100000):
            if self.line() == text:
                return
        raise Failure('in vain: ' + text)

    def ended(self):
        """Reads up to the end, or the reset."""
        try:
            while self.sock.recv(1 << 16):
                pass
        except ConnectionResetError:
            pass


def case_two(chat):
    """Joining, talking, leaving; one does not hear oneself, nor anything before one has a name."""
    with Client(chat, 'ann') as ann, Client(chat) as shy:
        with Client(chat, 'bob') as bob:
            ann.expect('* bob has joined (3 here)')
            bob.say('hello')
            ann.expect('bob: hello')
            ann.say('and you')
            bob.expect('ann: and you')
        ann.expect('* bob has left')
        shy.say('')  # an empty line is no name
        shy.say('sue')
        shy.expect('* sue has joined (2 here)')
        ann.expect('* sue has joined (2 here)')


def case_pieces(chat):
    """Lines that come byte by byte, many at once, with CR, or without an end."""
    with Client(chat, 'ann') as ann, Client(chat, 'bob') as bob:
        ann.line()
        for byte in b'slowly\r\n':
            bob.sock.sendall(bytes([byte]))
        ann.expect('bob: slowly')
        bob.sock.sendall(b''.join(b'%d\n' % i for i in range(2000)) + b'no end')
        for i in range(2000):
            ann.expect('bob: %d' % i)
        bob.sock.shutdown(socket.SHUT_WR)
        ann.expect('* bob has left')
        bob.ended()


def talk(client, count):
    sizes = random.Random(client.name)
    for i in range(count):
        client.say('%s %d %s' % (client.name, i, 'x' * sizes.choice((0, 10, 400, 900))))


def case_many(chat):
    """All get all lines of the others, whole and in the same order."""
    count, lines = 24, 60
    clients = [Client(chat, 'c%d' % i) for i in range(count)]
    for i, client in enumerate(clients):
        for _ in range(count - 1 - i):
            check('has joined' in client.line(), 'no notice')
    threads = [threading.Thread(target=talk, args=(client, lines)) for client in clients]
    for thread in threads:
        thread.start()
    heard = {client.name: [client.line() for _ in range((count - 1) * lines)] for client in clients}
    for thread in threads:
        thread.join(TIMEOUT_S)
    for name, got in heard.items():
        next_of = {}
        for line in got:
            speaker, said, number, filler = line.split(' ', 3)
            check(speaker == said + ':' and said != name and filler.strip('x') == '', 'torn:', line)
            check(int(number) == next_of.get(said, 0), 'out of order:', line)
            next_of[said] = int(number) + 1
    first, second = heard['c0'], heard['c1']
    without = [[line for line in got if not line.startswith(('c0:', 'c1:'))] for got in (first, second)]
    check(without[0] == without[1], 'two heard the same lines in different orders')
    for client in clients:
        client.sock.close()
    wait_until(lambda: chat.sockets() == 1, 'all is closed')


def case_slow(chat):
    """Who does not read is dropped, in bounded memory; the others get everything meanwhile."""
    with Client(chat, 'ann') as ann, Client(chat, 'bob') as bob, Client(chat, 'slow', receive_bytes=4096) as slow:
        ann.line()
        ann.line()
        bob.line()
        before = chat.resident_bytes()
        for i in range(40000):
            text = '%d %s' % (i, 'x' * 900)
            ann.say(text)
            line = bob.line()
            if line == '* slow was too slow':
                bob.expect('ann: ' + text)
                ann.expect('* slow was too slow')
                break
            check(line == 'ann: ' + text, 'bob got', line)
        else:
            raise Failure('slow was never dropped')
        check(chat.resident_bytes() - before <= MEMORY_BYTES_MAX, 'it grew by', chat.resident_bytes() - before)
        slow.ended()


def case_rude(chat):
    """Lines that are too long, and resets, cost their connection only."""
    with Client(chat, 'ann') as ann:
        with Client(chat, 'bob') as bob:
            ann.line()
            bob.sock.sendall(b'x' * 5000)
            ann.expect('* bob talked too much')
            bob.ended()
        for i in range(20):
            rude = Client(chat, 'rude')
            ann.line()
            if i % 2:
                rude.say('bye')
                ann.expect('rude: bye')
            reset(rude.sock)
            ann.expect('* rude was lost')
            reset(Client(chat).sock)  # nobody hears of one without a name
        ann.say('alone')
    wait_until(lambda: chat.sockets() == 1, 'all is closed')


def case_netcat(chat):
    """A real client."""
    if not shutil.which('nc'):
        return
    with Client(chat, 'ann') as ann:
        with subprocess.Popen(['nc', '127.0.0.1', str(chat.port)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as netcat:
            netcat.stdin.write(b'cat\nmiaow\n')
            netcat.stdin.flush()
            ann.line()
            ann.expect('cat: miaow')
            ann.say('shoo')
            said = [netcat.stdout.readline() for _ in range(3)]
            netcat.terminate()
        check(said[2] == b'ann: shoo\n', said)


def case_stop(chat):
    """A signal ends it with clients there, who see the end."""
    with Client(chat, 'ann') as ann, Client(chat) as shy:
        chat.stop(signal.SIGINT)
        ann.ended()
        shy.ended()


def case_idle(chat):
    """Who neither says nor hears anything is dropped."""
    sock = connect(chat.port)
    sock.sendall(b'ann\n')
    while sock.recv(1 << 16):
        pass
    sock.close()
    wait_until(lambda: chat.sockets() == 1, 'all is closed')


def main():
    global chat_path  # pylint: disable=global-statement
    chat_path = os.path.abspath(sys.argv[1])

    def run(case):
        with Program(chat_path, '0', *(['0.3'] if case is case_idle else [])) as chat:
            case(chat)

    cases = (case_two, case_pieces, case_many, case_slow, case_rude, case_netcat, case_idle, case_stop)
    run_cases([(case.__name__[5:], lambda case=case: run(case)) for case in cases])


if __name__ == '__main__':
    main()
