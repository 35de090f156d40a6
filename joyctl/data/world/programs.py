"""The rest of the source `code`: small functions and classes of many shapes, so that it is more than its benchmark."""

from __future__ import annotations

from joyctl.data.world.grammar import Grammar, words
from joyctl.data.world.stream import Stream

_WORDS = Grammar(
    {
        "noun": words(
            "item name line word value node key price row file user score path color page task event point order"
            " message letter box shape cell record token field label ticket account product number"
        ),
        "group": words(
            "items names lines words values nodes keys prices rows files users scores paths pages tasks events points"
            " orders messages letters boxes cells records tokens fields labels tickets accounts products"
        ),
        "verb": words(
            "find load save read write count add remove print check open close merge update build parse send clean"
            " copy move split join show collect group rename reset store sort filter fetch draw"
        ),
        "attr": words("name size total price color kind count parent width height text owner state level"),
        "adj": words("empty open valid big small new old active ready free long short odd even first last"),
        "const": words("0 1 2 3 10 4 5 100 8 12 20 16 50"),
        "string": words("red|yes|no|name|done|none|open|x|main|end|start|key|text|blue|all"),
        "op": words("+ - * // %"),
        "cmp": words("== > < != >= <="),
        "call": words("strip lower upper split title"),
        "error": words("ValueError KeyError TypeError OSError IndexError"),
        "cond": (
            "{noun} {cmp} {const}",
            "{noun} is None",
            "not {noun}",
            "{noun}.{attr} {cmp} {const}",
            '{noun}.{attr} == "{string}"',
            "{noun} in {group}",
            "{noun}.is_{adj}()",
            "{adj} and {noun}.{attr}",
        ),
        "expr": (
            "{noun}.{attr}",
            "{const}",
            "{noun} {op} {const}",
            "{noun}.{attr} {op} {const}",
            "{noun}.{call}()",
            "len({group})",
            '"{string}"',
            "{verb}({noun})",
            "{verb}_{noun}({noun}, {const})",
            "{group}[{const}]",
        ),
        "step": (
            "{noun} = {expr}",
            "{noun}.{attr} = {expr}",
            "{group}.append({expr})",
            "print({expr})",
            "{noun} += {const}",
            "{verb}_{noun}({expr})",
            "{noun}.{verb}({expr})",
            '{group}["{string}"] = {expr}',
        ),
    },
    recurring=frozenset({"noun", "group", "attr", "const"}),
)

_SHAPES = (
    "def {verb}_{noun}({n=noun}, {attr}={expr}):\n    if {cond}:\n        return {expr}\n    {step}\n    return {n}\n",
    "def {verb}_{g=group}({g}):\n    {n=noun} = {expr}\n    for {noun} in {g}:\n        if {cond}:\n"
    "            {step}\n    return {n}\n",
    "def is_{adj}({n=noun}):\n    return {cond}\n",
    "def {verb}_all({g=group}):\n    for {n=noun} in {g}:\n        {n}.{verb}({expr})\n        {step}\n",
    "class {Noun}:\n    def __init__(self, {a=attr}, {b=attr}={const}):\n        self.{a} = {a}\n"
    "        self.{b} = {b}\n\n    def {verb}(self, {noun}):\n        {step}\n        return self.{a} {cmp} {const}\n",
    "def {verb}_{noun}(path):\n    with open(path) as f:\n        {g=group} = f.read().{call}()\n    {step}\n"
    "    return {g}\n",
    "def {verb}_by_{a=attr}({g=group}):\n    found = dict()\n"
    "    for {n=noun} in {g}:\n        found.setdefault({n}.{a}, []).append({n})\n    return found\n",
    "while {cond}:\n    {step}\n    {step}\n    if {cond}:\n        break\n",
    "try:\n    {step}\nexcept {error}:\n    {step}\n    raise\n",
    "def {verb}_{noun}(self):\n    {step}\n    {step}\n    self.{attr} = {expr}\n",
    "from {noun} import {verb}_{noun}\n\n{step}\n{step}\nif {cond}:\n    {step}\nelse:\n    {step}\n",
    "def test_{verb}_{noun}():\n    {n=noun} = {expr}\n    {step}\n    assert {n}.{attr} {cmp} {const}\n",
    "{group} = [{expr}, {expr}, {expr}]\n{g=group} = dict()\n"
    "for {noun} in {group}:\n    {step}\n    {g}[{expr}] = {expr}\n",
)


def document(stream: Stream) -> str:
    """One program of 2 to 12 lines; it reads like Python and is not meant to run."""
    return _WORDS.say(stream, stream.zipf(_SHAPES, flatten=4), {})
