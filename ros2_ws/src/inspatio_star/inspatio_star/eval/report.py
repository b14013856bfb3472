"""What an evaluation found: tables for a terminal, a page with pictures, a JSON document."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
import json
import os
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table

from inspatio_star.eval.run import CONSTRAINT, Sample, TakeResult, control_row, summary
from inspatio_star.eval.takes import EvalError
from inspatio_star.whole_folder import refuse_existing, whole_folder

RESULTS = 'results.json'
PAGE = 'report.html'
JPEG_QUALITY = 85
# Curves: size in pixels, and the range of PSNR that is drawn, dB.
CHART_WIDTH, CHART_HEIGHT, CHART_DB = 560, 200, (5.0, 45.0)
INKS = ('#b8b8b8', '#3f7fd0', '#2aa198', '#d33682', '#cb6b16', '#6c4fc4')

# Heading and decimals of each number, in the order of the tables.
QUALITY = {
    'psnr_db': ('PSNR, dB', 2),
    'psnr_known_db': ('seen', 2),
    'psnr_unseen_db': ('unseen', 2),
    'ssim': ('SSIM', 4),
    'haarpsi': ('HaarPSI', 4),
    'fsim': ('FSIM', 4),
    'lpips': ('LPIPS', 4),
}
ITSELF = {
    'return_db': ('return, dB', 2),
    'revisit_db': ('revisit', 2),
    'revisit_unseen_db': ('revisit, unseen', 2),
    'temporal_db': ('next frame, unseen, dB', 2),
    'border_db': ('next chunk, unseen', 2),
}
CONTROL = {
    'rotation_deg': ('turn off, deg', 3),
    'direction_deg': ('way off, deg', 2),
    'found_share': ('pose found', 3),
    'ms_per_frame': ('ms per frame', 1),
}
NUMBERS = QUALITY | ITSELF | CONTROL

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #202024; background: #fafaf8;
       margin: 2em auto; max-width: 1500px; padding: 0 1em }
table { border-collapse: collapse; margin: .6em 0 1.4em }
th, td { padding: .2em .8em; text-align: right; border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left }
.best { font-weight: 700 } .faint { color: #787880 }
.row { display: flex; flex-wrap: wrap; gap: 8px; margin-bottom: 1.2em }
figure { margin: 0; width: 272px } figcaption { font-size: 13px; color: #787880 }
img { width: 100%; display: block }
"""


def refuse_report(out: str | os.PathLike[str], force: bool) -> None:
    """
    Check, before long work, that :func:`write_report` may write to a folder.

    :raises EvalError: if something is there and may not be replaced.
    """
    refuse_existing(out, force, RESULTS, EvalError)


def write_report(
    results: Sequence[TakeResult], head: Mapping[str, Any], out: str | os.PathLike[str],
    force: bool = False,
) -> dict[str, Any]:
    """
    Write ``report.html`` and ``results.json``; the folder appears whole or not at all.

    :param results: of the evaluation.
    :param head: what was evaluated, fit for JSON.
    :param out: the folder to make.
    :param force: replace an earlier report.
    :returns: the head and the means of the groups, which the JSON document has, too.
    :raises EvalError: if the folder may not be written.
    """
    refuse_report(out, force)
    document = {**head, 'groups': summary(results)}
    with whole_folder(out) as made:
        full = {**document, 'takes': [_take(result) for result in results]}
        text = json.dumps(full, indent=2, allow_nan=False)
        (made / RESULTS).write_text(text + '\n', encoding='utf-8')
        (made / PAGE).write_text(_page(document, results), encoding='utf-8')
    return document


def print_tables(document: Mapping[str, Any], console: Console) -> None:
    """Print the means of every group."""
    for group, found in document['groups'].items():
        title = f'{group}: {_takes(found)}'
        for columns, rows in _tables(found):
            table = Table(title=title, title_justify='left', box=box.SIMPLE_HEAD)
            table.add_column('', no_wrap=True)
            for name in columns:
                table.add_column(_heading(name), justify='right')
            for label, row in rows.items():
                table.add_row(label, *(_number(name, row.get(name)) for name in columns))
            console.print(table)
            title = ''


def _take(result: TakeResult) -> dict[str, Any]:
    """Return all numbers of a take, fit for JSON."""
    return {
        'name': result.name,
        'group': result.group,
        'frames': result.frames,
        'unseen_share': result.unseen_share,
        'quality': {name: quality.row for name, quality in result.quality.items()},
        'psnr_db_of_frame': {
            name: quality.psnr_db_of_frame for name, quality in result.quality.items()
        },
        'itself': result.itself,
        'control': {name: control_row(errors) for name, errors in result.control.items()},
        'ms_per_frame': result.ms_per_frame,
    }


def _tables(found: Mapping[str, Any]) -> list[tuple[list[str], dict[str, dict[str, Any]]]]:
    """Return the tables of a group: columns, and rows by their label."""
    quality = dict(found['quality'])
    quality |= {f'gain of {name}': row for name, row in found['margin'].items()}
    control = {
        name: {**row, 'ms_per_frame': found['ms_per_frame'][name]}
        for name, row in found['control'].items()
    }
    tables = []
    for names, rows in ((QUALITY, quality), (ITSELF, found['itself']), (CONTROL, control)):
        columns = [name for name in names
                   if any(row.get(name) is not None for row in rows.values())]
        if columns:
            tables.append((columns, rows))
    return tables


def _heading(name: str) -> str:
    return NUMBERS[name][0]


def _number(name: str, value: float | None) -> str:
    return '' if value is None else f'{value:.{NUMBERS[name][1]}f}'


def _takes(found: Mapping[str, Any]) -> str:
    many = f'mean of {found["takes"]} takes' if found['takes'] > 1 else 'one take'
    return f'{many}, {100 * found["unseen_share"]:.1f} % unseen'


def _page(document: Mapping[str, Any], results: Sequence[TakeResult]) -> str:
    head = {name: value for name, value in document.items() if name != 'groups'}
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        f'<title>Evaluation</title><style>{STYLE}</style><h1>Evaluation</h1>',
        '<p class="faint">',
        escape('   '.join(f'{name}: {_text(value)}' for name, value in head.items())),
        '</p>',
    ]
    for group, found in document['groups'].items():
        own = [result for result in results if result.group == group]
        parts.append(f'<h2>{escape(group)}</h2><p>{_takes(found)}</p>')
        for columns, rows in _tables(found):
            parts.append(_html_table(columns, rows))
        if len(own[0].quality[CONSTRAINT].psnr_db_of_frame) > 1:
            parts.append(_chart(own))
        for result in own:
            parts += [_html_sample(sample) for sample in result.samples]
    return '\n'.join([*parts, '</html>', ''])


def _text(value: Any) -> str:
    return f'{value:.1f}' if isinstance(value, float) else str(value)


def _html_table(columns: Sequence[str], rows: Mapping[str, Mapping[str, Any]]) -> str:
    head = ''.join(f'<th>{escape(_heading(name))}</th>' for name in columns)
    lines = [f'<table><tr><th></th>{head}</tr>']
    for label, row in rows.items():
        cells = ''.join(f'<td>{_number(name, row.get(name))}</td>' for name in columns)
        lines.append(f'<tr><td>{escape(label)}</td>{cells}</tr>')
    return '\n'.join([*lines, '</table>'])


def _chart(results: Sequence[TakeResult]) -> str:
    """Draw the mean PSNR of each frame, a line for each kind of pictures."""
    low, high = CHART_DB
    frames = list(results[0].quality[CONSTRAINT].psnr_db_of_frame)
    scale_x = (CHART_WIDTH - 40) / max(1, frames[-1] - frames[0])
    scale_y = (CHART_HEIGHT - 20) / (high - low)
    lines = []
    for db in (10.0, 20.0, 30.0, 40.0):
        y = 10 + (high - db) * scale_y
        lines.append(
            f'<line x1="40" x2="{CHART_WIDTH}" y1="{y:.0f}" y2="{y:.0f}" stroke="#ddd"/>'
            f'<text x="0" y="{y + 4:.0f}" font-size="12" fill="#787880">{db:.0f} dB</text>')
    labels = []
    for number, name in enumerate(results[0].quality):
        ink = INKS[number % len(INKS)]
        curves = [result.quality[name].psnr_db_of_frame for result in results]
        points = []
        for frame in frames:
            values = [value for curve in curves if (value := curve.get(frame)) is not None]
            x = 40 + (frame - frames[0]) * scale_x
            y = 10 + (high - float(np.clip(np.mean(values), low, high))) * scale_y
            points.append(f'{x:.1f},{y:.1f}')
        lines.append(f'<polyline fill="none" stroke="{ink}" stroke-width="2" '
                     f'points="{" ".join(points)}"/>')
        labels.append(f'<span style="color:{ink}">&#9632; {escape(name)}</span>')
    return (f'<p>PSNR of each frame, {frames[0]} to {frames[-1]}: {" ".join(labels)}</p>'
            f'<svg width="{CHART_WIDTH}" height="{CHART_HEIGHT}">{"".join(lines)}</svg>')


def _html_sample(sample: Sample) -> str:
    figures = ''.join(
        f'<figure><img alt="{escape(name)}" src="{_data_url(rgb)}">'
        f'<figcaption>{escape(name)}</figcaption></figure>'
        for name, rgb in sample.cells.items())
    return (f'<h3>{escape(sample.take)}, frame {sample.frame}</h3>'
            f'<div class="row">{figures}</div>')


def _data_url(rgb: NDArray[np.uint8]) -> str:
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    _, jpeg = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return 'data:image/jpeg;base64,' + base64.b64encode(jpeg.tobytes()).decode('ascii')
