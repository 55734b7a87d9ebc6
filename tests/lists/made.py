"""Spreadsheets that tests make, plain ones and odd ones, from their XML."""

import zipfile
from io import BytesIO

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
ODS_TYPE = "application/vnd.oasis.opendocument.spreadsheet"
ODF = "urn:oasis:names:tc:opendocument:xmlns"


def zipped(parts: dict[str, str | bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = BytesIO()
    with zipfile.ZipFile(made, "w", compression) as target:
        for name, content in parts.items():
            target.writestr(name, content)
    return made.getvalue()


def xlsx(rows: str = "", compression: int = zipfile.ZIP_DEFLATED, **changes: str | bytes) -> bytes:
    """A workbook with one sheet whose `sheetData` is `rows`.

    `changes` replace whole parts or add some: `sheet`, `strings`, `styles`, `workbook`.
    """
    return zipped(xlsx_parts(rows, **changes), compression)


def xlsx_parts(rows: str = "", **changes: str | bytes) -> dict[str, str | bytes]:
    parts: dict[str, str | bytes] = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types">'
        '<Default Extension="xml" ContentType="application/xml"/>'
        '<Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{TYPE}.sheet.main+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{RELATIONS}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
        f'<Relationship Id="r1" Type="{RELATIONS}/worksheet" Target="worksheets/sheet1.xml"/>'
        f'<Relationship Id="r2" Type="{RELATIONS}/styles" Target="styles.xml"/>'
        f'<Relationship Id="r3" Type="{RELATIONS}/sharedStrings" Target="sharedStrings.xml"/>'
        "</Relationships>",
        "xl/workbook.xml": changes.get("workbook", workbook()),
        "xl/worksheets/sheet1.xml": changes.get("sheet", sheet(rows)),
    }
    for name, part in (("styles", "xl/styles.xml"), ("strings", "xl/sharedStrings.xml")):
        if name in changes:
            parts[part] = changes[name]
    return parts


def workbook(properties: str = "") -> str:
    return (
        f'<workbook xmlns="{MAIN}" xmlns:r="{RELATIONS}">{properties}<sheets>'
        '<sheet name="List" sheetId="1" r:id="r1"/></sheets></workbook>'
    )


def sheet(rows: str, before: str = "", after: str = "") -> str:
    return f'<worksheet xmlns="{MAIN}">{before}<sheetData>{rows}</sheetData>{after}</worksheet>'


def styles(*formats: str) -> str:
    """Style 0 is plain; style n has the n-th number format."""
    numbered = list(enumerate(formats, start=164))
    codes = "".join(f'<numFmt numFmtId="{id}" formatCode="{code}"/>' for id, code in numbered)
    cells = "".join(f'<xf numFmtId="{id}"/>' for id, _ in numbered)
    return (
        f'<styleSheet xmlns="{MAIN}"><numFmts>{codes}</numFmts>'
        f'<cellXfs><xf numFmtId="0"/>{cells}</cellXfs></styleSheet>'
    )


def text(reference: str, value: str) -> str:
    return f'<c r="{reference}" t="inlineStr"><is><t>{value}</t></is></c>'


def number(reference: str, value: float | str, style: int = 0, kind: str = "n") -> str:
    return f'<c r="{reference}" s="{style}" t="{kind}"><v>{value}</v></c>'


def row(place: int, *cells: str, attributes: str = "") -> str:
    return f'<row r="{place}" {attributes}>{"".join(cells)}</row>'


HEADINGS = row(1, text("A1", "Handy"), text("B1", "Name"))


def person(place: int, name: str = "Anne", attributes: str = "") -> str:
    cells = text(f"A{place}", f"0171 39200{place % 90 + 10}"), text(f"B{place}", name)
    return row(place, *cells, attributes=attributes)


def ods(rows: str, before: str = "", **parts: str | bytes) -> bytes:
    """A document with one table of `rows`; `before` are its columns, say."""
    content = (
        f'<office:document-content xmlns:office="{ODF}:office:1.0" '
        f'xmlns:table="{ODF}:table:1.0" xmlns:text="{ODF}:text:1.0" xmlns:style="{ODF}:style:1.0" '
        'xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0">'
        f'<office:body><office:spreadsheet><table:table table:name="List">{before}{rows}'
        "</table:table></office:spreadsheet></office:body></office:document-content>"
    )
    manifest = (
        f'<manifest:manifest xmlns:manifest="{ODF}:manifest:1.0">'
        f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{ODS_TYPE}"/>'
        "</manifest:manifest>"
    )
    made: dict[str, str | bytes] = {"mimetype": ODS_TYPE, "META-INF/manifest.xml": manifest}
    return zipped(made | {"content.xml": content} | parts)


def ods_cell(value: str, attributes: str = "", value_type: str = "string") -> str:
    return (
        f'<table:table-cell office:value-type="{value_type}" {attributes}>'
        f"<text:p>{value}</text:p></table:table-cell>"
    )


def ods_row(*cells: str, attributes: str = "") -> str:
    return f"<table:table-row {attributes}>{''.join(cells)}</table:table-row>"


ODS_HEADINGS = ods_row(ods_cell("Handy"), ods_cell("Name"))


def ods_person(number: int, name: str = "Anne", attributes: str = "") -> str:
    cells = ods_cell(f"0171 39200{number % 90 + 10}"), ods_cell(name)
    return ods_row(*cells, attributes=attributes)
