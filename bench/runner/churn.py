"""churn: connect, one echoed message, end; server CPU time per connection."""

from .bench import print_comparison, print_values, rotated
from .programs import BenchError, say, serving
from .results import case_name

NAME = 'churn'
CONTENDERS = ['ringloop', 'liburing', 'libuv', 'libev']
RUNS = 7
LOAD = 'churn_load'


def cases(context):
    """Keys of a case: n connections at once; the full form also ends them by FINs, where the short one resets them."""
    reset = [{'n': n} for n in (1, 64)]
    ends = [{'n': n, 'end': 'close'} for n in (1, 64)]
    return reset + ends if context.full or context.smoke else reset


def run_load(context, contender, case, *extra):
    warmup_ms, measure_ms = (5, 30) if context.smoke else (80, 300)
    cpu = context.programs.cpus[0]
    with serving(context.programs, f'echo_{contender}', cpu) as server:
        return context.programs.run_json(
            [context.programs.path(LOAD), '--port', server.port, '--server', server.pid, '--connections', case['n'],
             '--end', case.get('end', 'reset'), '--warmup-ms', warmup_ms, '--measure-ms', measure_ms, *extra], cpu)


def run(context):
    if not context.programs.has(LOAD):
        raise BenchError(f'{context.programs.path(LOAD)} was not built')
    contenders = context.programs.present('echo', context.chosen(CONTENDERS))
    for case in cases(context):
        name = case_name(**case)
        say(f'churn: {name}')
        for round_number in range(context.rounds(RUNS)):
            for contender in rotated(contenders, round_number):
                result = run_load(context, contender, case)
                for metric in ('cpu_ns_per_op', 'ops_per_s'):
                    context.results.add(NAME, name, contender, metric, result[metric])
        for contender in contenders:
            result = run_load(context, contender, case, '--syscalls')
            if 'syscalls_per_op' in result:
                context.results.add(NAME, name, contender, 'syscalls_per_op', result['syscalls_per_op'])


def report(context):
    print_comparison(context.results, NAME, 'cpu_ns_per_op', 'churn: server CPU per connection, ns')
    print_values(context.results, NAME, 'syscalls_per_op', 'churn: system calls of the server per connection')
