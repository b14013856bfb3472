"""
What a run leaves on disk so that it can go on: weights, averages, moments of optimizers.

Safetensors and JSON, nothing pickled; each checkpoint appears whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
import json
from pathlib import Path
import shutil
from typing import Any

import torch
from torch import Tensor, nn

from inspatio_star.checkpoint import read_state, require_shapes, write_state
from inspatio_star.errors import CheckpointError
from inspatio_star.train.sharded import fill, whole, whole_state
from inspatio_star.whole_folder import whole_folder

PREFIX = 'step-'
KEPT = 2
MOMENTS = ('exp_avg', 'exp_avg_sq')


def newest(folder: Path) -> Path | None:
    """Return the newest checkpoint of a stage; None if there is none."""
    found = sorted(folder.glob(f'{PREFIX}[0-9]*'))
    return found[-1] if found else None


def save(
    folder: Path, step: int, nets: Mapping[str, nn.Module], average: Mapping[str, Tensor],
    optimizers: Mapping[str, torch.optim.Optimizer], updates: Mapping[str, int], seconds: float,
    writes: bool = True,
) -> None:
    """
    Write a checkpoint, and delete all but the newest ones.

    :param folder: of the stage.
    :param step: updates done.
    :param nets: what learns, by name.
    :param average: of the student's weights.
    :param optimizers: of each net.
    :param updates: of each net.
    :param seconds: spent on training until now.
    :param writes: whether this process does; where weights are split, all others must call, too.
    """
    files: dict[str, dict[str, Tensor]] = {}
    for name, net in nets.items():
        files[name] = whole_state(net)
        if updates[name]:
            state = optimizers[name].state
            files[f'{name}.moments'] = {
                f'{moment}/{key}': whole(state[parameter][moment])
                for key, parameter in net.named_parameters() if parameter in state
                for moment in MOMENTS}
    files['average'] = {name: whole(tensor) for name, tensor in average.items()}
    if not writes:
        return
    with whole_folder(folder / f'{PREFIX}{step:08d}') as made:
        for name, tensors in files.items():
            write_state(made / f'{name}.safetensors', tensors, 'training')
        document = {'step': step, 'updates': dict(updates), 'seconds': seconds}
        (made / 'state.json').write_text(json.dumps(document, indent=1) + '\n', encoding='utf-8')
    for old in sorted(folder.glob(f'{PREFIX}[0-9]*'))[:-KEPT]:
        shutil.rmtree(old)


def load(
    path: Path, nets: Mapping[str, nn.Module], average: Mapping[str, Tensor],
    optimizers: Mapping[str, torch.optim.Optimizer],
) -> dict[str, Any]:
    """
    Fill all that learns from a checkpoint.

    :returns: `step`, `updates` of each net, and `seconds`.
    :raises CheckpointError: if something is missing, damaged, or of another model.
    """
    try:
        state: dict[str, Any] = json.loads((path / 'state.json').read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise CheckpointError(f'{path}: wanted a checkpoint of training, got: {error}') from None
    for name, net in nets.items():
        _fill(path / f'{name}.safetensors', net.state_dict())
        updates = state['updates'][name]
        if not updates:
            continue
        wanted: dict[str, Tensor] = {}
        file = path / f'{name}.moments.safetensors'
        learned = read_state(file)
        for key, parameter in net.named_parameters():
            # What a stage leaves as it is has no moments.
            if not any(f'{moment}/{key}' in learned for moment in MOMENTS):
                continue
            moments = {moment: torch.zeros_like(parameter) for moment in MOMENTS}
            optimizers[name].state[parameter] = {
                'step': torch.tensor(float(updates)), **moments}
            wanted |= {f'{moment}/{key}': tensor for moment, tensor in moments.items()}
        _fill(file, wanted, learned)
    _fill(path / 'average.safetensors', average)
    return state


def _fill(
    path: Path, wanted: Mapping[str, Tensor], came: Mapping[str, Tensor] | None = None
) -> None:
    came = read_state(path) if came is None else came
    require_shapes(str(path), {name: tuple(part.shape) for name, part in wanted.items()}, came)
    fill(wanted, came)


def load_average(path: Path, dit: nn.Module) -> None:
    """
    Fill a network with the average of a checkpoint.

    :raises CheckpointError: if it is missing, damaged, or of another model.
    """
    _fill(path / 'average.safetensors', dit.state_dict())
