"""Files of text, line by line: UTF-8, or UTF-16 and UTF-32 with a byte order mark; lines end with LF, CR LF or CR."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from functools import partial
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import NoReturn

from launcher.errors import UserError
from launcher.reading.binary_kinds import refuse_binary
from launcher.reading.messages import as_word, into_new, mistake
from launcher.reading.opening import open_file, size_of
from launcher.reading.packed import BLOCK

UTF8 = "utf-8-sig"
MARKS = {  # UTF-32's first mark begins with UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
LINE_CHARACTERS = 1 << 24
"""Longest line; whatever is longer holds no row. JSON documents, which are often one line, are read whole instead."""
FULL_READ_BYTES = 50 << 20
"""Files up to this size are read whole where their rows can't be counted otherwise, as in a csv with quotes."""
COUNT_BYTES = 512 << 20
"""Files up to this size have their lines counted."""
JAPANESE = ("cp932", "euc_jp")
ALPHABETS = {
    ("cp1251", "koi8_r", "cp866", "iso8859_5", "mac_cyrillic"): ("\u0400-\u045f\u0490\u0491", "оеаинтсрвлі"),
    ("cp1253",): ("\u0386-\u03ce", "αοιετσνρηάόίέ"),
    ("cp1255",): ("\u05d0-\u05ea", "יוהלאתרמב"),
}
"""Encodings of an alphabet: its letters, and those that make two thirds of a text; read in a wrong encoding, one third."""
COMMON = 0.4
"""Share of these letters from which an encoding may be the right one."""
USUAL = (
    *("cp1252", "gb18030", "big5", "cp932", "euc_jp", "cp949", "cp1251", "koi8_r", "cp1250", "iso8859_2"),
    *("cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "tis_620"),
)
"""Encodings that files of text still have, by Python's names."""
WESTERN = frozenset(
    "àáâãäåæçèéêëìíîïñòóôõöøùúûüýÿœšžßÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝŒ€£§°«»¡¿·™©®º½¼"
    "\xa0\xb4\u2013\u2014\u2018\u2019\u201a\u201c\u201d\u201e\u2022\u2026"
)
"""Letters, and marks, of Western European languages; the escapes are dashes, quotes and the like."""
GUESS_BYTES = 1 << 15
"""Bytes from which the encoding of a file is guessed."""


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line number and line, without its end; no other separator of Unicode ends a line."""
    for number, line in raw_lines(path):
        yield number, line.removesuffix("\n").removesuffix("\r")


def raw_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line number and line with its end; UserError where the file is not text."""
    with open_text(path) as file:
        try:
            for number, line in enumerate(_bounded(file), start=1):
                if "\0" in line:
                    raise _holds_nul(path, number, line)
                if len(line) == LINE_CHARACTERS and not line.endswith(("\n", "\r")):
                    raise _endless(path, number)
                yield number, line
        except UnicodeDecodeError:
            _refuse_encoding(path, file.encoding)


def whole_text(path: Path) -> str:
    """All the text of a file."""
    with open_text(path) as file:
        try:
            text = file.read()
        except UnicodeDecodeError:
            _refuse_encoding(path, file.encoding)
    if "\0" in text:
        return "".join(line for _, line in raw_lines(path))  # which says in which line it is
    return text


def _bounded(file: TextIOWrapper) -> Iterator[str]:
    """Lines, of a longer one only as much as LINE_CHARACTERS at a time, without a second byte order mark before the first."""
    others = iter(partial(file.readline, LINE_CHARACTERS), "")
    first = next(others, "").lstrip("\ufeff")
    return chain([first] if first else [], others)


def _endless(path: Path, number: int) -> UserError:
    text = f"is longer than {LINE_CHARACTERS:,} characters: this is no table of lines"
    return mistake(path, number, text, "data.format=json if it is one JSON document; or break it into lines")


def count_lines(path: Path, *, but: str = "") -> int | None:
    """Lines that hold more than the characters of `but`, or all lines; None where the file is large."""
    if size_of(path) > COUNT_BYTES:
        return None
    with open_text(path) as file:
        try:
            return sum(1 for line in _bounded(file) if not but or line.strip(but))
        except UnicodeDecodeError:
            _refuse_encoding(path, file.encoding)


def open_text(path: Path) -> TextIOWrapper:
    """The file as text with its own line ends; UserError where it is none."""
    file = open_file(path)
    try:
        start = file.peek(BLOCK)
        refuse_binary(path, start)
    except UserError:
        file.close()
        raise
    encoding = next((name for mark, name in MARKS.items() if start.startswith(mark)), UTF8)
    beginning = start.decode(encoding, errors="ignore")
    ends_with_cr = "\r" in beginning and "\n" not in beginning
    return TextIOWrapper(file, encoding, newline="\r" if ends_with_cr else "\n")


def _holds_nul(path: Path, number: int, line: str) -> UserError:
    if line.count("\0") >= len(line) // 3:
        return _unmarked_utf16(path, number, "BE" if line.startswith("\0") else "LE")
    return mistake(path, number, "holds a NUL byte", "remove it, or save the file as UTF-8 text")


def _unmarked_utf16(path: Path, number: int, order: str) -> UserError:
    remedy = f"save it as UTF-8: iconv -f UTF-16{order} -t UTF-8 {into_new(path)}"
    return mistake(path, number, "looks like UTF-16 without a byte order mark", remedy)


def _utf16_order(start: bytes) -> str | None:
    """The order of bytes in which they are text of UTF-16; what ASCII has of it, line ends at least, says so by NULs."""
    for order, at in (("LE", b"\n\0"), ("BE", b"\0\n")):
        text = start[: len(start) // 2 * 2].decode(f"utf-16-{order.lower()}", errors="replace")
        if at in start and "\ufffd" not in text[:-1] and "\0" not in text:
            return order
    return None


def _refuse_encoding(path: Path, encoding: str) -> NoReturn:
    """Say which line is not of the encoding, and which one it probably has."""
    if encoding != UTF8:
        raise mistake(path, None, f"is not whole {encoding.upper()}", "save the file as UTF-8")
    with open_file(path) as file:
        if (order := _utf16_order(file.peek(BLOCK))) is not None:
            raise _unmarked_utf16(path, 1, order)
    utf8_before = False
    with open_file(path) as file:
        in_bytes = iter(partial(file.readline, 4 * LINE_CHARACTERS), b"")
        for number, raw in enumerate(in_bytes, start=1):
            try:
                raw.decode()
            except UnicodeDecodeError as error:
                sample = (raw[max(0, error.start - 1000) :] + file.read(GUESS_BYTES))[:GUESS_BYTES]
                remedy = _only_here(path) if utf8_before else _conversion(path, sample)
                text = f"is not UTF-8: byte 0x{raw[error.start]:02x} at {error.start + 1}"
                raise mistake(path, number, text, remedy) from None
            utf8_before = utf8_before or not raw.isascii()
    raise mistake(path, None, "is not UTF-8", "save the file as UTF-8")


def _only_here(path: Path) -> str:
    return f"mend this line: lines above it are UTF-8 (iconv -c -f UTF-8 -t UTF-8 {as_word(path)} leaves such bytes out)"


def _conversion(path: Path, sample: bytes) -> str:
    encodings = _guesses(sample)
    if not encodings:
        return "save the file as UTF-8"
    name = encodings[0].upper().replace("_", "-")
    others = f", or else {' or '.join(encodings[1:])}" if len(encodings) > 1 else ""
    return (
        f"save it as UTF-8; it looks like {encodings[0]}{others}: iconv -f {name} -t UTF-8 {into_new(path)}"
    )


def _guesses(sample: bytes) -> list[str]:
    """The likeliest encodings, the first one first, of those that files usually have."""
    from charset_normalizer import from_bytes

    names = [name for name in JAPANESE if _is_kana(sample, name)]
    names += _in_alphabets(sample)
    names += ["cp1252"] if _is_western(sample) else []
    for match in from_bytes(sample):
        known = [name for name in USUAL if name in (match.encoding, *match.could_be_from_charset)]
        names += known[:1]
    return list(dict.fromkeys(names))[:2]


def _is_kana(sample: bytes, encoding: str) -> bool:
    """Whether a third of what isn't ASCII is Japanese kana in this encoding; no other language has so many."""
    text = [letter for letter in sample.decode(encoding, errors="ignore") if not letter.isascii()]
    return 3 * sum("\u3040" <= letter <= "\u30ff" for letter in text) > len(text) > 0


def _in_alphabets(sample: bytes) -> list[str]:
    """Encodings in which the sample is words of one alphabet with its common letters above all, the likeliest first."""
    shares = {
        name: _share_of_common(sample.decode(name, errors="replace"), *alphabet)
        for names, alphabet in ALPHABETS.items()
        for name in names
    }
    return sorted((name for name in shares if shares[name] > COMMON), key=lambda name: -shares[name])


def _share_of_common(text: str, letters: str, common: str) -> float:
    """The share of `common` among what isn't ASCII; 0 where that isn't mostly words of these letters, capitals in front."""
    words = [word for word in re.findall(r"[^\W\d_]{2,}", text) if not word.isascii()]
    proper = [
        re.fullmatch(f"[{letters}]+", word) and (word[1:] == word[1:].lower() or word.isupper())
        for word in words
    ]
    others = [letter.lower() for letter in text if not letter.isascii()]
    if not words or 5 * sum(map(bool, proper)) < 4 * len(words):
        return 0.0
    return sum(letter in common for letter in others) / len(others)


def _is_western(sample: bytes) -> bool:
    """Whether the text is mostly ASCII, and the rest letters and marks of Western European languages in Windows-1252."""
    text = [letter for letter in sample.decode("cp1252", errors="replace") if not letter.isascii()]
    return 5 * len(text) < len(sample) and set(text) <= WESTERN
