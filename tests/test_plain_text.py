"""Text that users wrote does nothing to a terminal."""

import json
import re
import unicodedata

import jsonschema
import pytest

from mocoserve.plain_text import PATTERN, UNSAFE, escaped, escaped_json

HARMLESS = "Gr\u00fc\u00dfe, \u4f60\u597d \u05e9\u05dc\u05d5\u05dd\u200f \U0001f469\u200d\U0001f52c"


def is_unsafe(letter: str) -> bool:
    """Controls, surrogates, separators, embeddings and isolates, by the Unicode database."""
    kind, turn = unicodedata.category(letter), unicodedata.bidirectional(letter)
    turns = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return kind in {"Cc", "Cs", "Zl", "Zp"} or turn in turns


def test_the_set_is_that_of_the_unicode_database() -> None:
    for code in range(0x11000):
        letter = chr(code)
        assert bool(UNSAFE.search(letter)) == is_unsafe(letter), hex(code)


def test_text_is_written_out_and_stays_readable() -> None:
    assert escaped("\x1b[31mred\x9b0m") == "\\x1b[31mred\\x9b0m"
    assert escaped("a\u202eb\ud800\n") == "a\\u202eb\\ud800\\n"
    assert escaped("a\n\tb\r", keep="\n\t") == "a\n\tb\\r"
    assert escaped(HARMLESS) == HARMLESS


@pytest.mark.parametrize("indent", [None, 2])
def test_json_means_the_same(indent: int | None) -> None:
    value = {"na\u202eme": ["\x1b\x7f\x9b", "\u2028", HARMLESS, "\ud800", "\n"]}
    text = escaped_json(json.dumps(value, ensure_ascii=False, indent=indent))
    assert json.loads(text) == value
    assert not UNSAFE.search(text.replace("\n", ""))
    text.encode()


def test_the_pattern_is_read_alike_by_json_schema() -> None:
    schema = {"type": "string", "pattern": PATTERN}
    jsonschema.validate(HARMLESS, schema)
    for text in ("\x1b", "a\u202eb", "\x00"):
        assert not re.fullmatch(PATTERN, text)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(text, schema)
