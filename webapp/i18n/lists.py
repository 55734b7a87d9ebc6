"""The sentences about lists: why one cannot be read, what is asked, what is wrong with a row.

A sentence begins with what to do, and names rows and columns as the person's own spreadsheet does.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from flask_babel import LazyString, gettext, ngettext
from flask_babel import lazy_gettext as _

from webapp.i18n.sentences import MAX_QUOTED_CHARACTERS, RECIPIENT_PROBLEMS
from webapp.messages.lists.check import CheckedRow, Problem
from webapp.messages.lists.reading import ListRefused, Notice, Question
from webapp.messages.lists.reminders import ListRule
from webapp.rules.numbers import RecipientProblem
from webapp.rules.reminders import ReminderProblem, Unit

REFUSALS = {
    "nothing": _("Choose a file, or paste the cells of your spreadsheet."),
    "both": _("Choose a file or paste cells: not both."),
    "too_large": _("Choose a file of at most 5 MB."),
    "not_a_list": _("Choose a spreadsheet (XLSX, ODS) or a CSV file: “%(name)s” is neither."),
    "old_excel": _(
        "Save the list as XLSX in Excel, then choose it again: this is the format from before 2007."
    ),
    "password": _("Take the password off the file, then choose it again."),
    "damaged": _("Open “%(name)s” in your spreadsheet program and save it again: it is damaged."),
    "too_big_inside": _(
        "Copy the rows you need into a new spreadsheet: this one is far larger than it looks."
    ),
    "rows": _("Split the list: it has %(count)s rows, and 20,000 fit."),
    "columns": _("Delete columns that no text needs: there are %(count)s, and 100 fit."),
    "broken_character": _(
        "Save the file again as “CSV UTF-8”: row %(row)s holds a broken character."
    ),
    "quote": _("Look at the quotation marks in row %(row)s: one has no partner."),
    "swallowed": _(
        "Look at the quotation marks in row %(row)s: they join several rows into one cell."
    ),
    "empty": _("Choose a list with people in it: this one is empty."),
    "no_rows": _("Add at least one row below the headings."),
    "vcard": _("Export your contacts as CSV: a VCF file is no list."),
    "web_page": _("Open the file in Excel and save it as XLSX: it is a web page inside."),
    "slow": _("Save the list as CSV and choose it again: reading took too long."),
    "busy": _("Two lists are being read; choose yours again in a moment."),
}
UNREADABLE = _("Open the list in your spreadsheet program and save it again: it cannot be read.")

QUESTIONS = {
    "mojibake": _(
        "“%(typed)s” looks wrong. Choose another character set, or go on if it is right."
    ),
    "sheet": _("Choose the sheet with the people: there are several."),
    "number_column": _("Choose the column with the mobile numbers."),
    "two_columns": _("Choose one: columns %(a)s and %(b)s are both called “%(name)s”."),
}

OUR_PROBLEMS = {
    "missing": _("Enter %(name)s in row %(row)s."),
    "digits_lost": _(
        "Format the column as text and enter the number again: the spreadsheet has cut “%(typed)s”."
    ),
    "too_long": _("Shorten the text: in row %(row)s it has %(count)s parts, and 10 are the most."),
    "empty_text": _("Enter a text: in row %(row)s it is empty."),
    "control_character": _(
        "Remove a character that no phone can show (%(name)s) from row %(row)s."
    ),
    "cell_too_long": _("Shorten column %(name)s in row %(row)s: 2,000 characters fit."),
    "ragged": _("Look at the separators in row %(row)s: it has a cell too many."),
    "date_unreadable": _("Write the day in row %(row)s as in 24.11.2026: not “%(typed)s”."),
    "date_order": _(
        "Write the day in row %(row)s as in 24.11.2026: in “%(typed)s” it is not clear what is the "
        "day and what is the month."
    ),
    "no_such_day": _("Correct the day in row %(row)s: there is no “%(typed)s”."),
    "time_unreadable": _("Enter the time of the appointment in row %(row)s, as in 14:30."),
    "does_not_exist": _(
        "Correct the time in row %(row)s: the clocks skip “%(typed)s” in that night."
    ),
    "appointment_past": _("Leave out row %(row)s: its appointment is over (%(typed)s)."),
    "after_appointment": _(
        "Choose an earlier time, or leave out row %(row)s: its reminder would come after the "
        "appointment (%(typed)s)."
    ),
    "already_due": _("Row %(row)s: the time of its reminder has passed."),
    "too_far": _("Row %(row)s: its reminder would go in more than 30 days."),
}

GROUPS = {
    "missing": "missing",
    "too_long": "too_long",
    "cell_too_long": "too_long",
    **{problem.value: "appointments" for problem in ReminderProblem},
    "already_due": "already_due",
    "too_far": "too_far",
}
"""What is done about a problem, by its code; numbers are looked up, the rest is `other`."""


def refusal(refused: ListRefused) -> str:
    sentence = str(REFUSALS.get(refused.code, UNREADABLE))
    return sentence % {"name": refused.name, "row": refused.row, "count": refused.count}


def question(asked: Question) -> str:
    return str(QUESTIONS[asked.code]) % dict(asked.values)


def notice(seen: Notice) -> str:
    """Something that was seen in the list, or done with it."""
    if seen.code == "hidden":
        return ngettext(
            "%(num)s row is hidden in the spreadsheet. It is left out.",
            "%(num)s rows are hidden in the spreadsheet. They are left out.",
            seen.count,
        )
    if seen.code == "hidden_columns":
        return ngettext(
            "%(num)s column is hidden in the spreadsheet and is not offered.",
            "%(num)s columns are hidden in the spreadsheet and are not offered.",
            seen.count,
        )
    if seen.code == "merged":
        return ngettext(
            "%(num)s merged cell counts for all rows and columns that it covers.",
            "%(num)s merged cells count for all rows and columns that they cover.",
            seen.count,
        )
    return ngettext(
        "%(num)s row has a cell too many: look at its separators.",
        "%(num)s rows have a cell too many: look at their separators.",
        seen.count,
    )


def problem(row: CheckedRow) -> str:
    """What to do about a row that cannot be sent."""
    found = row.problem or Problem("", "")
    if found.code in OUR_PROBLEMS:
        return str(OUR_PROBLEMS[found.code]) % {
            "row": row.number,
            "name": found.detail,
            "count": found.detail,
            "typed": found.typed[:MAX_QUOTED_CHARACTERS],
        }
    code = "too_long" if found.code == "number_too_long" else found.code
    sentence = str(RECIPIENT_PROBLEMS[RecipientProblem(code)])
    return sentence % {"typed": found.typed[:MAX_QUOTED_CHARACTERS]}


def group(code: str) -> str:
    """What kind of work a problem is: `numbers`, `missing`, `too_long`, `appointments`,
    `already_due`, `too_far` or `other`."""
    if code in GROUPS:
        return GROUPS[code]
    is_other = code in OUR_PROBLEMS and code != "digits_lost"
    return "other" if is_other else "numbers"


def todo(rows: Sequence[CheckedRow]) -> list[tuple[str, str]]:
    """What is to be done, and how often: (group, sentence)."""
    counts = Counter(group(row.problem.code) for row in rows if row.problem)
    return [(kind, _todo(kind, counts[kind])) for kind in _TODO_ORDER if counts[kind]]


_TODO_ORDER = (
    *("numbers", "missing", "too_long", "appointments", "other"),
    *("already_due", "too_far"),
)


def _todo(kind: str, count: int) -> str:
    if kind == "numbers":
        return ngettext("Fix %(num)s number", "Fix %(num)s numbers", count)
    if kind == "missing":
        return ngettext(
            "Enter missing values in %(num)s row", "Enter missing values in %(num)s rows", count
        )
    if kind == "too_long":
        return ngettext(
            "Shorten the text in %(num)s row", "Shorten the text in %(num)s rows", count
        )
    if kind == "appointments":
        return ngettext(
            "Look at the appointment in %(num)s row",
            "Look at the appointments in %(num)s rows",
            count,
        )
    if kind == "already_due":
        return ngettext(
            "%(num)s reminder is already due", "%(num)s reminders are already due", count
        )
    if kind == "too_far":
        return ngettext(
            "%(num)s reminder is too far away", "%(num)s reminders are too far away", count
        )
    return ngettext("Look at %(num)s row", "Look at %(num)s rows", count)


def choice(kind: str, count: int) -> str:
    """What leaving out is about, beside its checkbox."""
    sentences = {
        "not_chosen": ngettext(
            "%(num)s row is not one of those that you chose.",
            "%(num)s rows are not among those that you chose.",
            count,
        ),
        "errors": ngettext(
            "Leave out %(num)s row that cannot be sent",
            "Leave out %(num)s rows that cannot be sent",
            count,
        ),
        "duplicates": ngettext(
            "%(num)s row has a number that was there before. Each gets one message.",
            "%(num)s rows have a number that was there before. Each gets one message.",
            count,
        ),
        "hidden": ngettext(
            "%(num)s row is hidden in the spreadsheet. It is left out.",
            "%(num)s rows are hidden in the spreadsheet. They are left out.",
            count,
        ),
        "blocked": ngettext(
            "%(num)s person wants no texts. Their row is left out.",
            "%(num)s people want no texts. Their rows are left out.",
            count,
        ),
        "already_sent": ngettext(
            "%(num)s of these people got exactly this text today. Leave them out?",
            "%(num)s of these people got exactly this text today. Leave them out?",
            count,
        ),
    }
    return sentences.get(kind) or _reminders_choice(kind, count)


def _reminders_choice(kind: str, count: int) -> str:
    sentences = {
        "already_planned": ngettext(
            "%(num)s of these people has a reminder of the same appointment already. Leave it out?",
            "%(num)s of these people have a reminder of the same appointment already. Leave them "
            "out?",
            count,
        ),
        "already": ngettext(
            "%(num)s of these people got exactly this text today, or has a reminder of the same "
            "appointment already. Leave them out?",
            "%(num)s of these people got exactly this text today, or have a reminder of the same "
            "appointment already. Leave them out?",
            count,
        ),
        "late": ngettext(
            "%(num)s reminder is already due. If it is not left out, it goes at once, but not at "
            "night and not in the hour before the appointment.",
            "%(num)s reminders are already due. If they are not left out, they go at once, but not "
            "at night and not in the hour before the appointment.",
            count,
        ),
        "too_far": ngettext(
            "%(num)s reminder would go in more than 30 days. Its row is left out.",
            "%(num)s reminders would go in more than 30 days. Their rows are left out.",
            count,
        ),
    }
    return sentences[kind]


def still_waiting(count: int) -> str:
    """Of texts of a list that an earlier batch has not sent yet."""
    return ngettext(
        "%(num)s is still waiting in an earlier batch: resume or cancel that one.",
        "%(num)s are still waiting in an earlier batch: resume or cancel that one.",
        count,
    )


LEFT_OUT: Mapping[str, LazyString] = {
    "not_chosen": _("not chosen"),
    "errors": _("cannot be sent"),
    "duplicates": _("its number was there before"),
    "hidden": _("hidden in the spreadsheet"),
    "blocked": _("wants no texts"),
    "already_sent": _("had this text today"),
    "already_planned": _("had a reminder of this appointment already"),
    "late": _("the time of its reminder had passed"),
    "too_far": _("its reminder would go in more than 30 days"),
}


def left_out(code: str) -> str:
    """Why a row was left out, for the report."""
    if code in LEFT_OUT:
        return str(LEFT_OUT[code])
    return {
        "numbers": gettext("its number cannot be used"),
        "missing": gettext("a value is missing"),
        "too_long": gettext("its text is too long"),
        "appointments": gettext("its appointment cannot be used"),
        "other": gettext("cannot be sent"),
    }[group(code)]


def reminders_rule(kept: Mapping[str, Any] | None) -> str:
    """When each reminder of a batch goes; empty if it is none."""
    if not kept:
        return ""
    rule = ListRule.from_json(kept).rule
    if rule.unit == Unit.HOURS:
        return ngettext(
            "Reminders: %(num)s hour before each appointment",
            "Reminders: %(num)s hours before each appointment",
            rule.before,
        )
    if rule.at is None:
        return ngettext(
            "Reminders: %(num)s day before each appointment, at its time",
            "Reminders: %(num)s days before each appointment, at its time",
            rule.before,
        )
    return ngettext(
        "Reminders: %(num)s day before each appointment, at %(at)s",
        "Reminders: %(num)s days before each appointment, at %(at)s",
        rule.before,
        at=f"{rule.at:%H:%M}",
    )


DATE_FORMS = {
    "d.m.y": "24.11.2026",
    "weekday-d.m.": _("Tue 24 Nov"),
    "weekday-d.-month": _("Tuesday, 24 November"),
    "d-mon-y": _("24 Nov 2026"),
}
ENCODINGS = {
    "utf-8": "UTF-8",
    "cp1252": _("Windows, Western Europe"),
    "cp850": _("DOS, Western Europe"),
    "mac-roman": _("older Mac"),
    "cp1250": _("Windows, Central Europe"),
    "iso8859-2": "ISO 8859-2",
    "cp1251": _("Windows, Cyrillic"),
    "koi8-r": "KOI8-R",
    "cp1253": _("Windows, Greek"),
    "cp1254": _("Windows, Turkish"),
    "utf-16-le": "UTF-16 LE",
    "utf-16-be": "UTF-16 BE",
}
