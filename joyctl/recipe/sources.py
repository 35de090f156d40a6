"""What a recipe says of its data: where tokens or texts lie, and what a source is."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from joyctl.recipe import datarules
from joyctl.recipe.strict import Category, Strict


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Files = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(_listed, json_schema_input_type=str | tuple[str, ...]),
    Field(min_length=1),
]
"""One path, glob or URL, or several; a path is relative to the recipe file or to the current folder."""


class MicroWorld(Strict):
    """The generated world of recipe `tiny`: sources, tokenizer and benchmarks from one seed, offline."""

    seed: int = Field(ge=0)
    """Seed of the world: texts, facts, tokenizer, benchmarks. Not the seed of training."""


class Heldout(Strict):
    """Documents that no run is trained on, chosen by the hash of their text: copies fall on the same side."""

    share: float = Field(default=0.001, ge=0, lt=1)
    """Share of a source's documents that may be held out; 0 for none."""
    documents: int = Field(default=1000, ge=0)
    """At most so many a source, those with the smallest hashes; the rest of the share is not trained on either."""


class Data(Strict):
    """Where tokenised data lies."""

    world: MicroWorld | None = None
    """Generate the micro-world. Give this, `tokenizer` or `folder`."""
    tokenizer: str | None = Field(default=None, min_length=1)
    """The tokenizer of all sources: a folder with tokenizer.json, or a name on the Hugging Face hub. `joyctl data
    build` then makes the data folder from every source's `text` or `tokenised`."""
    folder: str | None = None
    """The folder of tokenised data, as `joyctl data build` writes it: sources/<name>/, tokenizer/, tasks/. With
    `tokenizer` it is built there; alone it is taken as it is. Relative to the current folder, as `--data` is."""
    heldout: Heldout = Heldout()
    """What is held out of sources that are tokenised from text."""
    max_epochs: float = Field(default=4.0, gt=0)
    """How often a run may see any source at most, in trunk and phase together; a source's own `max_epochs` wins."""
    cache: str | None = Field(default=None, min_length=1)
    """Folder for local copies of files that lie in an object store; `remote/` in the data folder when not given."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self._refuse(datarules.check_data(self))


class Text(Strict):
    """Documents in text, to be tokenised."""

    files: Files | None = None
    """Files of documents: .jsonl, .parquet, or plain text (.txt, one document a file), also .zst and .gz of jsonl and
    text; local paths, globs or URLs that fsspec knows. A document takes some 150 times its size in memory while it is
    tokenised: cut up a .txt of a hundred megabytes. Give this or `dataset`."""
    dataset: str | None = Field(default=None, min_length=1)
    """A dataset's name on the Hugging Face hub, or a folder that `datasets.load_dataset` takes; it is streamed."""
    config: str | None = Field(default=None, min_length=1)
    """Configuration of the dataset."""
    split: str = Field(default="train", min_length=1)
    """Split of the dataset."""
    revision: str | None = Field(default=None, min_length=1)
    """Branch, tag or commit of a dataset on the hub."""
    column: str = Field(default="text", min_length=1)
    """Which field of a document is its text."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self._refuse(datarules.check_text(self))


class Tokenised(Strict):
    """Token ids that are read in place."""

    files: Files
    """Files of token ids: local paths, globs or URLs that fsspec knows. They are one sequence, in the order given, a
    glob's in that of its names."""
    format: Literal["auto", "megatron", "datatrove", "npy", "flat"] = "auto"
    """`megatron` (.bin with .idx), `datatrove` (.ds), `npy`, or `flat` (.bin of bare ids); `auto` goes by names and by
    what lies beside them."""
    dtype: Literal["uint16", "int32", "uint32", "int64"] | None = None
    """Type of one id in little-endian order; only `flat` and `datatrove` need to be told."""
    tokenizer: str | None = Field(default=None, min_length=1)
    """What tokenised them, a folder or a name on the hub: refused unless it is the recipe's `data.tokenizer`. Where
    it is not given, and the files do not tell, they are taken to be of it."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self._refuse(datarules.check_tokenised(self))


class Source(Strict):
    """One dataset of documents."""

    category: Category
    """Its place in the paper's four categories."""
    text: Text | None = None
    """Documents that `joyctl data build` tokenises with `data.tokenizer`. Give this or `tokenised`."""
    tokenised: Tokenised | None = None
    """Files of token ids that are read where they lie."""
    tokens: int | None = Field(default=None, gt=0)
    """How many tokens it has, as far as is known: for planning before its data is there, which then counts."""
    max_epochs: float | None = Field(default=None, gt=0)
    """How often a run may see it at most, in trunk and phase together, instead of `data.max_epochs`; it also bounds
    its share in mixes by category."""
    in_mixes: bool = True
    """Whether mixes by category give it a share; false for a dataset that is only probed."""
    dataset: str | None = Field(default=None, min_length=1)
    """Where it comes from, in words: its name on the Hugging Face hub."""
    about: str | None = Field(default=None, min_length=1)
    """What is worth knowing of it, such as where its size stands."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self._refuse(datarules.check_source(self))
