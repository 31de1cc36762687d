#!/usr/bin/env python3
"""The example fds hands open files to clients: fds_check.py FDS"""
import array
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time


def line(client, fds_max=4):
    """One answer, and the descriptors that came with it."""
    data, fds, flags, _ = socket.recv_fds(client, 4096, fds_max)
    assert flags & socket.MSG_CTRUNC == 0
    while not data.endswith(b"\n"):
        more = client.recv(1)
        assert more, f"the end after {data!r}"
        data += more
    return data.decode().rstrip("\n"), list(fds)


def connect(path):
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(20)
    client.connect(path)
    return client


def ask(client, name):
    client.sendall(name + b"\n")
    return line(client)


def files_come_open(client, directory):
    for number in range(50):
        with open(os.path.join(directory, f"file{number}"), "w", encoding="ascii") as file:
            file.write(f"content {number}")
        text, fds = ask(client, b"file%d" % number)
        assert text == "ok" and len(fds) == 1, (text, fds)
        assert os.read(fds[0], 100) == b"content %d" % number
        os.close(fds[0])


def errors_are_told(client):
    assert ask(client, b"missing") == ("No such file or directory", [])
    for name in (b"", b"..", b"../file1", b"/etc/passwd"):
        assert ask(client, name) == ("not a file's name", []), name


def requests_in_one_go(client):
    client.sendall(b"file1\nmissing\nfile2\n")
    got = []
    texts = b""
    while texts.count(b"\n") < 3:
        data, fds, _, _ = socket.recv_fds(client, 4096, 4)
        assert data
        texts += data
        got += fds
    assert texts == b"ok\nNo such file or directory\nok\n", texts
    assert [os.read(fd, 100) for fd in got] == [b"content 1", b"content 2"]
    for fd in got:
        os.close(fd)


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def settled_at(pid, count):
    """Whether the server has so many before long: it may still be closing those of the client before."""
    until = time.monotonic() + 20
    while descriptors(pid) != count and time.monotonic() < until:
        time.sleep(0.01)
    return descriptors(pid) == count


def main():
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "socket")
        with subprocess.Popen([sys.argv[1], directory, path], stdout=subprocess.PIPE) as server:
            try:
                assert server.stdout.readline() == b"ready\n"
                before = descriptors(server.pid)
                with connect(path) as client:
                    files_come_open(client, directory)
                    errors_are_told(client)
                    requests_in_one_go(client)
                    client.shutdown(socket.SHUT_WR)
                    assert client.recv(1) == b""
                with connect(path) as client:
                    client.sendall(b"x" * 1000)
                    try:
                        assert client.recv(1) == b""
                    except ConnectionResetError:
                        pass
                with connect(path) as client:  # one who sends descriptors gets rid of them
                    client.sendmsg([b"file1\n"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1]))])
                    text, fds = line(client)
                    assert text == "ok"
                    os.close(fds[0])
                    assert settled_at(server.pid, before + 1)
            finally:
                server.send_signal(signal.SIGINT)
                status = server.wait(20)
            assert status == 0, status
            assert not os.path.exists(path)
    print("ok")


if __name__ == "__main__":
    main()
