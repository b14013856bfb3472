"""The text encoder: golden vectors, strict weights, rows that are kept, and the zero prompt."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
import torch

from inspatio_star import parity, parity_t5
from inspatio_star.checkpoint import place, write_state
from inspatio_star.checkpoint_text import text_state_from_reference
from inspatio_star.errors import CheckpointError
from inspatio_star.text import (
    TextConfig,
    TextEncoder,
    build_encoder,
    cached_rows,
    clean,
    fingerprint,
    load_tokenizer,
    padded,
)

GOLDEN = Path(__file__).parent / 'golden'
VECTORS = load_file(GOLDEN / 't5.safetensors')
WEIGHTS = {name[2:]: tensor for name, tensor in VECTORS.items() if name.startswith('w.')}
TINY = replace(parity_t5.config_from(GOLDEN), rows=16)


def save_tokenizer(path: Path, ending: str = '$A </s>', words: int = 20) -> Path:
    vocabulary = {'<pad>': 0, '</s>': 1, '<unk>': 2, **{f'w{i}': 3 + i for i in range(words)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, '<unk>'))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(ending, special_tokens=[('</s>', 1)])
    # Ours must not fill up what it reads, whatever the file says.
    tokenizer.enable_padding(length=512)
    tokenizer.save(str(path))
    return path


@pytest.fixture
def encoder(tmp_path: Path) -> TextEncoder:
    write_state(tmp_path / 't5.safetensors', WEIGHTS, 'golden')
    return TextEncoder.load(TINY, tmp_path / 't5.safetensors',
                            save_tokenizer(tmp_path / 'tokenizer.json'), dtype=torch.float32)


@pytest.mark.golden
def test_golden_vectors() -> None:
    vectors = {name: tensor.numpy() for name, tensor in VECTORS.items()}
    comparisons = list(parity_t5.check(vectors, GOLDEN))
    assert {(c.vector, c.path) for c in comparisons} == {
        ('out.hidden', 'padded'), ('out.prompt_embeds', 'padded'),
        ('out.prompt_embeds', 'tokens alone'), ('bucket.id', 'transformers')}
    for comparison in comparisons:
        assert comparison.difference is not None
        assert comparison.difference < parity.BAR, comparison
    assert next(c for c in comparisons if c.vector == 'bucket.id').difference == 0


@pytest.mark.golden
@pytest.mark.parametrize('name, index', [
    ('w.blocks.1.pos_embedding.embedding.weight', (17, 0)),
    ('w.blocks.0.ffn.gate.0.weight', (0, 0)),
    ('w.blocks.1.attn.q.weight', (3, 1)),
    ('w.norm.weight', (5,)),
])
def test_golden_vectors_notice_another_weight(name: str, index: tuple[int, ...]) -> None:
    vectors = {key: tensor.numpy().copy() for key, tensor in VECTORS.items()}
    vectors[name][index] += 1.0
    differences = [c.difference for c in parity_t5.check(vectors, GOLDEN)]
    assert max(d for d in differences if d is not None) > parity.BAR


@pytest.mark.golden
def test_swapped_halves_of_the_gate_are_noticed() -> None:
    swapped = {'ffn.gate.0': 'ffn.fc1', 'ffn.fc1': 'ffn.gate.0'}
    vectors = {}
    for name, tensor in VECTORS.items():
        for old, new in swapped.items():
            if f'.{old}.' in name:
                name = name.replace(old, new)
                break
        vectors[name] = tensor.numpy()
    assert max(c.difference or 0 for c in parity_t5.check(vectors, GOLDEN)) > parity.BAR


@pytest.mark.golden
def test_bfloat16_is_near() -> None:
    model = build_encoder(TINY)
    place(model, text_state_from_reference(WEIGHTS, model), 't5', dtype=torch.bfloat16)
    with torch.inference_mode():
        ids, mask = VECTORS['in.ids'], VECTORS['in.mask']
        rows = model(ids, attention_mask=mask).last_hidden_state
    assert rows.dtype == torch.bfloat16
    kept, golden = rows.float()[mask > 0], VECTORS['out.prompt_embeds'][mask > 0]
    assert (kept - golden).abs().mean() < 0.03 * golden.abs().mean()
    assert not torch.equal(kept, golden)


def full_size() -> dict[str, torch.Tensor]:
    keys = json.loads((GOLDEN / 'full_size_keys.json').read_text())['umt5']['keys']
    return {name: torch.empty(shape, device='meta', dtype=torch.bfloat16)
            for name, shape in keys.items()}


def test_all_tensors_of_the_full_size_are_placed() -> None:
    reference = full_size()
    assert len(reference) == 242
    model = build_encoder(TextConfig())
    place(model, text_state_from_reference(reference, model), 'umT5', device='meta',
          dtype=torch.bfloat16)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    # One tensor has two names in the library.
    assert len(parameters) == 243
    assert {parameter.dtype for parameter in parameters.values()} == {torch.bfloat16}
    twin = parameters['encoder.embed_tokens.weight']
    assert sum(p.numel() for p in parameters.values()) - twin.numel() == 5_680_910_336


def test_missing_surplus_and_misshapen_are_named_in_one_error() -> None:
    reference = full_size()
    del reference['blocks.23.attn.o.weight']
    reference['blocks.24.norm1.weight'] = reference['norm.weight']
    reference['blocks.0.norm1.weight'] = torch.empty(4095, device='meta')
    model = build_encoder(TextConfig())
    with pytest.raises(CheckpointError) as caught:
        text_state_from_reference(reference, model)
    text = str(caught.value)
    assert 'umT5 encoder: wanted its 242 tensors' in text
    assert '1 missing: blocks.23.attn.o.weight;' in text
    assert '1 surplus: blocks.24.norm1.weight;' in text
    assert text.endswith('blocks.0.norm1.weight [4095] for [4096]')


@pytest.mark.parametrize('prompt, wanted', [
    ('  a \n\t room ', 'a room'),
    ('cats &amp;amp; dogs', 'cats & dogs'),
    ('it\u2019s a cafÃ©', "it's a café"),
    ('', ''),
])
def test_prompts_are_cleaned(prompt: str, wanted: str) -> None:
    assert clean(prompt) == wanted


def test_rows_are_those_of_the_tokens_alone(encoder: TextEncoder) -> None:
    rows = encoder.rows(' w1  w2\nw3 ')
    ids = torch.tensor([[4, 5, 6, 1]])
    with torch.inference_mode():
        wanted = encoder.model(ids).last_hidden_state[0]
    assert torch.equal(rows, wanted)
    assert not torch.equal(rows, encoder.rows('w1 w2 w4'))


def test_long_prompts_are_cut_and_still_end(encoder: TextEncoder) -> None:
    assert len(encoder.rows('w1 ' * 40)) == TINY.rows
    assert encoder.tokenizer.encode('w1 ' * 40).tokens[-1] == '</s>'


def test_zero_prompt_needs_no_encoder(tmp_path: Path) -> None:
    rows = cached_rows(None, TextConfig(), tmp_path, 'none', lambda: pytest.fail('opened'))
    assert rows.shape == (0, 4096)
    assert list(tmp_path.iterdir()) == []
    full = padded(rows, TextConfig())
    assert full.shape == (512, 4096)
    assert not full.any()


def test_padding(encoder: TextEncoder) -> None:
    rows = encoder.rows('w1 w2')
    full = padded(rows, TINY)
    assert full.shape == (16, 32)
    assert torch.equal(full[:3], rows)
    assert not full[3:].any()
    for wrong in (torch.zeros(17, 32), torch.zeros(3, 31), torch.zeros(1, 3, 32)):
        with pytest.raises(ValueError, match='wanted up to 16 rows of 32'):
            padded(wrong, TINY)


def test_a_prompt_is_encoded_once(tmp_path: Path, encoder: TextEncoder) -> None:
    opened = []

    def open_encoder() -> TextEncoder:
        opened.append(1)
        return encoder

    folder = tmp_path / 'kept'
    first = cached_rows('w1 w2', TINY, folder, 'a', open_encoder)
    again = cached_rows(' w1   w2', TINY, folder, 'a', open_encoder)
    assert torch.equal(first, again)
    assert torch.equal(first, encoder.rows('w1 w2'))
    assert len(opened) == 1
    [path] = folder.iterdir()
    # Only the rows of the tokens are kept.
    assert load_file(path)['rows'].shape == (3, 32)
    cached_rows('w1 w3', TINY, folder, 'a', open_encoder)
    cached_rows('w1 w2', TINY, folder, 'other weights', open_encoder)
    assert len(opened) == 3
    assert len(list(folder.iterdir())) == 3


def test_a_damaged_kept_file_is_told(tmp_path: Path, encoder: TextEncoder) -> None:
    cached_rows('w1', TINY, tmp_path / 'kept', 'a', lambda: encoder)
    [path] = (tmp_path / 'kept').iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    with pytest.raises(CheckpointError, match=path.name):
        cached_rows('w1', TINY, tmp_path / 'kept', 'a', lambda: encoder)
    write_state(path, {'rows': torch.zeros(2, 31)}, 'test')
    with pytest.raises(CheckpointError, match=r"wanted \"rows\" of 32, got {'rows': \[2, 31\]}"):
        cached_rows('w1', TINY, tmp_path / 'kept', 'a', lambda: encoder)


@pytest.mark.parametrize('ending, words, match', [
    ('$A', 20, r'ends a text with </s> and adds no more, got one that makes \[\]'),
    ('</s> $A </s>', 20, 'adds no more'),
    ('$A </s>', 80, 'wanted up to 64 tokens, got 83'),
])
def test_wrong_tokenizers(tmp_path: Path, ending: str, words: int, match: str) -> None:
    path = save_tokenizer(tmp_path / 'tokenizer.json', ending, words)
    with pytest.raises(CheckpointError, match=match):
        load_tokenizer(path, TINY)


def test_no_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / 'tokenizer.json'
    with pytest.raises(CheckpointError, match='wanted the file of a tokenizer, got none'):
        load_tokenizer(path, TINY)
    path.write_text('{}')
    with pytest.raises(CheckpointError, match='wanted the file of a tokenizer, got: '):
        load_tokenizer(path, TINY)


def test_fingerprint_tells_weights_apart(tmp_path: Path) -> None:
    path = tmp_path / 'a.bin'
    data = bytearray(3_000_000)
    seen = set()
    for change in (0, 1_500_000, 2_999_999):
        data[change] ^= 1
        path.write_bytes(data)
        seen.add(fingerprint(path))
    path.write_bytes(data[:-1])
    seen.add(fingerprint(path))
    assert len(seen) == 4
