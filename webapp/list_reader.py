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
import posixpath
import re
import resource
import string
import sys
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from io import BytesIO, TextIOWrapper
from itertools import islice
from typing import Any
from xml.parsers import expat

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
are number, percent, boolean, date, time, datetime and error."""


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
    columns: list[int] = field(default_factory=list)
    """The places, from 0, of the columns that the values of each line belong to: those that are
    filled and not hidden."""
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
    keep_filled_columns(read)
    return read


def keep_filled_columns(read: Answer) -> None:
    filled = {place for line in read.lines for place, value in enumerate(line.values) if value}
    read.hidden_columns = [place for place in read.hidden_columns if place in filled]
    read.columns = sorted(filled.difference(read.hidden_columns))
    if len(read.columns) > MAX_COLUMNS:
        raise Refused("columns", count=len(read.columns))
    for line in read.lines:
        width = len(line.values)
        line.values = [line.values[one] if one < width else "" for one in read.columns]


def refuse_too_many_rows(filled_count: int) -> None:
    if filled_count > MAX_ROWS + MAX_ROWS_ABOVE:
        raise Refused("rows", count=filled_count - 1)


# --- What a cell becomes ------------------------------------------------------------------------

DURATION = re.compile(r"PT(\d+)H(\d+)M\d+(?:\.\d+)?S", re.ASCII)
ERROR: Value = ["error", ""]
"""Nothing, but its row is not blank: a person is missing something in it."""
ERROR_NAME = re.compile(r"#(N/A|NV|NULL!|[A-ZÜ]{3,10}[!?]|DIV/0!|#{2,})|Err:\d{3}", re.IGNORECASE)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def cell(value: Any, *, is_percent: bool = False) -> Value:
    """Return a cell of calamine's as JSON. Error cells arrive as empty text, or as their name."""
    match value:
        case str():
            duration = DURATION.fullmatch(value)
            return f"{int(duration[1])}:{duration[2]}" if duration else typed(value)
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


def typed(text: str) -> Value:
    text = clean(text)
    return ERROR if text.startswith(("#", "Err:")) and ERROR_NAME.fullmatch(text) else text


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
WORD = re.compile(rb"[^\s,;|\"]+")
MAX_WORDS = 2_000
MAX_WORD_BYTES = 60
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
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return decode_single_bytes(content)
    return text, "utf-8", twice_encoded(text)


def decode_single_bytes(content: bytes) -> tuple[str, str, str]:
    """Refuse UTF-8 that has a broken character: that never makes it something else."""
    rest, valid_count = VALID_UTF8.subn(b"", content)
    if valid_count >= len(rest.translate(None, bytes(range(128)))):
        strictly(content, "utf-8")
    words = unusual_words(content)
    encodings = GERMAN_ENCODINGS + OTHER_ENCODINGS
    best = max(encodings, key=lambda one: sum(naturalness(word, one) for word in words))
    return content.decode(best, "replace"), best, doubtful_word(words, best)


def strictly(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        before = content[: error.start].decode(encoding, "replace")
        raise Refused("broken_character", row=1 + one_line_end(before).count("\n")) from None


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


def unusual_words(content: bytes) -> list[bytes]:
    """Words with other than ASCII characters, each once."""
    words: dict[bytes, None] = {}
    for found in WORD.finditer(content):
        if not found[0].isascii():
            words[found[0][:MAX_WORD_BYTES]] = None
            if len(words) == MAX_WORDS:
                break
    return list(words)


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


def doubtful_word(words: list[bytes], encoding: str) -> str:
    """The first word that does not prove the encoding, or ""."""
    for word in words:
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
MAX_LINE_CHARACTERS = 1_000_000
"""Of a cell with line breaks, too: a longer one begins with a stray quote."""
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


def read_text(content: bytes, encoding: str, *, is_pasted: bool) -> Answer:
    csv.field_size_limit(MAX_LINE_CHARACTERS)
    if is_binary(content):
        raise Refused("not_a_list")
    text, encoding, suspicious = decode(content, encoding)
    text = one_line_end(text.lstrip("\ufeff"))
    if not text.strip(SEPARATORS + '"\0 \n\u00a0'):
        raise Refused("empty")
    refuse_other_kinds(text)
    refuse_endless_lines(text)
    separator, first = separator_line(next(lines_of(text)))
    separator = separator or best_separator(text)
    rows = kept_rows(text, separator, first)
    refuse_swallowed(rows, separator)
    return Answer(
        format="cells" if is_pasted else "csv",
        encoding=encoding,
        separator="" if separator == NO_SEPARATOR else separator,
        suspicious=suspicious,
        lines=[Line(n, [typed(value) for value in row], False, len(row)) for n, row in rows],
    )


def one_line_end(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def lines_of(text: str) -> Iterator[str]:
    """Return the lines with their ends, made one by one: a list of them all takes much memory."""
    return TextIOWrapper(BytesIO(text.encode()), "utf-8", newline="\n")


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


def refuse_endless_lines(text: str) -> None:
    for line in lines_of(text):
        if len(line) > MAX_LINE_CHARACTERS:
            raise Refused("too_big_inside")
        if len(line) > MAX_SHEET_COLUMNS:
            count = max(line.count(separator) for separator in SEPARATORS) + 1
            if count > MAX_SHEET_COLUMNS:
                raise Refused("columns", count=count)


def separator_line(line: str) -> tuple[str, int]:
    """Return what Excel's own line `sep=;` says, and the number of the first line of the table."""
    found = SEPARATOR_LINE.fullmatch(line.strip())
    return (found[1], 2) if found else ("", 1)


def best_separator(text: str) -> str:
    """The one with which most rows have the same number of cells, and more than one."""
    sample = list(islice(lines_of(text), SAMPLE_LINES))
    return max(NO_SEPARATOR + SEPARATORS, key=lambda one: evenness(sample, one))


def evenness(lines: list[str], separator: str) -> float:
    """The share of rows that have the commonest number of cells, or 0 if most have only one."""
    rows = csv.reader(lines, delimiter=separator)
    with suppress(csv.Error):
        counts = Counter(len(row) for row in rows if any(value.strip() for value in row))
        several = [rows for count, rows in counts.items() if count > 1]
        if several and 2 * sum(several) >= counts.total():
            return max(several) / counts.total()
    return 0.0


def kept_rows(text: str, separator: str, first: int) -> list[tuple[int, list[str]]]:
    """Return the rows that are not blank, each with its number, or refuse too many."""
    kept, count = [], 0
    for number, row in records(text, separator, first):
        if any(row) and any(value.strip() for value in row):
            count += 1
            if count <= MAX_ROWS + MAX_ROWS_ABOVE:
                kept.append((number, row))
    refuse_too_many_rows(count)
    return kept


def records(text: str, separator: str, first: int) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the number of its first line, as a text editor counts."""
    lines = islice(lines_of(text), first - 1, None)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        start = first + reader.line_num
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            last = first - 1 + reader.line_num
            opened = line_of_open_quote(islice(lines_of(text), start - 1, last), separator)
            raise Refused("quote", row=start + opened) from None
        yield start, row


def line_of_open_quote(lines: Iterable[str], separator: str) -> int:
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


# --- Spreadsheets: what is in the zip -----------------------------------------------------------

CHUNK_BYTES = 65_536
MAX_DEPTH = 100
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, ValueError)
XLSX_PARTS = (
    "[content_types].xml",
    "_rels/.rels",
    "xl/workbook.xml",
    "xl/_rels/workbook.xml.rels",
    "xl/sharedstrings.xml",
    "xl/styles.xml",
)
ODS_MIMETYPE = b"application/vnd.oasis.opendocument.spreadsheet"
ODS_PARTS = ("mimetype", "content.xml", "meta-inf/manifest.xml")


class Package:
    """The zip that a spreadsheet is. No size that it declares is believed."""

    def __init__(self, content: bytes) -> None:
        try:
            self.zip = zipfile.ZipFile(BytesIO(content))
        except ZIP_ERRORS:
            is_spreadsheet = b"xl/" in content or ODS_MIMETYPE in content
            raise Refused("damaged" if is_spreadsheet else "not_a_list") from None
        self.names = self.zip.namelist()
        if len(self.names) > MAX_ENTRIES:
            raise Refused("too_big_inside")

    def is_xlsx(self) -> bool:
        return "xl/workbook.xml" in self.names

    def is_ods(self) -> bool:
        is_typed = "mimetype" in self.names and "content.xml" in self.names
        return is_typed and next(self.chunks("mimetype"), b"").startswith(ODS_MIMETYPE)

    def measure(self) -> None:
        """Unzip everything once, keeping nothing, up to the limit."""
        if len(set(self.names)) < len(self.names):
            raise Refused("damaged")
        unzipped = 0
        for name in self.names:
            is_read = name.lower().endswith((".xml", ".rels"))
            with nullcontext() if is_read else suppress(Refused):
                for chunk in self.chunks(name):
                    unzipped += len(chunk)
                    if unzipped > MAX_UNZIPPED_BYTES:
                        break
            if unzipped > MAX_UNZIPPED_BYTES:
                raise Refused("too_big_inside")

    def chunks(self, name: str) -> Iterator[bytes]:
        try:
            info = self.zip.getinfo(name)
            # Others unpack as much at once as they like.
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise Refused("damaged")
            with self.zip.open(info) as entry:
                while chunk := entry.read(CHUNK_BYTES):
                    yield chunk
        except RuntimeError:
            raise Refused("password") from None
        except (*ZIP_ERRORS, KeyError):
            raise Refused("damaged") from None

    def parse(self, name: str, handler: "Handler") -> None:
        """Give the elements of an XML entry to `handler`; a DOCTYPE is refused."""
        depth = 0

        def start(name: str, attributes: dict[str, str]) -> None:
            nonlocal depth
            depth += 1
            if depth > MAX_DEPTH:
                raise Refused("damaged")
            handler.start(name, attributes)

        def end(name: str) -> None:
            nonlocal depth
            depth -= 1
            handler.end(name)

        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = refuse_doctype
        parser.StartElementHandler = start
        parser.EndElementHandler = end
        parser.CharacterDataHandler = handler.characters
        try:
            for chunk in self.chunks(name):
                parser.Parse(chunk, False)
            parser.Parse(b"", True)
        except (expat.ExpatError, ValueError):
            raise Refused("damaged") from None

    def only(self, names: Iterable[str]) -> BytesIO:
        """Return a zip of these entries as they were looked at, for calamine."""
        copy = BytesIO()
        with zipfile.ZipFile(copy, "w") as target:
            for name in names:
                target.writestr(name, b"".join(self.chunks(name)))
        copy.seek(0)
        return copy


def refuse_doctype(*_: object) -> None:
    raise Refused("damaged")


class Handler:
    """What an XML entry is looked through for."""

    def start(self, name: str, attributes: dict[str, str]) -> None: ...

    def end(self, name: str) -> None: ...

    def characters(self, text: str) -> None: ...


def local(name: str) -> str:
    return name.rpartition(":")[2]


# --- Spreadsheets: what is filled and what is hidden --------------------------------------------

Range = tuple[int, int, int, int]
"""First row, first column, last row, last column, from 1."""
MAX_SHEET_COLUMNS = 16_384
TRUE = ("1", "true")
REFERENCE = re.compile(r"\$?([A-Z]{1,7})\$?([0-9]{1,10})", re.ASCII)


class Filled(Exception):
    """There is something in this sheet; the rest need not be looked at."""


@dataclass
class Sheet:
    """What the look finds in a sheet. Rows and columns count from 1."""

    name: str = ""
    is_hidden: bool = False
    filled_rows: int = 0
    last_row: int = 0
    last_column: int = 0
    """Of cells that calamine keeps, empty text included."""
    columns: set[int] = field(default_factory=set)
    hidden_rows: list[tuple[int, int]] = field(default_factory=list)
    hidden_columns: set[int] = field(default_factory=set)
    merged: list[Range] = field(default_factory=list)
    percents: list[Range] = field(default_factory=list)
    errors: list[Range] = field(default_factory=list)

    def occupy(self, row: int, first: int, last: int) -> None:
        self.last_row = max(self.last_row, row)
        self.last_column = max(self.last_column, last)
        if len(self.columns) <= MAX_SHEET_COLUMNS:
            self.columns.update(range(first, min(last, first + MAX_SHEET_COLUMNS) + 1))

    def hide_columns(self, first: int, last: int) -> None:
        self.hidden_columns.update(range(first, min(last, MAX_SHEET_COLUMNS) + 1))

    def refuse_if_too_big(self) -> None:
        refuse_too_many_rows(self.filled_rows)
        if self.last_row * self.last_column > MAX_CELLS:
            if MAX_COLUMNS < len(self.columns) == self.last_column:
                raise Refused("columns", count=len(self.columns))
            raise Refused("too_big_inside")


def place(reference: str) -> tuple[int, int] | None:
    """Return row and column of "B3"."""
    found = REFERENCE.fullmatch(reference)
    if not found:
        return None
    column = 0
    for character in found[1]:
        column = column * 26 + ord(character) - ord("A") + 1
    return int(found[2]), column


class XlsxSheet(Handler):
    """The look at a worksheet of XLSX."""

    def __init__(self, sheet: Sheet, percent_styles: frozenset[str], *, is_quick: bool) -> None:
        self.sheet = sheet
        self.percent_styles = percent_styles
        self.is_quick = is_quick
        """Whether it is enough to know that something is filled."""
        self.row = self.column = 0
        self.filled_row = 0
        self.is_in_value = False
        self.are_rows_hidden = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        match local(name):
            case "c":
                at = place(attributes.get("r", ""))
                self.row, self.column = at or (self.row, self.column + 1)
                self._look_at_cell(attributes.get("t", "n"), attributes.get("s", ""))
            case "v" | "is" | "f":
                self.sheet.occupy(self.row, self.column, self.column)
                self.is_in_value = local(name) != "f"
            case "row":
                self.row = int(attributes.get("r", self.row + 1))
                self.column = 0
                self._look_at_row(attributes)
            case "sheetFormatPr":
                self.are_rows_hidden = attributes.get("zeroHeight") in TRUE
            case "col":
                if attributes.get("hidden") in TRUE or attributes.get("width") == "0":
                    self.sheet.hide_columns(int(attributes["min"]), int(attributes["max"]))
            case "mergeCell":
                first, _, last = attributes.get("ref", "").partition(":")
                if (start := place(first)) and (end := place(last)):
                    self.sheet.merged.append((*start, *end))

    def _look_at_cell(self, kind: str, style: str) -> None:
        here = self.row, self.column, self.row, self.column
        if kind == "n" and style in self.percent_styles:
            self.sheet.percents.append(here)
        if kind == "e":
            self.sheet.errors.append(here)

    def _look_at_row(self, attributes: dict[str, str]) -> None:
        hidden = attributes.get("hidden")
        by_default = self.are_rows_hidden and hidden is None and "ht" not in attributes
        if hidden in TRUE or by_default or attributes.get("ht") == "0":
            self.sheet.hidden_rows.append((self.row, self.row))

    def characters(self, text: str) -> None:
        if self.is_in_value and self.filled_row != self.row and not text.isspace():
            if self.is_quick:
                raise Filled
            self.filled_row = self.row
            self.sheet.filled_rows += 1

    def end(self, name: str) -> None:
        if self.is_in_value and local(name) in ("v", "is", "c"):
            self.is_in_value = False


class XlsxWorkbook(Handler):
    """The sheets of an XLSX file, and where they are."""

    def __init__(self, package: Package) -> None:
        self.found: list[tuple[str, str, bool]] = []
        self.targets: dict[str, str] = {}
        package.parse("xl/_rels/workbook.xml.rels", self)
        package.parse("xl/workbook.xml", self)
        self.sheets = [
            (Sheet(name, is_hidden), self.targets[id])
            for name, id, is_hidden in self.found
            if self.targets.get(id) in package.names
        ]

    def start(self, name: str, attributes: dict[str, str]) -> None:
        match local(name):
            case "Relationship" if attributes.get("Type", "").endswith("/worksheet"):
                target = attributes.get("Target", "")
                path = target[1:] if target.startswith("/") else f"xl/{target}"
                self.targets[attributes.get("Id", "")] = posixpath.normpath(path)
            case "sheet":
                id = next((attributes[key] for key in attributes if local(key) == "id"), "")
                is_hidden = attributes.get("state", "visible") != "visible"
                self.found.append((attributes.get("name", ""), id, is_hidden))


class XlsxStyles(Handler):
    """Which styles are percentages: calamine tells numbers, not their formats."""

    def __init__(self) -> None:
        self.percent_formats = {"9", "10"}
        self.percents: set[str] = set()
        self.is_in_cells = False
        self.count = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        match local(name):
            case "numFmt":
                code = re.sub(r"\"[^\"]*\"|\\.", "", attributes.get("formatCode", ""))
                if "%" in code:
                    self.percent_formats.add(attributes.get("numFmtId", ""))
            case "cellXfs":
                self.is_in_cells = True
            case "xf" if self.is_in_cells:
                if attributes.get("numFmtId") in self.percent_formats:
                    self.percents.add(str(self.count))
                self.count += 1

    def end(self, name: str) -> None:
        if local(name) == "cellXfs":
            self.is_in_cells = False


class SharedStrings(Handler):
    """calamine makes room for as many texts as are declared."""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if local(name) == "sst":
            for key in ("count", "uniqueCount"):
                if int(attributes.get(key, 0)) > MAX_SHARED_STRINGS:
                    raise Refused("too_big_inside")


class OdsTables(Handler):
    """The look at the sheets of ODS, which are all in one entry."""

    def __init__(self) -> None:
        self.sheets: list[Sheet] = []
        self.hidden_styles: set[str] = set()
        self.style = ""
        self.depth = self.hidden_groups = self.annotations = 0
        self.row = self.row_count = self.column = self.table_column = 0
        self.is_row_hidden = self.is_filled = self.is_occupied = self.is_in_cell = False

    @property
    def sheet(self) -> Sheet:
        return self.sheets[-1]

    def start(self, name: str, attributes: dict[str, str]) -> None:
        match name:
            case "table:table-cell" | "table:covered-table-cell" if self.depth == 1:
                self._start_cell(attributes)
            case "table:table-row" if self.depth == 1:
                self._start_row(attributes)
            case "table:table":
                self.depth += 1
                if self.depth == 1:
                    is_hidden = attributes.get("table:style-name", "") in self.hidden_styles
                    self.sheets.append(Sheet(attributes.get("table:name", ""), is_hidden))
                    self.row = self.row_count = self.table_column = 0
            case "table:table-column" if self.depth == 1:
                self._look_at_column(attributes)
            case _:
                self._start_other(name, attributes)

    def _start_other(self, name: str, attributes: dict[str, str]) -> None:
        is_shown = attributes.get("table:display") != "false"
        match name:
            case "table:table-row-group" if self.hidden_groups or not is_shown:
                self.hidden_groups += 1
            case "style:style":
                self.style = attributes.get("style:name", "")
            case "style:table-properties" if not is_shown:
                self.hidden_styles.add(self.style)
            case "office:annotation":
                self.annotations += 1

    def _look_at_column(self, attributes: dict[str, str]) -> None:
        first = self.table_column + 1
        self.table_column += int(attributes.get("table:number-columns-repeated", 1))
        if is_collapsed(attributes):
            self.sheet.hide_columns(first, self.table_column)

    def _start_row(self, attributes: dict[str, str]) -> None:
        self.row += self.row_count
        self.row_count = int(attributes.get("table:number-rows-repeated", 1))
        self.column = 0
        self.is_row_hidden = is_collapsed(attributes) or self.hidden_groups > 0
        self.is_filled = self.is_occupied = False

    def _start_cell(self, attributes: dict[str, str]) -> None:
        first = self.column + 1
        self.column += int(attributes.get("table:number-columns-repeated", 1))
        self.is_in_cell = True
        kind = attributes.get("office:value-type", "")
        if kind or "table:formula" in attributes:
            self.is_occupied = True
            self.is_filled |= kind not in ("", "string") or "office:string-value" in attributes
            self.sheet.occupy(self.row + self.row_count, first, self.column)
        here = self.row + 1, first, self.row + self.row_count, self.column
        if kind == "percentage":
            self.sheet.percents.append(here)
        if attributes.get("calcext:value-type") == "error":
            self.sheet.errors.append(here)
        rows = int(attributes.get("table:number-rows-spanned", 1))
        columns = int(attributes.get("table:number-columns-spanned", 1))
        if rows > 1 or columns > 1:
            merged = self.row + 1, first, self.row + rows, first + columns - 1
            self.sheet.merged.append(merged)

    def characters(self, text: str) -> None:
        if self.is_in_cell and not self.annotations and not text.isspace():
            self.is_filled = True

    def end(self, name: str) -> None:
        match name:
            case "table:table-cell" | "table:covered-table-cell":
                self.is_in_cell = False
            case "table:table-row" if self.depth == 1:
                if self.is_filled:
                    self.sheet.filled_rows += self.row_count
                if self.is_row_hidden and self.is_occupied:
                    self.sheet.hidden_rows.append((self.row + 1, self.row + self.row_count))
            case "table:table":
                self.depth -= 1
            case "table:table-row-group" if self.hidden_groups:
                self.hidden_groups -= 1
            case "office:annotation":
                self.annotations -= 1


def is_collapsed(attributes: dict[str, str]) -> bool:
    return attributes.get("table:visibility") in ("collapse", "filter")


# --- Spreadsheets: reading ----------------------------------------------------------------------


def read_spreadsheet(content: bytes, wanted: str) -> Answer:
    package = Package(content)
    if package.is_xlsx():
        read = read_xlsx
    elif package.is_ods():
        read = read_ods
    else:
        raise Refused("not_a_list")
    package.measure()
    return read(package, wanted)


def read_xlsx(package: Package, wanted: str) -> Answer:
    parts = {name.lower(): name for name in package.names if name.lower() in XLSX_PARTS}
    for name in parts.values():
        package.parse(name, SharedStrings())
    styles = XlsxStyles()
    if "xl/styles.xml" in parts:
        package.parse(parts["xl/styles.xml"], styles)
    found = [
        (sheet, path)
        for sheet, path in XlsxWorkbook(package).sheets
        if not sheet.is_hidden and is_filled(package, path)
    ]
    sheet, path = chosen(found, wanted)
    percents = frozenset(styles.percents)
    package.parse(path, XlsxSheet(sheet, percents, is_quick=False))
    names = [sheet.name for sheet, _ in found]
    return values_of(package.only([*parts.values(), path]), "xlsx", sheet, names)


def is_filled(package: Package, path: str) -> bool:
    try:
        package.parse(path, XlsxSheet(Sheet(), frozenset(), is_quick=True))
    except Filled:
        return True
    return False


def chosen(found: list[tuple[Sheet, str]], wanted: str) -> tuple[Sheet, str]:
    """Return the sheet that a person wants, or the first."""
    if not found:
        raise Refused("empty")
    return next((one for one in found if one[0].name == wanted), found[0])


def read_ods(package: Package, wanted: str) -> Answer:
    parts = [name for name in package.names if name.lower() in ODS_PARTS]
    for name in parts:
        if name.lower() == "meta-inf/manifest.xml":
            if b"encryption-data" in b"".join(package.chunks(name)):
                raise Refused("password")
            package.parse(name, Handler())
    tables = OdsTables()
    package.parse("content.xml", tables)
    # calamine reads them all.
    for sheet in tables.sheets:
        sheet.refuse_if_too_big()
    found = [(one, "") for one in tables.sheets if not one.is_hidden and one.filled_rows]
    sheet, _ = chosen(found, wanted)
    names = [one.name for one, _ in found]
    return values_of(package.only(parts), "ods", sheet, names)


def values_of(workbook: BytesIO, kind: str, sheet: Sheet, sheets: list[str]) -> Answer:
    """Read the chosen sheet. Row numbers stay the sheet's own: nothing above or left is skipped."""
    sheet.refuse_if_too_big()
    rows = calamine_rows(workbook, sheet.name)
    percents = {(row, column) for _, row, column in cells_in(sheet.percents, sheet)}
    values = [
        [cell(value, is_percent=(row, column) in percents) for column, value in enumerate(cells, 1)]
        for row, cells in enumerate(rows, 1)
    ]
    for _, row, column in cells_in(sheet.errors, sheet):
        write(values, row, column, ERROR)
    merged = fill_merged(values, sheet)
    hidden = {row for first, last in sheet.hidden_rows for row in range(first, last + 1)}
    return Answer(
        format=kind,
        sheet=sheet.name,
        sheets=sheets,
        hidden_columns=sorted(place - 1 for place in sheet.hidden_columns),
        merged=merged,
        lines=[Line(row, cells, row in hidden) for row, cells in enumerate(values, 1)],
    )


def calamine_rows(workbook: BytesIO, sheet: str) -> list[list[Any]]:
    import python_calamine

    try:
        with python_calamine.load_workbook(workbook) as opened:
            return opened.get_sheet_by_name(sheet).to_python(skip_empty_area=False)
    except python_calamine.PasswordError:
        raise Refused("password") from None
    except (python_calamine.CalamineError, ValueError, OverflowError):
        raise Refused("damaged") from None


def cells_in(ranges: list[Range], sheet: Sheet) -> Iterator[tuple[Range, int, int]]:
    """Yield each range with each place that it covers, as far as the sheet is filled."""
    covered = 0
    for one in ranges:
        top, left, bottom, right = one
        rows = range(top, min(bottom, sheet.last_row) + 1)
        columns = range(left, min(right, sheet.last_column) + 1)
        covered += len(rows) * len(columns)
        if covered > MAX_CELLS:
            raise Refused("too_big_inside")
        for row in rows:
            for column in columns:
                yield one, row, column


def write(values: list[list[Value]], row: int, column: int, value: Value) -> None:
    if row <= len(values) and column <= len(values[row - 1]):
        values[row - 1][column - 1] = value


def fill_merged(values: list[list[Value]], sheet: Sheet) -> int:
    """Write a merged cell's value everywhere it spans; return how many there are."""
    filled = {}
    for one, row, column in cells_in(sheet.merged, sheet):
        if (row, column) == one[:2]:
            is_read = row <= len(values) and column <= len(values[row - 1])
            filled[one] = values[row - 1][column - 1] if is_read else ""
        if filled[one]:
            write(values, row, column, filled[one])
    return sum(map(bool, filled.values()))


if __name__ == "__main__":
    main()
