"""What is freed is kept for the next step, and given back when it is asked for."""

import json
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import json, threading
import numpy as np, psutil
from inspatio_star.memory import give_back_memory, keep_freed_memory

def mib():
    return psutil.Process().memory_info().rss / 2 ** 20

if KEEP:
    keep_freed_memory()
found = [mib()]

def work():
    array = np.ones(2 ** 23)
    found.append(mib())
    del array
    found.append(mib())

thread = threading.Thread(target=work)
thread.start()
thread.join()
give_back_memory()
print(json.dumps([*found, mib()]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='another C library')
@pytest.mark.parametrize('keep', [True, False])
def test_what_a_thread_frees_is_kept_until_it_is_given_back(keep: bool) -> None:
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM.replace('KEEP', str(keep))],
        capture_output=True, text=True, timeout=60, check=True)
    before, full, freed, given = json.loads(done.stdout)
    assert full > before + 60
    assert (freed > before + 60) == keep
    assert given < before + 4
