"""nop: the cost of the interface itself: CPU time and user-space instructions per no-operation."""

import re
import shutil
import subprocess
import tempfile

from .bench import print_comparison, rotated
from .programs import BenchError, command_text, say

NAME = 'nop'
RUNS = 9
BATCHES = [1, 32, 256]
PROGRAMS = {  # contender: program and its options
    'ringloop': ('nop_ringloop', []),
    'ringloop-direct': ('nop_ringloop', ['--direct']),
    'ringloop-sequel': ('nop_ringloop', ['--sequel']),
    'ringloop-deadline': ('nop_ringloop', ['--sequel', '--deadline']),
    'liburing': ('nop_liburing', []),
}
COUNTED_OPS = (2048, 10240)  # two runs whose difference is free of set-up; multiples of every batch


def command(context, contender, batch, ops):
    program, options = PROGRAMS[contender]
    return [context.programs.path(program), *options, '--batch', batch, '--ops', ops]


def instructions(context, contender, batch, ops):
    """User-space instructions of a whole run, by callgrind."""
    with tempfile.TemporaryDirectory() as directory:
        file = f'{directory}/callgrind.out'
        words = ['valgrind', '--tool=callgrind', f'--callgrind-out-file={file}',
                 *map(str, command(context, contender, batch, ops))]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            raise BenchError(f'{command_text(words)} failed with status {done.returncode}: {done.stderr}')
        with open(file, encoding='utf-8') as output:
            found = re.search(r'^(?:summary|totals): (\d+)', output.read(), re.MULTILINE)
    if found is None:
        raise BenchError(f'{command_text(words)} wrote no total')
    return int(found.group(1))


def instructions_per_op(context, contender, batch):
    few, many = COUNTED_OPS
    return (instructions(context, contender, batch, many) - instructions(context, contender, batch, few)) / (many - few)


def run(context):
    contenders = [contender for contender in context.chosen(PROGRAMS) if context.programs.has(PROGRAMS[contender][0])]
    counting = shutil.which('valgrind') is not None and not context.smoke
    if not counting:
        say('nop: instructions are not counted' + ('' if context.smoke else ', there is no valgrind'))
    for batch in BATCHES:
        name = f'batch={batch}'
        ops = 1024 if context.smoke else 300_000 if batch == 1 else 1_000_000
        say(f'nop: {name}')
        for round_number in range(context.rounds(RUNS)):
            for contender in rotated(contenders, round_number):
                result = context.programs.run_json(command(context, contender, batch, ops), context.programs.cpus[0])
                context.results.add(NAME, name, contender, 'cpu_ns_per_op', result['cpu_ns_per_op'])
        for contender in contenders if counting else []:
            context.results.add(NAME, name, contender, 'instructions_per_op',
                                instructions_per_op(context, contender, batch))


def report(context):
    print_comparison(context.results, NAME, 'cpu_ns_per_op', 'nop: CPU per operation, kernel included, ns')
    if context.results.contenders(NAME, 'instructions_per_op'):
        print_comparison(context.results, NAME, 'instructions_per_op', 'nop: user-space instructions per operation')
