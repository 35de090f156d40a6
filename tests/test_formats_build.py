"""`joyctl data build` of other tools' token files: they stay where they are, and what is wrong with them is said."""

from __future__ import annotations

from pathlib import Path

import foreign_tokens as foreign
import numpy as np
import pytest
import training as world
from campaigns import Place

from joyctl.data.folder import open_folder
from joyctl.data.shards import open_source

RECIPE = """\
hypothesis: what is in other tools' files?
data: {tokenizer: words, cache: cache}
sources:
  megatron: {category: large_cc, tokenised: {files: store/m.bin}}
  datatrove: {category: domain, tokenised: {files: 'file://HERE/store/*.ds', tokenizer: same}}
  npy: {category: code, tokenised: {files: store/n.npy}}
  flat: {category: small_cc, tokenised: {files: [store/f0.bin, store/f1.bin], dtype: uint32}}
mixes:
  base: {megatron: 0.4, datatrove: 0.2, npy: 0.2, flat: 0.2}
  upsampled: {megatron: 0.1, datatrove: 0.3, npy: 0.3, flat: 0.3}
model: {dim: 32, n_layers: 2, n_heads: 4, n_kv_heads: 2, ffn_hidden: 64, vocab_size: 64}
training: {tokens: 5_120, seq_len: 32, batch_size: 4}
optimizer: {lr: 0.005}
phase: {durations: [0.25]}
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Token files, their tokenizer, and a copy of it under another name."""
    foreign.write_four(tmp_path / "store")
    for name in ("words", "same"):
        (tmp_path / name).mkdir()
        world.make_tokenizer(tmp_path / name)
    return Place(tmp_path, tmp_path / "data", recipe=RECIPE.replace("HERE", str(tmp_path)))


def test_files_are_read_in_place_and_remote_ones_from_their_copy(place: Place) -> None:
    done = place.call("data", "build", "small.yaml")
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    for name, ids in foreign.WHOLE.items():
        source = open_source(folder, name)
        assert (source.read(0, len(source)) == ids).all()
        if name in ("megatron", "datatrove"):
            assert source.document_starts(0, len(source)).tolist() == foreign.starts_of(foreign.TEXTS[name])
        assert sorted(file.name for file in (folder / "sources" / name).iterdir()) == ["source.json"]
    copies = sorted(path.name for path in place.folder.glob("cache/*/d.*") if path.suffix != ".lock")
    assert copies == ["d.ds", "d.ds.index", "d.ds.metadata"] and not (folder / "remote").exists()
    open_folder(folder, verify=True)
    (place.folder / "store" / "d.ds").unlink()
    assert len(open_source(folder, "datatrove")) == len(foreign.WHOLE["datatrove"]), "the copy is enough"


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        (lambda d: (d / "store/f1.bin").write_bytes(bytes(7)), 4, "store/f1.bin has 7 bytes, which is no multiple of"),
        (lambda d: (d / "store/m.idx").write_bytes(b"no"), 4, "store/m.idx is not an index of Megatron's"),
        (lambda d: (d / "store/n.npy").unlink(), 6, "store/n.npy does not exist"),
        (lambda d: (d / "store/d.ds").unlink(), 6, "no file matches file://"),
        (lambda d: (d / "same/tokenizer.json").write_text("{}"), 4, "d.ds is of tokenizer "),
        (lambda d: np.save(d / "store/n.npy", np.full(99, 28)), 4, "n.npy: id 28 at position 0 is not one of"),
    ],
)
def test_bad_files_end_a_build_with_one_message_and_no_folder(place: Place, spoil, code: int, said: str) -> None:
    spoil(place.folder)
    done = place.call("data", "build", "small.yaml")
    assert (done.returncode, done.stdout) == (code, "") and said in done.stderr and "Traceback" not in done.stderr
    assert not list(place.data.glob("[!.]*"))
