"""Presets, and public files of weights: brought by a fake of the network, proved, converted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
import hashlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
import json
from pathlib import Path
import re
import shutil
from threading import Thread
from typing import ClassVar

import pytest
from rich.console import Console
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, processors
import torch
from torch import Tensor

from inspatio_star import weights
from inspatio_star.checkpoint import metadata_of, read_state, write_state
from inspatio_star.checkpoint_text import BLOCK_NAMES
from inspatio_star.cli import main
from inspatio_star.errors import CheckpointError, PresetError
from inspatio_star.presets import PARTS, PRESETS, Preset, PublicFile, preset_named, resolved

GOLDEN = Path(__file__).parent / 'golden'
FULL_SIZE = json.loads((GOLDEN / 'full_size_keys.json').read_text())


# Presets


def test_the_public_preset_is_that_of_the_public_code() -> None:
    preset = preset_named('star-1.3b')
    assert (preset.height, preset.width) == (480, 832)
    assert [file.part for file in preset.files] == list(PARTS)
    assert preset.sampler.steps == (1000, 750, 500, 250)
    assert preset_named('star-1.3b-v1') == replace(
        preset, name='star-1.3b-v1',
        files=(preset_named('star-1.3b-v1').files[0], *preset.files[1:]))


def test_what_is_known_of_public_files_has_the_form_of_it() -> None:
    for preset in PRESETS.values():
        for file in preset.files:
            assert (file.repo is None) != (file.url is None)
            assert file.licence
            if file.sha256 is not None:
                assert len(bytes.fromhex(file.sha256)) == 32
            if file.revision is not None:
                assert len(bytes.fromhex(file.revision)) == 20


@pytest.mark.parametrize('name', PRESETS)
def test_presets_survive_json(name: str) -> None:
    kept = json.loads(json.dumps(resolved(PRESETS[name])))
    assert preset_named(name, kept) == PRESETS[name]


def test_presets_change() -> None:
    preset = preset_named('star-tiny', {'height': 96, 'dit': {'num_layers': 3, 'eps': 1},
                                        'sampler': {'steps': [1000, 500]}})
    assert preset.height == 96
    assert preset.dit == replace(PRESETS['star-tiny'].dit, num_layers=3, eps=1.0)
    assert preset.sampler.steps == (1000, 500)
    assert preset.vae == PRESETS['star-tiny'].vae


@pytest.mark.parametrize('name, changes, match', [
    ('star-2b', {}, r"preset: wanted one of star-1.3b, .*, got 'star-2b'"),
    ('star-tiny', {'dpeth': 1}, r'preset: wanted one of \{name, .*\}, got dpeth'),
    ('star-tiny', {'dit': {'layers': 1}}, r'wanted one of dit\.\{dim, .*\}, got dit\.layers'),
    ('star-tiny', {'files': []}, 'got files'),
    ('star-tiny', {'dit': 7}, 'wanted the parts of dit, got 7'),
    ('star-tiny', {'dit': {'dim': 48.0}}, 'wanted int for dit.dim, got 48.0'),
    ('star-tiny', {'dit': {'dim': True}}, 'wanted int for dit.dim, got True'),
    ('star-tiny', {'sampler': {'steps': 'all'}}, "wanted tuple for sampler.steps, got 'all'"),
    ('star-tiny', {'sampler': {'steps': []}}, r'wanted numbers for sampler.steps, got \[\]'),
    ('star-tiny', {'dit': {'dim': 47}}, 'preset star-tiny: wanted dim / num_heads'),
    ('star-tiny', {'height': 50}, 'height and width in multiples of 16, got 50x64'),
    ('star-tiny', {'text': {'rows': 8}}, 'wanted text.rows as dit.text_len, 16, got 8'),
])
def test_presets_refuse(name: str, changes: dict[str, object], match: str) -> None:
    with pytest.raises(PresetError, match=match):
        preset_named(name, changes)


# Weights of the full size: names and shapes are real, and no byte of them is.


def on_meta(part: str) -> dict[str, Tensor]:
    return {name: torch.empty(shape, device='meta')
            for name, shape in FULL_SIZE[part]['keys'].items()}


@pytest.mark.parametrize('part, key, count', [
    ('dit', 'dit', 825), ('vae', 'vae', 194), ('taehv', 'taehv', None), ('text', 'umt5', 242)])
def test_all_tensors_of_the_full_size_fit(
    monkeypatch: pytest.MonkeyPatch, part: str, key: str, count: int | None
) -> None:
    tensors = on_meta(key)
    count = count or len(tensors)
    monkeypatch.setattr(weights, 'shapes_of', lambda _: tensors)
    found = weights.fits(PRESETS['star-1.3b'], part, Path('any'))
    assert found == f'all {count} tensors placed'
    gone, tensor = tensors.popitem()
    with pytest.raises(CheckpointError, match=gone):
        weights.fits(PRESETS['star-1.3b'], part, Path('any'))
    tensors[gone] = tensor
    tensors['stranger'] = tensor
    with pytest.raises(CheckpointError, match='stranger'):
        weights.fits(PRESETS['star-1.3b'], part, Path('any'))


# A small preset with a text encoder and a tokenizer, published in a folder.


def save_text(path: Path) -> None:
    sizes = {'attn.q': (32, 32), 'attn.k': (32, 32), 'attn.v': (32, 32), 'attn.o': (32, 32),
             'norm1': (32,), 'norm2': (32,), 'pos_embedding.embedding': (32, 4),
             'ffn.gate.0': (64, 32), 'ffn.fc1': (64, 32), 'ffn.fc2': (32, 64)}
    assert sizes.keys() == BLOCK_NAMES.keys()
    shapes = {f'blocks.{block}.{name}.weight': size
              for block in range(2) for name, size in sizes.items()}
    shapes |= {'token_embedding.weight': (64, 32), 'norm.weight': (32,)}
    generator = torch.Generator().manual_seed(0)
    torch.save({name: torch.randn(shape, generator=generator, dtype=torch.float32)
                for name, shape in shapes.items()}, path)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    folder = tmp_path / 'hub'
    (folder / 'google').mkdir(parents=True)
    save_text(folder / 't5.pth')
    tokenizer = Tokenizer(models.WordLevel({'<unk>': 0, '</s>': 1}, '<unk>'))
    tokenizer.post_processor = processors.TemplateProcessing('$A </s>', None, [('</s>', 1)])
    tokenizer.save(str(folder / 'google' / 'tokenizer.json'))
    return folder


@pytest.fixture
def preset(published: Path) -> Preset:
    def file(part: str, path: str) -> PublicFile:
        data = (published / path).read_bytes()
        return PublicFile(part, path, 'MIT', repo='some/where', revision='5' * 40,
                          sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))

    return replace(PRESETS['star-tiny'], name='test', files=(
        file('text', 't5.pth'), file('tokenizer', 'google/tokenizer.json')))


@pytest.fixture
def fetch(published: Path) -> Callable[[PublicFile, Path], None]:
    def copy(file: PublicFile, folder: Path) -> None:
        assert (file.repo, file.revision) == ('some/where', '5' * 40)
        (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(published / file.path, folder / file.path)

    return copy


def refuse(file: PublicFile, folder: Path) -> None:
    raise AssertionError(f'asked for {file.path}')


def said(preset: Preset, folder: Path, fetch: weights.Fetch, *parts: str) -> str:
    out = StringIO()
    weights.download(preset, folder, parts or PARTS, fetch=fetch,
                     console=Console(file=out, width=160))
    return out.getvalue()


def with_file(preset: Preset, index: int, **changes: object) -> Preset:
    files = list(preset.files)
    files[index] = replace(files[index], **changes)
    return replace(preset, files=tuple(files))


def test_download(tmp_path: Path, preset: Preset, fetch: weights.Fetch) -> None:
    text = said(preset, tmp_path / 'w', fetch)
    table, _, after = text.rpartition('┘')
    for row in ('t5.pth', 'google/tokenizer.json', 'some/where @ 555', 'MIT'):
        assert row in table
    assert after.count('sha256 is right') == 2
    assert said(preset, tmp_path / 'w', refuse).count('already there') == 2


def test_only_some_parts(tmp_path: Path, preset: Preset, fetch: weights.Fetch) -> None:
    said(preset, tmp_path, fetch, 'tokenizer')
    assert not (tmp_path / 't5.pth').exists()
    assert (tmp_path / 'google' / 'tokenizer.json').exists()
    with pytest.raises(CheckpointError, match="wanted parts of dit, .*, got 'all'"):
        said(preset, tmp_path, refuse, 'all')


def test_a_wrong_hash_is_told(tmp_path: Path, preset: Preset, fetch: weights.Fetch) -> None:
    wrong = with_file(preset, 0, sha256='0' * 64)
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r'wanted sha256 0{64}, got .*; it is now t5'):
            said(wrong, tmp_path, fetch)
        assert [path.name for path in tmp_path.glob('t5*')] == ['t5.pth.wrong']
    fetch(wrong.files[0], tmp_path)
    [verdict] = weights.verify(wrong, tmp_path, ['text'])
    assert not verdict.is_good
    assert f'wanted sha256 {"0" * 64}, got' in verdict.text


def test_an_unknown_hash_is_told(tmp_path: Path, preset: Preset, fetch: weights.Fetch) -> None:
    unknown = with_file(preset, 0, sha256=None, size_bytes=None, revision='5' * 40)
    assert 'the right one is not known' in said(unknown, tmp_path, fetch)
    [verdict] = weights.verify(unknown, tmp_path, ['text'])
    assert verdict.is_good
    assert 'the right one is not known' in verdict.text


def test_no_network_and_no_disk(tmp_path: Path, preset: Preset) -> None:
    def fail(file: PublicFile, folder: Path) -> None:
        raise ConnectionError('no route\nto host')

    with pytest.raises(CheckpointError) as caught:
        said(preset, tmp_path, fail)
    assert str(caught.value) == (f't5.pth: wanted it from some/where @ {"5" * 40}, got: no route '
                                 '(run again: it goes on where it stopped)')
    with pytest.raises(CheckpointError, match=r'wanted 1000000000.\d GB of free disk, got'):
        said(with_file(preset, 0, size_bytes=10**18), tmp_path, refuse)


class Hub(BaseHTTPRequestHandler):
    """Serves `data` under every address; breaks off once if it is told to."""

    data = b''
    breaks_off = False
    asked: ClassVar[list[tuple[str, str, str | None]]] = []

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        came = self.headers.get('Range')
        if '/api/' in self.path:
            self.send_error(404)
            return
        self.asked.append((self.command, self.path, came))
        if with_body and self.breaks_off and len(self.asked) > 2:
            self.send_error(500)
            return
        start = int(came.removeprefix('bytes=').partition('-')[0]) if came else 0
        end = len(self.data)
        self.send_response(206 if came else 200)
        self.send_header('Content-Length', str(end - start))
        self.send_header('Content-Range', f'bytes {start}-{end - 1}/{end}')
        self.send_header('ETag', '"0"')
        self.send_header('X-Repo-Commit', '5' * 40)
        self.end_headers()
        if with_body:
            self.wfile.write(self.data[start:end // 2 if self.breaks_off else end])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(published: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    Hub.data, Hub.breaks_off, Hub.asked = (published / 't5.pth').read_bytes(), False, []
    server = ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    thread = Thread(target=server.serve_forever)
    thread.start()
    address = f'http://127.0.0.1:{server.server_port}'
    monkeypatch.setattr('huggingface_hub.constants.ENDPOINT', address)
    monkeypatch.setattr('huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE',
                        address + '/{repo_id}/resolve/{revision}/{filename}')
    # The library writes in pieces of 10 MB.
    monkeypatch.setattr('huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE', 1000)
    yield address
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_hub_is_asked_for_the_pinned_revision(
    tmp_path: Path, preset: Preset, hub: str
) -> None:
    weights.fetch_public(preset.files[0], tmp_path)
    assert (tmp_path / 't5.pth').read_bytes() == Hub.data
    address = f'/some/where/resolve/{"5" * 40}/t5.pth'
    assert Hub.asked == [('HEAD', address, None), ('GET', address, None)]
    assert [path.name for path in tmp_path.glob('t5*')] == ['t5.pth']


def test_a_download_goes_on_where_it_stopped(tmp_path: Path, preset: Preset, hub: str) -> None:
    Hub.breaks_off = True
    with pytest.raises(CheckpointError, match=r't5.pth: wanted it from some/where .*\(run again'):
        said(preset, tmp_path, weights.fetch_public, 'text')
    assert not (tmp_path / 't5.pth').exists()
    kept = (tmp_path / 't5.pth.part').stat().st_size
    assert 0 < kept < len(Hub.data)
    Hub.breaks_off = False
    assert 'sha256 is right' in said(preset, tmp_path, weights.fetch_public, 'text')
    assert Hub.asked[-1][2] == f'bytes={kept}-'
    assert not (tmp_path / 't5.pth.part').exists()


def test_an_address_outside_the_hub(tmp_path: Path, preset: Preset, hub: str) -> None:
    elsewhere = with_file(preset, 0, repo=None, url=f'{hub}/raw/t5.pth', size_bytes=None)
    # Of no known size: what an earlier attempt left is not gone on with.
    (tmp_path / 't5.pth.part').write_bytes(b'rest')
    weights.fetch_public(elsewhere.files[0], tmp_path)
    assert (tmp_path / 't5.pth').read_bytes() == Hub.data
    assert Hub.asked == [('GET', '/raw/t5.pth', None)]


def test_verify(tmp_path: Path, preset: Preset, fetch: weights.Fetch) -> None:
    assert [v.text for v in weights.verify(preset, tmp_path)] == ['wanted a file, got none'] * 2
    said(preset, tmp_path, fetch)
    assert [(v.is_good, v.text) for v in weights.verify(preset, tmp_path)] == [
        (True, 'all 22 tensors placed; sha256 is right'), (True, '2 tokens; sha256 is right')]
    assert [v.text for v in weights.verify(preset, tmp_path, with_hashes=False)] == [
        'all 22 tensors placed; not hashed', '2 tokens; not hashed']
    path = tmp_path / 't5.pth'
    state = torch.load(path, weights_only=True)
    state['norm.weight'] = state['norm.weight'][:31]
    torch.save(state, path)
    [verdict] = weights.verify(preset, tmp_path, ['text'], with_hashes=False)
    assert not verdict.is_good
    assert verdict.text.endswith('1 of another shape: norm.weight [31] for [32]')
    path.write_bytes(path.read_bytes()[:500])
    [verdict] = weights.verify(preset, tmp_path, ['text'])
    assert not verdict.is_good
    assert verdict.text.startswith('wanted a whole .pth file')


def test_convert(tmp_path: Path, preset: Preset, fetch: weights.Fetch) -> None:
    said(preset, tmp_path, fetch)
    path = tmp_path / 't5.pth'
    wanted = read_state(path)
    made = weights.convert(path)
    assert made == tmp_path / 't5.safetensors'
    assert load_file(made).keys() == wanted.keys()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in load_file(made).items())
    # The converted file is used, and still known as that of the public one.
    path.unlink()
    [verdict] = weights.verify(preset, tmp_path, ['text'])
    assert verdict == (made, True, f'all 22 tensors placed; converted from t5.pth sha256 '
                                   f'{preset.files[0].sha256}')
    assert 'already there' in said(preset, tmp_path, refuse, 'text')
    write_state(made, wanted, 'somebody')
    [verdict] = weights.verify(preset, tmp_path, ['text'])
    assert not verdict.is_good
    assert verdict.text.endswith('got somebody')


def test_convert_casts(tmp_path: Path) -> None:
    torch.save({'a': torch.tensor([1.0, 1 / 3]), 'n': torch.tensor([3])}, tmp_path / 'a.pth')
    made = weights.convert(tmp_path / 'a.pth', tmp_path / 'b.safetensors', dtype='bfloat16')
    read = load_file(made)
    assert torch.equal(read['a'], torch.tensor([1.0, 1 / 3]).bfloat16())
    assert read['n'].dtype == torch.int64
    assert metadata_of(made)['source'].startswith('a.pth sha256 ')


@pytest.mark.parametrize('arguments, match', [
    (['a.pth', '-o', 'b.pth'], 'wanted a name that ends in .safetensors'),
    (['b.safetensors'], 'wanted another file than the source; name one'),
    (['a.pth', '-o', 'b.safetensors'], r'got one that exists \(--force replaces\)'),
    (['a.pth', '--dtype', 'int8'], "dtype: wanted one of float32, .*, got 'int8'"),
    (['c.pth'], 'wanted a file, got none'),
])
def test_convert_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: list[str], match: str
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({'a': torch.zeros(3)}, 'a.pth')
    write_state('b.safetensors', {'a': torch.zeros(3)}, 'test')
    assert main(['weights', 'convert', *arguments]) == 2
    out, err = capsys.readouterr()
    [line] = err.splitlines()
    assert re.search(match, line)
    assert out == ''
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.pth', 'b.safetensors']


def test_command_line(
    tmp_path: Path, preset: Preset, fetch: weights.Fetch, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PRESETS, 'test', preset)
    monkeypatch.setattr(weights, 'fetch_public', fetch)
    monkeypatch.setenv('INSPATIO_WEIGHTS', str(tmp_path / 'w'))
    assert main(['weights', 'verify', '--preset', 'test']) == 1
    assert capsys.readouterr().out.count('WRONG') == 2
    assert main(['weights', 'download', '--preset', 'test']) == 0
    assert 'MIT' in capsys.readouterr().err
    assert main(['weights', 'verify', '--preset', 'test', '--only', 'text']) == 0
    assert capsys.readouterr().out == (
        f'good  {tmp_path}/w/t5.pth: all 22 tensors placed; sha256 is right\n')
    assert main(['weights', 'convert', str(tmp_path / 'w' / 't5.pth')]) == 0
    assert main(['weights', 'verify', '--preset', 'test']) == 0
    capsys.readouterr()
    for argv, match in ((['--preset', 'star-9'], "got 'star-9'"),
                        (['--preset', 'star-tiny'], 'wanted a preset with public weights'),
                        (['--preset', 'test', '--only', 'vae,ears'], "got 'ears'")):
        assert main(['weights', 'verify', *argv]) == 2
        assert match in capsys.readouterr().err
