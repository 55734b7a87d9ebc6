"""Reads one list in a process of its own: a spreadsheet, CSV or pasted cells in, JSON out.

A script that stands alone: the standard library and calamine, nothing of the app, so that it
starts in a twentieth of a second. `webapp.messages.lists.reading` starts it and says what goes in
and comes out. A hostile file can end calamine's process (Rust's out-of-memory cannot be caught):
so nothing is given to calamine that was not looked at here first, and whatever the look does not
know ends this process, not the one that serves pages.
"""

import codecs
import csv
import json
import re
import resource
import string
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

MEMORY_BYTES = 512 * 2**20
CPU_S = 20
MAX_OUTPUT_BYTES = 40 * 10**6
MAX_UNZIPPED_BYTES = 50 * 10**6
MAX_ENTRIES = 5_000
MAX_SHARED_STRINGS = 2_000_000
MAX_ROWS = 20_000
"""Filled ones below the headings."""
MAX_ROWS_ABOVE = 10
MAX_COLUMNS = 100
MAX_CELLS = MAX_ROWS * MAX_COLUMNS
"""From A1 to the last filled row and column: calamine keeps all that lies between in memory."""
MAX_CELL_CHARACTERS = 2_000

Value = str | list[str]
"""A cell as JSON: its text, or what it is and how it is written: `["date", "2026-11-24"]`. Kinds
are number, percent, boolean, date, time and datetime."""


class Refused(Exception):
    """The list cannot be read; `code` says why."""

    def __init__(self, code: str, *, row: int | None = None, count: int | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.row = row
        self.count = count


@dataclass
class Line:
    """A row that has something in it."""

    number: int
    values: list[Value]
    is_hidden: bool = False
    field_count: int = 0
    """How many cells a CSV file writes in this row, empty ones too; 0 for spreadsheets."""


@dataclass
class Answer:
    format: str
    lines: list[Line]
    encoding: str = ""
    separator: str = ""
    sheet: str = ""
    sheets: list[str] = field(default_factory=list)
    hidden_columns: list[int] = field(default_factory=list)
    merged: int = 0
    suspicious: str = ""
    """A word that shows that the character set may be another one."""


def main() -> None:
    """Read options, a line of JSON, and then the file from stdin; write JSON to stdout."""
    limit_resources()
    options = json.loads(sys.stdin.buffer.readline())
    content = sys.stdin.buffer.read()
    sys.stdout.buffer.write(answer(content, **options))


def limit_resources() -> None:
    limits = (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_S),
        # An abort must not leave people's numbers on the disk.
        (resource.RLIMIT_CORE, 0),
    )
    for kind, limit in limits:
        # macOS does not keep RLIMIT_AS: there the look alone guards.
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, (limit, limit))


def answer(content: bytes, **options: Any) -> bytes:
    try:
        read = as_json(read_list(content, **options))
        if len(read) <= MAX_OUTPUT_BYTES:
            return read
        refused = Refused("too_big_inside")
    except Refused as error:
        refused = error
    except MemoryError:
        refused = Refused("too_big_inside")
    found = {"refused": refused.code, "row": refused.row, "count": refused.count}
    return json.dumps(found).encode()


def as_json(read: Answer) -> bytes:
    found = {**vars(read), "lines": [list(vars(line).values()) for line in read.lines]}
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()


def read_list(content: bytes, *, sheet: str, encoding: str, is_pasted: bool) -> Answer:
    """Choose how to read by what the content is, never by its name."""
    if content.startswith(b"PK\x03\x04") and not is_pasted:
        read = read_spreadsheet(content, sheet)
    elif content.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        is_encrypted = "EncryptedPackage".encode("utf-16-le") in content
        raise Refused("password" if is_encrypted else "old_excel")
    else:
        read = read_text(content, encoding, is_pasted=is_pasted)
    read.lines = [line for line in read.lines if any(line.values)]
    if not read.lines:
        raise Refused("empty")
    refuse_too_many_rows(len(read.lines))
    return read


def refuse_too_many_rows(filled_count: int) -> None:
    if filled_count > MAX_ROWS + MAX_ROWS_ABOVE:
        raise Refused("rows", count=filled_count - 1)


# --- What a cell becomes ------------------------------------------------------------------------

DURATION = re.compile(r"PT(\d+)H(\d+)M\d+(?:\.\d+)?S", re.ASCII)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def cell(value: Any, *, is_percent: bool = False) -> Value:
    """Return a cell of calamine's as JSON. Error cells arrive as empty text."""
    match value:
        case str():
            duration = DURATION.fullmatch(value)
            return f"{int(duration[1])}:{duration[2]}" if duration else clean(value)
        case bool():
            return ["boolean", "true" if value else ""]
        case int() | float():
            written = plain(value * 100 if is_percent else value)
            return ["percent" if is_percent else "number", written] if written else ""
        case datetime():
            return moment(value)
        case date():
            return ["date", value.isoformat()]
        case time():
            rounded = rounded_to_second(datetime.combine(date(2000, 1, 1), value))
            return ["time", rounded.time().isoformat()]
        case timedelta():
            return hours_and_minutes(value)
    return ""


def clean(text: str) -> str:
    """Strip, compose (NFC), and drop control characters except line ends."""
    if text.isascii() and text.isprintable() and "_x000D_" not in text:
        return text.strip()
    text = text.replace("\r\n", "\n").replace("_x000D_\n", "\n").replace("_x000D_", "\n")
    text = text.replace("\r", "\n").replace("\t", " ")
    return unicodedata.normalize("NFC", CONTROL.sub("", text)).strip().strip("\ufeff")


def plain(number: float) -> str:
    """Return the digits that a spreadsheet shows: at most 15 that count, no exponent, no ".0"."""
    if number != number or number in (float("inf"), float("-inf")):
        return ""
    if abs(number) < 1e15 and number == int(number):
        return str(int(number))
    return format(Decimal(format(number, ".15g")), "f")


def moment(value: datetime) -> Value:
    """Midnight is a date without a time: that is how spreadsheets store dates."""
    rounded = rounded_to_second(value)
    if rounded.time() == time():
        return ["date", rounded.date().isoformat()]
    return ["datetime", rounded.isoformat()]


def rounded_to_second(value: datetime) -> datetime:
    """Spreadsheets store times as fractions of a day, which are seldom exact."""
    try:
        return (value + timedelta(microseconds=500_000)).replace(microsecond=0)
    except OverflowError:
        return value.replace(microsecond=0)


def hours_and_minutes(duration: timedelta) -> str:
    minutes = round(abs(duration).total_seconds() / 60)
    sign = "-" if duration < timedelta() else ""
    return f"{sign}{minutes // 60}:{minutes % 60:02}"


# --- Text: which characters the bytes are -------------------------------------------------------

LINE_END = re.compile("\r\n|\r|\n")
BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
GERMAN_ENCODINGS = ("cp1252", "cp850", "mac-roman")
OTHER_ENCODINGS = ("cp1250", "iso8859-2", "cp1251", "cp1253", "cp1254", "koi8-r")
VALID_UTF8 = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)
UNUSUAL_WORD = re.compile(rb"[^\s,;|\"]*[\x80-\xff][^\s,;|\"]*")
MAX_WORDS = 2_000
TYPOGRAPHY = "–—€„“”‚‘’…•·§°©®™«»‹›²³½¼"
GERMAN = frozenset("äöüÄÖÜß")
WESTERN = GERMAN | frozenset("éèêëáàâçíîïñóôúûÉ")
"""What cp1252 names in Germany hold, too. The codes of others are letters of other alphabets: ø is
ř in Czech, æ is ć in Polish."""
FINAL_ELSEWHERE = ("è", "ê", "ï", "ñ", "î", "â", "û")
"""At the end of a name these are Slavic or Romanian letters, read as cp1252."""
# "MÃ¼ller" and "â€“": UTF-8 that somebody read as cp1252 and wrote as UTF-8 again.
TWICE_ENCODED = re.compile("[ÂÃÄÅ][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|â€|\ufffd")


def decode(content: bytes, chosen: str) -> tuple[str, str, str]:
    """Return the text, its encoding, and a word that puts the encoding in doubt, or "".

    `chosen` is the encoding that a person chose, or "".
    """
    for mark, encoding in BOMS:
        if content.startswith(mark):
            text = strictly(content[len(mark) :], encoding)
            return text, encoding, "" if chosen else twice_encoded(text)
    if chosen:
        return strictly(content, chosen), chosen, ""
    if encoding := utf16_by_its_zeros(content):
        return strictly(content, encoding), encoding, ""
    if not content.isascii() and not is_like_utf8(content):
        encoding = best_encoding(content)
        text = content.decode(encoding, "replace")
        return text, encoding, doubtful_word(content, encoding)
    text = strictly(content, "utf-8")
    return text, "utf-8", twice_encoded(text)


def strictly(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        before = content[: error.start].decode(encoding, "replace")
        raise Refused("broken_character", row=1 + len(LINE_END.findall(before))) from None


def utf16_by_its_zeros(content: bytes) -> str:
    """Digits, separators and line ends have a zero byte in UTF-16, always on the same side."""
    sample = content[:4_000]
    pairs = len(sample) // 2
    if pairs < 4:
        return ""
    even, odd = (sample[side::2].count(0) / pairs for side in (0, 1))
    if odd > 0.2 and even < 0.02:
        return "utf-16-le"
    return "utf-16-be" if even > 0.2 and odd < 0.02 else ""


def is_like_utf8(content: bytes) -> bool:
    """Whether it is UTF-8, perhaps with a broken character, which never makes it something else."""
    valid = len(VALID_UTF8.findall(content))
    others = len(re.findall(rb"[\x80-\xff]", VALID_UTF8.sub(b"", content)))
    return others == 0 or valid >= others


def best_encoding(content: bytes) -> str:
    words = unusual_words(content)
    encodings = GERMAN_ENCODINGS + OTHER_ENCODINGS
    return max(encodings, key=lambda one: sum(naturalness(word, one) for word in words))


def unusual_words(content: bytes) -> list[bytes]:
    """Words with other than ASCII characters, each once."""
    return list(dict.fromkeys(UNUSUAL_WORD.findall(content)))[:MAX_WORDS]


def naturalness(word: bytes, encoding: str) -> float:
    """How much this looks like a word: from 2 for German letters to -2 for what does not exist."""
    try:
        text = word.decode(encoding)
    except UnicodeDecodeError:
        return -2
    core = without_edges(text)
    unusual = [character for character in core if not character.isascii()]
    if not unusual:
        return 0.5
    if not all(character.isalpha() or character in "–’‘" for character in unusual):
        return -2
    if len(core) == 1:
        return 0
    if len({script(character) for character in core if character.isalpha()}) > 1:
        return -1
    if not all(is_cased_like_a_word(part) for part in re.split("[-–'’‘./()]", core)):
        return -0.5
    return letters_score(unusual, core)


def letters_score(unusual: list[str], core: str) -> float:
    if GERMAN.issuperset(unusual):
        return 2
    is_latin = script(unusual[0]) == "LATIN"
    if is_latin and len(core) >= 3 and len(unusual) / len(core) > 0.5:
        return 0
    return 1.5 if WESTERN.issuperset(unusual) else 1


def without_edges(text: str) -> str:
    return text.strip(TYPOGRAPHY + string.punctuation + string.digits + "\u00a0")


def script(character: str) -> str:
    """`LATIN`, `GREEK`, `CYRILLIC`: the first word of its name."""
    return unicodedata.name(character, "").partition(" ")[0]


def is_cased_like_a_word(text: str) -> bool:
    return text.islower() or text.isupper() or text[1:].islower() or len(text) < 2


def doubtful_word(content: bytes, encoding: str) -> str:
    """The first word that does not prove the encoding, or ""."""
    for word in unusual_words(content):
        text = word.decode(encoding, "replace")
        core = without_edges(text)
        unusual = {c for c in core if not c.isascii()} - set("–’‘")
        is_proven = encoding in GERMAN_ENCODINGS and naturalness(word, encoding) > 0
        if not is_proven or not unusual <= WESTERN or core.endswith(FINAL_ELSEWHERE):
            return text[:40]
    return ""


def twice_encoded(text: str) -> str:
    found = TWICE_ENCODED.search(text)
    if not found:
        return ""
    words = re.finditer(r"[^\s,;|\"]+", text[max(0, found.start() - 40) :][:120])
    return next((word[0] for word in words if found[0] in word[0]), found[0])[:40]


# --- Text: rows and cells -----------------------------------------------------------------------

SEPARATORS = "\t;|,"
"""Where two fit equally well, the first."""
NO_SEPARATOR = "\x1f"
SAMPLE_LINES = 200
SEPARATOR_LINE = re.compile(r"\"?sep=(.)\"?\1*", re.IGNORECASE)
STARTS = (
    ("vcard", re.compile("BEGIN:VCARD", re.IGNORECASE)),
    (
        "web_page",
        re.compile(r"(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<(!doctype html|html|table)\b", re.I),
    ),
    ("web_page", re.compile("MIME-Version:", re.IGNORECASE)),
    ("not_a_list", re.compile(r"<\?xml|<[a-z!]|%PDF|\{\\rtf|\{\s*\"|\[\s*[{\[]|BEGIN:V", re.I)),
)


def read_spreadsheet(content: bytes, sheet: str) -> Answer:
    raise Refused("not_a_list")


def read_text(content: bytes, encoding: str, *, is_pasted: bool) -> Answer:
    if is_binary(content):
        raise Refused("not_a_list")
    text, encoding, suspicious = decode(content, encoding)
    text = text.lstrip("\ufeff")
    if not text.strip(SEPARATORS + "\"\0 \r\n\u00a0"):
        raise Refused("empty")
    refuse_other_kinds(text)
    lines = LINE_END.split(text)
    separator, first = separator_line(lines[0])
    separator = separator or best_separator(lines)
    rows = list(records(lines[first - 1 :], separator, first))
    refuse_swallowed(rows, separator)
    return Answer(
        format="cells" if is_pasted else "csv",
        encoding=encoding,
        separator="" if separator == NO_SEPARATOR else separator,
        suspicious=suspicious,
        lines=[Line(n, [clean(value) for value in row], False, len(row)) for n, row in rows],
    )


def is_binary(content: bytes) -> bool:
    """Text has hardly any control characters; UTF-16 and UTF-32 have zeros."""
    if content.startswith(tuple(mark for mark, _ in BOMS)) or utf16_by_its_zeros(content):
        return False
    controls = len(re.findall(rb"[\x00-\x08\x0e-\x1f]", content[:100_000]))
    return controls > 2 + len(content[:100_000]) / 200


def refuse_other_kinds(text: str) -> None:
    beginning = text[:2_000].lstrip()
    for code, start in STARTS:
        if start.match(beginning):
            raise Refused(code)


def separator_line(line: str) -> tuple[str, int]:
    """Return what Excel's own line `sep=;` says, and the number of the first line of the table."""
    found = SEPARATOR_LINE.fullmatch(line.strip())
    return (found[1], 2) if found else ("", 1)


def best_separator(lines: list[str]) -> str:
    """The one with which most rows have the same number of cells, and more than one."""
    sample = lines[:SAMPLE_LINES]
    return max(NO_SEPARATOR + SEPARATORS, key=lambda one: evenness(sample, one))


def evenness(lines: list[str], separator: str) -> float:
    """The share of rows that have the commonest number of cells; 0 below a half."""
    reader = csv.reader((line + "\n" for line in lines), delimiter=separator)
    with suppress(csv.Error):
        counts = Counter(len(row) for row in reader if any(value.strip() for value in row))
        share = max((rows for count, rows in counts.items() if count > 1), default=0)
        if share >= counts.total() / 2:
            return share / max(1, counts.total())
    return 0.0


def records(lines: list[str], separator: str, first: int) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the number of its first line, as a text editor counts."""
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader((line + "\n" for line in lines), delimiter=separator, strict=True)
    while True:
        start = reader.line_num
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            opened = start + line_of_open_quote(lines[start : reader.line_num], separator)
            raise Refused("quote", row=first + opened) from None
        yield first + start, row


def line_of_open_quote(lines: list[str], separator: str) -> int:
    """Return in which of these lines, from 0, the last quoted cell begins."""
    opened, is_open, previous = 0, False, separator
    for number, line in enumerate(lines):
        for character in line:
            if character == '"' and is_open:
                is_open = False
            elif character == '"' and previous in (separator, '"'):
                is_open = True
                opened = opened if previous == '"' else number
            previous = character
        previous = previous if is_open else separator
    return opened


def refuse_swallowed(rows: list[tuple[int, list[str]]], separator: str) -> None:
    """Refuse a cell that holds whole rows: two stray quotes that happen to look like a pair."""
    counts = Counter(len(row) for _, row in rows if len(row) > 1)
    least = max(1, counts.most_common(1)[0][0] - 1) if counts else 1
    for number, row in rows:
        if any("\n" in value and value.count(separator) >= least for value in row):
            raise Refused("swallowed", row=number)


if __name__ == "__main__":
    main()
