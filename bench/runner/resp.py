"""resp: the RESP server of the examples and its peers under redis-benchmark; server CPU time per request."""

import csv
import shutil
import subprocess
import sys

from .bench import print_comparison, print_values, rotated
from .programs import ROOT, BenchError, command_text, environment_of, say, serving
from .results import case_name

NAME = 'resp'
CONTENDERS = ['ringloop', 'liburing', 'libuv']
RUNS = 7
LOAD = 'redis-benchmark'
CONNECTIONS = 50
REQUESTS = {1: 40_000, 16: 400_000}  # of each command
COMMANDS = 'SET,GET'
LOAD_S_MAX = 60
CHECK_S_MAX = 120


def arguments_of(contender):
    return ('0',) if contender == 'ringloop' else ('--stats',)  # the example program takes a port


def serving_contender(context, contender):
    return serving(context.programs, f'resp_{contender}', context.programs.cpus[0], arguments=arguments_of(contender))


def verify(context, contender):
    """Raises if it is not the server that the tests of the example ask for."""
    options = ['--without-timers'] if contender == 'liburing' else []
    name = f'resp_{contender}'
    command = [sys.executable, ROOT / 'tests' / 'examples' / 'resp_check.py', *options, context.programs.path(name),
               *arguments_of(contender)]
    process = context.programs.start(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                     env=environment_of(name))
    try:
        output, _ = process.communicate(timeout=CHECK_S_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise BenchError(f'{command_text(command)} did not end within {CHECK_S_MAX} s') from None
    if process.returncode != 0:
        raise BenchError(f'{command_text(command)} failed: {output.strip()}')


def run_load(context, server, depth, requests):
    """Both commands, half of the requests each; returns the requests per second (wall clock) over both."""
    command = [LOAD, '-p', server.port, '-c', CONNECTIONS, '-P', depth, '-n', requests, '-d', 64, '-r', 1000,
               '-t', COMMANDS.lower(), '--csv']
    process = context.programs.start(command, context.programs.cpus[0], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        output, errors = process.communicate(timeout=LOAD_S_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise BenchError(f'{command_text(command)} did not end within {LOAD_S_MAX} s') from None
    rates = {row['test']: float(row['rps']) for row in csv.DictReader(output.splitlines())}
    if process.returncode != 0 or set(rates) != set(COMMANDS.split(',')) or 'error' in errors.lower():
        raise BenchError(f'{command_text(command)} failed with status {process.returncode}: {errors.strip()}')
    return len(rates) / sum(1 / rate for rate in rates.values())


def measure(context, contender, depth):
    requests = 2_000 if context.smoke else REQUESTS[depth]
    with serving_contender(context, contender) as server:
        run_load(context, server, depth, requests // 10)  # the keys are there then, and the memory is warm
        before_ns = server.cpu_ns()
        ops_per_s = run_load(context, server, depth, requests)
        return {'cpu_ns_per_op': (server.cpu_ns() - before_ns) / (2 * requests), 'ops_per_s': ops_per_s}


def run(context):
    if shutil.which(LOAD) is None:
        raise BenchError(f'{LOAD} is not installed (tools/setup --for bench)')
    contenders = context.programs.present('resp', context.chosen(CONTENDERS))
    for contender in contenders:
        say(f'resp: verifying {contender}')
        verify(context, contender)
    for depth in (1, 16):
        name = case_name(n=CONNECTIONS, depth=depth)
        say(f'resp: {name}')
        for round_number in range(context.rounds(RUNS)):
            for contender in rotated(contenders, round_number):
                for metric, value in measure(context, contender, depth).items():
                    context.results.add(NAME, name, contender, metric, value)


def report(context):
    print_comparison(context.results, NAME, 'cpu_ns_per_op', 'resp: server CPU per request, ns')
    print_values(context.results, NAME, 'ops_per_s', 'resp: requests per second (wall clock: compare in a row only)')
