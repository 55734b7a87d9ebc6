"""What a text costs: the number of its segments times the price of one.

GSM-7: 160 septets, then 153 a segment; else UCS-2: 70, then 67 UTF-16 units (3GPP TS 23.038 and
23.040). Written without the app's own counter, so that neither repeats the other's mistake.
"""

SEGMENT_PRICE = 700
"""0.07 EUR in 1/10,000 EUR, sipgate's listed gross price."""

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = frozenset("\f^{}\\[~]|€")


def segment_count(text: str) -> int:
    if set(text) <= _BASIC | _EXTENDED:
        return _segments([2 if character in _EXTENDED else 1 for character in text], 160, 153)
    return _segments([2 if ord(character) > 0xFFFF else 1 for character in text], 70, 67)


def price(text: str) -> int:
    """In 1/10,000 EUR."""
    return segment_count(text) * SEGMENT_PRICE


def _segments(widths: list[int], single: int, multi: int) -> int:
    """Segments for units of these widths, none of which may straddle a border."""
    if sum(widths) <= single:
        return 1
    count, used = 1, 0
    for width in widths:
        if used + width > multi:
            count, used = count + 1, 0
        used += width
    return count
