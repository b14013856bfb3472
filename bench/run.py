"""
Run every measurement of this folder, one after another.

Each is a program that prints its table and, last, one line of JSON.  The last line here is one
JSON document with all of them.
"""

from __future__ import annotations

import json
from pathlib import Path
import subprocess
import sys


def main() -> int:
    """Run them; return 1 if one failed, after the others have had their turn."""
    results = {}
    failed = []
    for path in sorted(Path(__file__).parent.glob('*.py')):
        if path.name == Path(__file__).name:
            continue
        print(f'{path.stem}:', file=sys.stderr)
        done = subprocess.run([sys.executable, path], stdout=subprocess.PIPE, text=True)
        *above, last = done.stdout.splitlines() or ['']
        for line in above:
            print(line)
        try:
            results[path.stem] = json.loads(last)
        except json.JSONDecodeError:
            print(f'{path.name}: wanted a last line of JSON, got {last!r}', file=sys.stderr)
            failed.append(path.stem)
            continue
        if done.returncode:
            print(f'{path.name}: exit status {done.returncode}', file=sys.stderr)
            failed.append(path.stem)
    print(json.dumps({**results, 'failed': failed}))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
