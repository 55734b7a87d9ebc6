"""What files hold besides people: alphabets, separators, quotation marks, types, hidden things."""

import re
import threading
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal

import pytest

from tests.lists import made
from webapp.messages.lists import reading
from webapp.messages.lists.reading import ListRefused, ReadList, read
from webapp.rules.cells import Cell, Percent

HEADINGS = "Handy;Name\r\n"
NUMBER = "0171 3920010"


def names(found: ReadList) -> list[Cell]:
    return [row.cells[1] for row in found.rows]


def refusal(content: bytes, **options: str) -> ListRefused:
    with pytest.raises(ListRefused) as refused:
        read(content, **options)
    return refused.value


def codes(found: ReadList) -> list[str]:
    return [question.code for question in found.questions]


def notices(found: ReadList) -> dict[str, int]:
    return {notice.code: notice.count for notice in found.notices}


# --- Alphabets ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-16-le", "utf-16-be", "cp1252", "cp850", "mac-roman"]
)
@pytest.mark.parametrize("name", ["Jörg Müßig", "Öhler", "JÄGER", "Zoë Groß", "Bärbel Übel"])
def test_b11_german_names_are_read_without_a_question(encoding: str, name: str) -> None:
    content = f"{HEADINGS}{NUMBER};{name}\r\n{NUMBER};Anne Weiß\r\n".encode(encoding)
    found = read(content)
    assert (found.encoding, names(found)) == (encoding, [name, "Anne Weiß"])
    assert codes(found) == []


@pytest.mark.parametrize("value", ["12 €", "ab – bis", "„Anne“", "O’Neill", "Renée", "Sørensen…"])
def test_typographic_signs_are_of_windows(value: str) -> None:
    found = read(f"{HEADINGS}{NUMBER};{value}\r\n".encode("cp1252"))
    assert (found.encoding, names(found)) == ("cp1252", [value])


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("cp1250", "Łukasz Żółć"),
        ("cp1250", "Jiří Dvořák"),
        ("iso8859-2", "Łukasz Źdźbło"),
        ("cp1251", "Сергей Иванов"),
        ("koi8-r", "Сергей Иванов"),
        ("cp1253", "Γιώργος Παπάς"),
        ("cp1254", "Gülşen Yıldız"),
    ],
)
def test_other_alphabets_are_asked_about_and_can_be_chosen(encoding: str, name: str) -> None:
    content = f"{HEADINGS}{NUMBER};{name}\r\n".encode(encoding)
    guessed = read(content)
    assert codes(guessed) == ["mojibake"]
    assert guessed.questions[0].field == "encoding"
    chosen = read(content, encoding=encoding)
    assert (names(chosen), codes(chosen)) == ([name], [])


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r"])
def test_cyrillic_is_guessed_right_and_asked_all_the_same(encoding: str) -> None:
    found = read(f"{HEADINGS}{NUMBER};Сергей\r\n".encode(encoding))
    assert (names(found), codes(found)) == (["Сергей"], ["mojibake"])


@pytest.mark.parametrize("text", ["MÃ¼ller", "Anne â€“ Ute", "J\ufffdrg"])
def test_text_that_was_damaged_before_is_asked_about(text: str) -> None:
    found = read(f"{HEADINGS}{NUMBER};{text}\r\n".encode())
    assert codes(found) == ["mojibake"]
    assert found.questions[0].values["typed"] in text


@pytest.mark.parametrize("line_end", ["\r\n", "\r", "\n"])
def test_b11_a_broken_character_is_named_and_changes_no_alphabet(line_end: str) -> None:
    lines = [b"Handy;Name", "0171 3920010;Jörg".encode(), b"0171 3920011;M\xc3ller"]
    refused = refusal(line_end.encode().join(lines))
    assert (refused.code, refused.row) == ("broken_character", 3)


def test_a_chosen_alphabet_that_does_not_fit_is_told() -> None:
    content = f"{HEADINGS}{NUMBER};Jörg\r\n".encode("cp1252")
    refused = refusal(content, encoding="utf-8")
    assert (refused.code, refused.row) == ("broken_character", 2)


def test_accents_are_composed() -> None:
    assert names(read(f"{HEADINGS}{NUMBER};Jo\u0308rg\n".encode())) == ["Jörg"]


# --- Separators and quotation marks -------------------------------------------------------------


@pytest.mark.parametrize("separator", [";", ",", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\r\n", "\n", "\r"])
def test_b11_every_separator_and_line_end(separator: str, line_end: str) -> None:
    rows = ["Handy;Name;Betrag", "0171 3920010;Anne;5", "0171 3920011;Ute;6"]
    found = read(line_end.join(rows).replace(";", separator).encode())
    assert found.separator == separator
    assert [row.number for row in found.rows] == [2, 3]


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("Handy;Betrag\n0171 3920010;12,50\n0171 3920011;13,50", ";"),
        ("Handy;Name\n0171 3920010;Öhler, Anne\n0171 3920011;Müßig, Jörg", ";"),
        ('Handy,Name\n0171 3920010,"a; b"\n0171 3920011,"c; d"', ","),
        ("Handy,Name\n0171 3920010,Anne\n0171 3920011,Ute; Eva", ","),
        ("Handy;Name;Ort\n0171 3920010;Anne\n0171 3920011", ";"),
        ("0171 3920010, 0171 3920011\n0171 3920012\n0171 3920013", ""),
        ('"sep=|"\nHandy|Name;x\n0171 3920010|Anne;y', "|"),
        ("sep=\t\nHandy\tName\n0171 3920010\tAnne", "\t"),
    ],
)
def test_the_separator_is_the_one_that_makes_a_table(text: str, separator: str) -> None:
    assert read(text.encode()).separator == separator


@pytest.mark.parametrize(
    ("rows", "code", "row"),
    [
        ('{0};Anne;ok\n{0};"Ute;ok\n{0};Eva;ok', "quote", 3),
        ('{0};"Anne;ok\n{0};Ute;ok\n{0};Eva";ok\n{0};Zoë;ok', "swallowed", 2),
        ('{0};"Anne" x;ok\n{0};Ute;ok', "quote", 2),
        ('{0};"a\nb";ok\n{0};"Ute;ok', "quote", 4),
        ('{0};"a\nb";"ok\n{0};Ute;ok', "quote", 3),
    ],
)
def test_b12_a_stray_quotation_mark_swallows_nobody(rows: str, code: str, row: int) -> None:
    refused = refusal(("Handy;Name;Notiz\n" + rows.format(NUMBER)).encode())
    assert (refused.code, refused.row) == (code, row)


def test_a_cell_with_line_breaks_stays_a_cell() -> None:
    found = read(f'{HEADINGS}{NUMBER};"Anne\r\nUte"\r\n{NUMBER};Eva\r\n'.encode())
    assert names(found) == ["Anne\nUte", "Eva"]
    assert [row.number for row in found.rows] == [2, 4]


def test_b12_a_cell_too_many_is_told() -> None:
    found = read(f"{HEADINGS}{NUMBER};Anne;x\n{NUMBER};Ute;\n".encode())
    assert [row.is_ragged for row in found.rows] == [True, False]
    assert notices(found) == {"ragged": 1}


# --- What it is ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"<html><table><tr><td>0171 3920010</td></tr></table></html>", "web_page"),
        (b"  <!DOCTYPE html>\n<table>", "web_page"),
        (b'<?xml version="1.0"?>\n<html xmlns="x">', "web_page"),
        (b"MIME-Version: 1.0\nX-Document-Type: Workbook", "web_page"),
        ("\ufeff<HTML>".encode("utf-16"), "web_page"),
        (b"begin:vcard\nTEL:0171 3920010\nEND:VCARD", "vcard"),
        (b"BEGIN:VCALENDAR\n", "not_a_list"),
        (b'<?xml version="1.0"?><?mso-application progid="Excel.Sheet"?><Workbook>', "not_a_list"),
        (b"%PDF-1.7\n", "not_a_list"),
        (rb"{\rtf1 0171 3920010}", "not_a_list"),
        (b'[{"number": "0171 3920010"}]', "not_a_list"),
        (bytes(range(256)) * 20, "not_a_list"),
        (b"PK\x03\x04" + b"x" * 100, "not_a_list"),
        (made.zipped({"mimetype": "application/vnd.oasis.opendocument.text"}), "not_a_list"),
        (made.zipped({"xl/workbook.bin": b"x"}), "not_a_list"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "old_excel"),
        (b"", "empty"),
        ("\ufeff".encode(), "empty"),
        (b" \t\r\n;;\n", "empty"),
        (made.xlsx(), "empty"),
        (made.xlsx(made.HEADINGS), "no_rows"),
        (made.ods(""), "empty"),
        (made.ods(made.ODS_HEADINGS), "no_rows"),
        (b"Handy;Name\n\n;\n", "no_rows"),
        (b"x" * (reading.MAX_BYTES + 1), "too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_b14_what_is_no_list_is_told_what_it_is(content: bytes, code: str) -> None:
    assert refusal(content).code == code


def test_an_encrypted_document_is_told() -> None:
    manifest = "<m xmlns:manifest='x'><manifest:encryption-data/></m>"
    assert refusal(made.ods("", **{"META-INF/manifest.xml": manifest})).code == "password"


@pytest.mark.parametrize("count", [20_000, 20_001])
def test_b12_20_000_rows_fit(count: int) -> None:
    content = ("Handy;Name\n" + "0171 3920010;Anne\n" * count).encode()
    if count == 20_000:
        assert len(read(content).rows) == count
    else:
        refused = refusal(content)
        assert (refused.code, refused.count) == ("rows", count)


@pytest.mark.parametrize("count", [100, 101])
def test_100_columns_fit(count: int) -> None:
    rows = [["Handy", *(f"s{n}" for n in range(1, count))], [NUMBER, *"x" * (count - 1)]]
    content = "\n".join(";".join(row) for row in rows).encode()
    if count == 100:
        assert len(read(content).columns) == count
    else:
        refused = refusal(content)
        assert (refused.code, refused.count) == ("columns", count)


def test_b12_a_long_cell_is_cut_and_marked() -> None:
    found = read(f"{HEADINGS}{NUMBER};{'x' * 2_001}\n{NUMBER};{'x' * 2_000}\n".encode())
    assert names(found) == ["x" * 2_000] * 2
    assert [row.cut for row in found.rows] == [{1}, frozenset()]


# --- Spreadsheets: types ------------------------------------------------------------------------

FORMATS = ("dd.mm.yyyy", "dd.mm.yyyy hh:mm", "hh:mm", "[h]:mm", "0%", "0.00", "&quot;%&quot;0")
DATE, MOMENT, TIME, DURATION, PERCENT, AMOUNT, NO_PERCENT = range(1, 8)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (made.number("B2", 46350, DATE), date(2026, 11, 24)),
        (made.number("B2", 46350.604166666664, MOMENT), datetime.fromisoformat("2026-11-24T14:30")),
        (made.number("B2", 46350.99999900463, MOMENT), date(2026, 11, 25)),
        (made.number("B2", 46350, MOMENT), date(2026, 11, 24)),
        (made.number("B2", 0.604166666666667, TIME), time(14, 30)),
        (made.number("B2", 1.5, DURATION), "36:00"),
        (made.number("B2", 0.19, PERCENT), Percent(Decimal(19))),
        (made.number("B2", 0.195, PERCENT), Percent(Decimal("19.5"))),
        (made.number("B2", 12.5, AMOUNT), Decimal("12.50")),
        (made.number("B2", 19, NO_PERCENT), Decimal(19)),
        (made.number("B2", 12.345), Decimal("12.345")),
        (made.number("B2", 0.1 + 0.2), Decimal("0.30")),
        (made.number("B2", 491713920010), Decimal(491713920010)),
        (made.number("B2", "4.9171392001E11"), Decimal(491713920010)),
        (made.number("B2", 1e20), Decimal(10**20)),
        (made.number("B2", -3), Decimal(-3)),
        (made.number("B2", 1, kind="b"), True),
        (made.number("B2", 0, kind="b"), False),
        (made.number("B2", "#N/A", kind="e"), ""),
        (made.number("B2", "Anne", kind="str"), "Anne"),
        (made.text("B2", " Anne_x000D_\nUte "), "Anne\nUte"),
        (made.text("B2", "&#9;Anne&#160;"), "Anne"),
        ('<c r="B2"><f>A1</f><v></v></c>', ""),
        (
            '<c r="B2" t="inlineStr"><is><r><t>fett</t></r>'
            '<r><t xml:space="preserve"> dünn</t></r></is></c>',
            "fett dünn",
        ),
    ],
)
def test_what_a_cell_of_xlsx_becomes(cell: str, value: Cell) -> None:
    rows = made.HEADINGS + made.row(2, made.text("A2", NUMBER), cell) + made.person(3)
    found = read(made.xlsx(rows, styles=made.styles(*FORMATS)))
    assert names(found)[0] == value
    assert type(names(found)[0]) is type(value)


def test_dates_since_1904() -> None:
    rows = made.HEADINGS + made.row(2, made.text("A2", NUMBER), made.number("B2", 44888, DATE))
    workbook = made.workbook('<workbookPr date1904="1"/>')
    found = read(made.xlsx(rows, styles=made.styles(*FORMATS), workbook=workbook))
    assert names(found) == [date(2026, 11, 24)]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (made.ods_cell("x", 'office:date-value="2026-11-24"', "date"), date(2026, 11, 24)),
        (
            made.ods_cell("x", 'office:date-value="2026-11-24T14:30:00"', "date"),
            datetime.fromisoformat("2026-11-24T14:30"),
        ),
        (made.ods_cell("x", 'office:time-value="PT14H30M00S"', "time"), time(14, 30)),
        (made.ods_cell("x", 'office:time-value="PT36H00M00S"', "time"), "36:00"),
        (made.ods_cell("19 %", 'office:value="0.19"', "percentage"), Percent(Decimal(19))),
        (made.ods_cell("x", 'office:value="12.5"', "float"), Decimal("12.50")),
        (made.ods_cell("x", 'office:value="12.5"', "currency"), Decimal("12.50")),
        (made.ods_cell("x", 'office:boolean-value="true"', "boolean"), True),
        (made.ods_cell("#N/A", 'calcext:value-type="error"'), ""),
        (made.ods_cell("Anne"), "Anne"),
    ],
)
def test_what_a_cell_of_ods_becomes(cell: str, value: Cell) -> None:
    rows = made.ODS_HEADINGS + made.ods_row(made.ods_cell(NUMBER), cell) + made.ods_person(3)
    found = read(made.ods(rows))
    assert names(found)[0] == value
    assert type(names(found)[0]) is type(value)


def test_a_row_with_nothing_but_an_error_is_a_row_all_the_same() -> None:
    rows = made.HEADINGS + made.row(2, made.number("A2", "#N/A", kind="e")) + made.person(3)
    assert [row.number for row in read(made.xlsx(rows)).rows] == [2, 3]


# --- Spreadsheets: hidden, merged, far ----------------------------------------------------------


def hidden_rows(found: ReadList) -> list[int]:
    return [row.number for row in found.rows if row.is_hidden]


@pytest.mark.parametrize("attributes", ['hidden="1"', 'hidden="true"', 'ht="0" customHeight="1"'])
def test_hidden_rows_of_xlsx(attributes: str) -> None:
    rows = made.HEADINGS + made.person(2) + made.person(3, attributes=attributes) + made.person(5)
    found = read(made.xlsx(rows))
    assert [row.number for row in found.rows] == [2, 3, 5]
    assert hidden_rows(found) == [3]
    assert notices(found) == {"hidden": 1}


def test_rows_that_are_hidden_by_default() -> None:
    shown = made.person(2, attributes='hidden="0"')
    before = '<sheetFormatPr zeroHeight="1"/>'
    found = read(made.xlsx(sheet=made.sheet(made.HEADINGS + shown + made.person(3), before)))
    assert hidden_rows(found) == [3]


@pytest.mark.parametrize("visibility", ["collapse", "filter"])
def test_hidden_rows_of_ods(visibility: str) -> None:
    hidden = f'table:visibility="{visibility}" table:number-rows-repeated="2"'
    blank = '<table:table-row table:number-rows-repeated="3"><table:table-cell/></table:table-row>'
    rows = made.ods_person(2) + made.ods_person(3, attributes=hidden) + blank + made.ods_person(8)
    found = read(made.ods(made.ODS_HEADINGS + rows))
    assert [row.number for row in found.rows] == [2, 3, 4, 8]
    assert hidden_rows(found) == [3, 4]


def test_a_collapsed_group_of_ods() -> None:
    group = '<table:table-row-group table:display="false">'
    rows = made.ods_person(2) + group + made.ods_person(3) + "</table:table-row-group>"
    found = read(made.ods(made.ODS_HEADINGS + rows + made.ods_person(4)))
    assert hidden_rows(found) == [3]


@pytest.mark.parametrize(
    "make",
    [
        lambda: made.xlsx(
            sheet=made.sheet(
                made.row(1, *(made.text(f"{c}1", c) for c in "ABC"))
                + made.row(2, made.text("A2", NUMBER), *(made.text(f"{c}2", c) for c in "BC")),
                before='<cols><col min="2" max="2" hidden="1"/></cols>',
            )
        ),
        lambda: made.ods(
            made.ods_row(*map(made.ods_cell, "ABC"))
            + made.ods_row(*map(made.ods_cell, (NUMBER, "B", "C"))),
            before='<table:table-column/><table:table-column table:visibility="collapse"/>',
        ),
    ],
    ids=["xlsx", "ods"],
)
def test_a_hidden_column_is_not_offered(make: Callable[[], bytes]) -> None:
    found = read(make())
    assert [column.letter for column in found.columns] == ["A", "C"]
    assert found.rows[0].cells == (NUMBER, "C")
    assert notices(found) == {"hidden_columns": 1}


def test_merged_cells_fill_their_range() -> None:
    rows = made.HEADINGS + made.person(2) + made.row(3, made.text("B3", "Ute"))
    after = '<mergeCells><mergeCell ref="A2:A3"/></mergeCells>'
    found = read(made.xlsx(sheet=made.sheet(rows, after=after)))
    assert found.rows[0].cells[0] == found.rows[1].cells[0]
    assert notices(found) == {"merged": 1}


def test_merged_cells_of_ods_fill_their_range() -> None:
    spanning = made.ods_cell(NUMBER, 'table:number-rows-spanned="2"')
    first = made.ods_row(spanning, made.ods_cell("Anne"))
    second = made.ods_row("<table:covered-table-cell/>", made.ods_cell("Ute"))
    found = read(made.ods(made.ODS_HEADINGS + first + second))
    assert [row.cells[0] for row in found.rows] == [NUMBER, NUMBER]
    assert notices(found) == {"merged": 1}


def test_a_merged_title_is_no_heading() -> None:
    title = made.row(1, made.text("A1", "Termine"))
    headings = made.row(2, made.text("A2", "Handy"), made.text("B2", "Name"))
    after = '<mergeCells><mergeCell ref="A1:B1"/></mergeCells>'
    found = read(made.xlsx(sheet=made.sheet(title + headings + made.person(3), after=after)))
    assert found.header == 2


def test_comments_and_formats_fill_no_row() -> None:
    note = "<office:annotation><text:p>Achtung</text:p></office:annotation>"
    blank = made.ods_row(f"<table:table-cell>{note}</table:table-cell>")
    styled = '<row r="9"><c r="A9" s="1"/></row>'
    assert len(read(made.ods(made.ODS_HEADINGS + made.ods_person(2) + blank)).rows) == 1
    assert len(read(made.xlsx(made.HEADINGS + made.person(2) + styled)).rows) == 1


def test_cells_without_references_are_counted_on() -> None:
    rows = made.HEADINGS + made.row(2, made.text("A2", NUMBER), made.text("B2", "Anne"))
    found = read(made.xlsx(re.sub(r' r="[A-Z0-9]+"', "", rows)))
    assert found.rows[0].cells == (NUMBER, "Anne")


# --- Guesses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("Handy;Name\n{0};Anne", 1),
        ("Liste;\n;\nHandy;Name\n{0};Anne", 3),
        ("{0};Anne\n{0};Ute", 0),
        ("{0};Anne\nfehlt;Ute", 0),
        ("Name\nAnne\nUte", 1),
        ("Handy;Stand 24.11.2026\n{0};Anne", 1),
        ("4,91714E+11;Anne\n{0};Ute", 0),
    ],
)
def test_where_the_headings_are(text: str, header: int) -> None:
    assert read(text.format(NUMBER).encode()).header == header


def test_the_headings_can_be_chosen() -> None:
    text = f"Liste;Stand\nHandy;Name\n{NUMBER};Anne\n".encode()
    assert read(text).header == 1
    chosen = read(text, header=2)
    assert [column.name for column in chosen.columns] == ["Handy", "Name"]
    assert len(read(text, header=0).rows) == 3
    with pytest.raises(ListRefused, match="no_rows"):
        read(text, header=3)


@pytest.mark.parametrize(
    ("headings", "row", "number", "question"),
    [
        ("Name;Handy", "Anne;{0}", "B", ""),
        ("Name;Kontakt", "Anne;{0}", "B", ""),
        ("Titel;Hotel;Mobil", "Frau;Adler;{0}", "C", ""),
        ("Telefon;Handy", "030 12345678;{0}", "B", ""),
        ("Telefon;Name", "030 12345678;Anne", "A", ""),
        ("Handy;Handy", "{0};{0}", "A", "two_columns"),
        ("Handy;Notfall", "{0};{0}", "A", "number_column"),
        ("Notfall;Handy", "{0};{0}", "B", "number_column"),
        ("Kundennummer;Name", "12345;Anne", "", "number_column"),
        ("Name;Ort", "Anne;Ulm", "", "number_column"),
    ],
)
def test_which_column_has_the_numbers(headings: str, row: str, number: str, question: str) -> None:
    found = read(f"{headings}\n{row.format(NUMBER)}\n{row.format(NUMBER)}\n".encode())
    assert found.number == number
    assert codes(found) == ([question] if question else [])


def test_the_sheet_can_be_chosen_by_name() -> None:
    from tests.lists.test_trap_files import FOLDER

    for name in ("63-several-sheets-first-hidden.xlsx", "lo-63-several-sheets-first-hidden.ods"):
        content = (FOLDER / name).read_bytes()
        found = read(content, sheet="Morgen")
        assert (found.sheet, found.sheets, len(found.rows)) == ("Morgen", ("Termine", "Morgen"), 1)
        assert codes(found) == []
        assert read(content, sheet="Alt").sheet == "Termine"


# --- The child ----------------------------------------------------------------------------------


def test_a_third_list_waits_and_is_then_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_WAIT_S", 0.1)
    with reading._own_turn(), reading._own_turn():
        assert refusal(f"{HEADINGS}{NUMBER};Anne\n".encode()).code == "busy"
    assert len(read(f"{HEADINGS}{NUMBER};Anne\n".encode()).rows) == 1


def test_reading_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    command = [reading._COMMAND[0], "-I", "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(reading, "_COMMAND", command)
    monkeypatch.setattr(reading, "_CLOCK_S", 0.3)
    assert refusal(b"0171 3920010").code == "slow"


def test_several_at_once_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_WAIT_S", 120)
    found: dict[int, ReadList] = {}

    def read_own(n: int) -> None:
        rows = "".join(f"0171 39200{10 + n};Nummer {n}\n" for _ in range(500))
        found[n] = read(f"{HEADINGS}{rows}".encode())

    threads = [threading.Thread(target=read_own, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {n: set(names(one)) for n, one in found.items()} == {
        n: {f"Nummer {n}"} for n in range(5)
    }
