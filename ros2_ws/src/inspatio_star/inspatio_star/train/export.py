"""
A student as the one file that is handed out: half the bits, and all sizes in its metadata.

``python -m inspatio_star.train.export --out DIR --stage NAME FILE``
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
import sys
import tempfile

from safetensors.torch import save_file
import torch

from inspatio_star.errors import CheckpointError, InspatioError
from inspatio_star.presets import resolved
from inspatio_star.train.config import CONFIG, read_config
from inspatio_star.train.models import averaged_dit
from inspatio_star.train.saved import newest

# What the metadata is, and of which version.
SCHEMA = 'inspatio-star-weights/1'


def export(out: Path, stage: str, target: Path) -> None:
    """
    Write the averaged weights of a stage as bfloat16; the file appears whole or not at all.

    Its metadata: `schema`; `preset`, all sizes as JSON, fit for `preset_named`; `training`, stage
    and updates.

    :param out: folder of all stages.
    :param stage: whose newest checkpoint it is.
    :raises CheckpointError: if there is none, or it is damaged.
    """
    preset = read_config(out / stage / CONFIG).model
    state = {name: tensor.to(torch.bfloat16)
             for name, tensor in averaged_dit(preset, out, stage).state_dict().items()}
    path = newest(out / stage)
    if path is None:
        raise CheckpointError(f'{out / stage}: wanted a checkpoint of this stage, got none')
    document = json.loads((path / 'state.json').read_text(encoding='utf-8'))
    metadata = {'format': 'pt', 'schema': SCHEMA, 'preset': json.dumps(resolved(preset)),
                'training': json.dumps({'stage': stage, 'updates': document['updates']})}
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{target.name}.', dir=target.parent) as workshop:
        made = Path(workshop) / target.name
        save_file(state, made, metadata)
        made.chmod(0o644)
        os.replace(made, target)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    parser = argparse.ArgumentParser('inspatio_star.train.export', description=__doc__)
    parser.add_argument('--out', type=Path, required=True, help='folder of all stages')
    parser.add_argument('--stage', required=True, help='whose weights')
    parser.add_argument('file', type=Path, help='the safetensors file to make')
    given = parser.parse_args(argv)
    try:
        export(given.out, given.stage, given.file)
    except InspatioError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
