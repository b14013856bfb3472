"""
Train one stage: ``python -m inspatio_star.train STAGE --config FILE --data DIR --out DIR``.

With ``torchrun --nproc-per-node N -m inspatio_star.train ...`` on N processes.
"""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
import sys
import warnings

import torch.distributed as dist

from inspatio_star.errors import InspatioError
from inspatio_star.memory import keep_freed_memory
from inspatio_star.train.clips import Clips, Kind
from inspatio_star.train.config import read_config
from inspatio_star.train.engine import Run, Workers
from inspatio_star.train.models import (
    STAGES,
    codec_of,
    evaluation_of,
    optimizers_of,
    stage_of,
)
from inspatio_star.train.saved import newest

# Folders of clips in the data folder.
FOLDERS: dict[Kind, str] = {'v2v': 'train', 't2v': 't2v'}
HELD_OUT = 'heldout'


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return its exit code: 0 at the end of the stage, 3 before it."""
    parser = argparse.ArgumentParser('inspatio_star.train', description=__doc__)
    parser.add_argument('stage', choices=STAGES)
    parser.add_argument('--config', type=Path, required=True, help='TOML file of the stage')
    parser.add_argument('--data', type=Path, required=True,
                        help='folder with train, heldout and t2v, folders of clips')
    parser.add_argument('--out', type=Path, required=True, help='folder of all stages')
    parser.add_argument('--name', help='of its folder there; default: that of the stage')
    parser.add_argument('--resume', action='store_true', help='go on from the newest checkpoint')
    parser.add_argument('--minutes', type=float, help='stop after this time, with a checkpoint')
    given = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format='%(asctime)s %(message)s')
    # Of the normalisations of autocast, which are as exact without fusion.
    warnings.filterwarnings('ignore', message='Mismatch dtype between input and weight')
    keep_freed_memory()
    try:
        return _train(given)
    except InspatioError as error:
        print(error, file=sys.stderr)
        return 2


def _train(given: argparse.Namespace) -> int:
    config = read_config(given.config)
    workers = Workers(int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1)))
    folder: Path = given.out / (given.name or given.stage)
    if not given.resume and newest(folder) is not None:
        raise InspatioError(f'{folder}: wanted an empty folder, got one with checkpoints '
                            '(--resume goes on)')
    if workers.count > 1:
        dist.init_process_group('gloo')
    try:
        codec = codec_of(config.model, config.seed)
        stage = stage_of(given.stage, config, given.out)
        kinds = sorted({stage.turn(step)[1] for step in range(config.steps)})
        clips = {kind: Clips(given.data / FOLDERS[kind]) for kind in kinds}
        evaluate = evaluation_of(config, codec, Clips(given.data / HELD_OUT)) \
            if 'v2v' in kinds else None
        run = Run(folder, config, stage, codec, clips, optimizers_of(stage, config), evaluate,
                  workers)
        if given.resume:
            run.resume()
        return 0 if run.run(given.minutes) else 3
    finally:
        if workers.count > 1:
            dist.destroy_process_group()


if __name__ == '__main__':
    sys.exit(main())
