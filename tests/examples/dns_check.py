#!/usr/bin/env python3
"""The dns example answers: dns_check.py DNS

Asks it with packets of its own making, and with dig if that is installed.
"""

import shutil
import socket
import struct
import subprocess
import sys

TIMEOUT_S = 10
A, TXT, MX, ANY = 1, 16, 15, 255


def name_bytes(name):
    return b''.join(bytes([len(label)]) + label.encode() for label in name.split('.')) + b'\0'


def query(name, kind, number=0x1234, flags=0x0100):
    return struct.pack('>6H', number, flags, 1, 0, 0, 0) + name_bytes(name) + struct.pack('>2H', kind, 1)


def ask(server, packet):
    server.send(packet)
    return server.recv(4096)


def records(packet, question_bytes):
    """(type, data) of each answer."""
    at, found = 12 + question_bytes, []
    for _ in range(struct.unpack('>H', packet[6:8])[0]):
        assert packet[at:at + 2] == b'\xc0\x0c', packet
        kind, cls, _, size = struct.unpack('>2HIH', packet[at + 2:at + 12])
        assert cls == 1, packet
        found.append((kind, packet[at + 12:at + 12 + size]))
        at += 12 + size
    assert at == len(packet), packet
    return found


def check(server, name, kind, code, expected):
    sent = query(name, kind)
    answer = ask(server, sent)
    assert answer[:2] == sent[:2], answer
    assert answer[2] == 0x85 and answer[3] == code, answer
    assert answer[12:len(sent)] == sent[12:], answer
    assert records(answer, len(sent) - 12) == expected, answer


def check_packets(server):
    text = b'an event loop on io_uring'
    a = (A, socket.inet_aton('192.0.2.1'))
    txt = (TXT, bytes([len(text)]) + text)
    check(server, 'ringloop.test', A, 0, [a])
    check(server, 'RingLoop.TEST', TXT, 0, [txt])
    check(server, 'ringloop.test', ANY, 0, [a, txt])
    check(server, 'www.ringloop.test', A, 0, [(A, socket.inet_aton('192.0.2.2')), (A, socket.inet_aton('192.0.2.3'))])
    check(server, 'ringloop.test', MX, 0, [])
    check(server, 'nobody.test', A, 3, [])
    check(server, 'a' * 63 + '.' + 'b' * 63 + '.test', A, 3, [])
    # What makes no sense gets an answer that says so, or none; and the next question is answered.
    header = struct.pack('>6H', 7, 0x0100, 1, 0, 0, 0)
    for packet, code in ((query('x', A, flags=0x1000), 4), (header, 1), (header + b'\x3fabc', 1),
                         (header + b'\xc0\x0c\0\1\0\1', 1), (header + b'\x01x\0\0', 1),
                         (header + b'\x3f' * 300, 1), (header + b'\x3f' * 2000, 1)):
        answer = ask(server, packet)
        assert answer[:2] == packet[:2] and answer[3] == code, (packet, answer)
    for packet in (b'', b'x', header[:11], query('ringloop.test', A, flags=0x8100)):
        server.send(packet)
    check(server, 'ringloop.test', A, 0, [a])


def check_burst(server, count=100):
    """Many at once: each is answered, once."""
    for number in range(count):
        server.send(query('ringloop.test', A if number % 3 else TXT, number))
    numbers = {struct.unpack('>H', server.recv(4096)[:2])[0] for _ in range(count)}
    assert numbers == set(range(count)), numbers


def check_dig(port):
    for kind, expected in (('A', '192.0.2.1'), ('TXT', '"an event loop on io_uring"')):
        done = subprocess.run(['dig', '@127.0.0.1', '-p', str(port), '+short', '+timeout=5', '+noedns', '+nocookie',
                               'ringloop.test', kind], capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.strip() == expected, done


def main():
    process = subprocess.Popen([sys.argv[1], '0'], stdout=subprocess.PIPE, text=True)
    try:
        word, port = process.stdout.readline().split()
        assert word == 'ready'
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.settimeout(TIMEOUT_S)
        server.connect(('127.0.0.1', int(port)))
        check_packets(server)
        check_burst(server)
        if shutil.which('dig'):
            check_dig(port)
        process.terminate()
        assert process.wait(TIMEOUT_S) == 0
    finally:
        process.kill()
        process.wait()


main()
