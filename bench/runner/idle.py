"""idle: what connections cost that do nothing: user memory each, and buffers held."""

import json
import subprocess

from .bench import print_comparison
from .echo import CONTENDERS
from .programs import END_S, BenchError, command_text, read_line, say, serving
from .results import number, print_table

NAME = 'idle'
CONNECTED_S = 100
HELD_METRIC = 'buffers_held'


def measure(context, contender, n):
    """Bytes per connection and buffers held at the end, while all n connections are open and silent."""
    with serving(context.programs, f'echo_{contender}') as server:
        command = [context.programs.path('echo_load'), '--idle', '--port', server.port, '--server', server.pid,
                   '--connections', n]
        load = context.programs.start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        try:
            line = read_line(load, CONNECTED_S)
            if not line:
                raise BenchError(f'{command_text(command)} did not report')
            server.end()
            load.stdin.close()
            if load.wait(END_S) != 0:
                raise BenchError(f'{command_text(command)} failed with status {load.returncode}')
        finally:
            if load.poll() is None:
                load.kill()
                load.wait()
    result = json.loads(line)
    return (result['anon_after'] - result['anon_before']) / n, server.stats['buffers_held']


def run(context):
    n = 100 if context.smoke else 10000
    for contender in context.programs.present('echo', context.chosen(CONTENDERS)):
        say(f'idle: {contender}')
        memory, held = measure(context, contender, n)
        context.results.add(NAME, f'n={n}', contender, 'bytes_per_item', memory)
        context.results.add(NAME, f'n={n}', contender, HELD_METRIC, held)
        if contender == 'ringloop' and held != 0:
            raise BenchError(f'ringloop holds {held} buffers for {n} idle connections')


def report(context):
    print_comparison(context.results, NAME, 'bytes_per_item', 'idle: user memory per connection, bytes')
    rows = [[case, contender, number(context.results.value(NAME, case, contender, HELD_METRIC))]
            for case in context.results.cases(NAME)
            for contender in context.results.contenders(NAME, HELD_METRIC) if contender in ('ringloop', 'liburing')]
    print_table('idle: receive buffers held', ['idle', 'contender', 'buffers'], rows)
