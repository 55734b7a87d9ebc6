"""Each page of the app and of the simulator, and how one gets there.

A new page belongs into `PAGES`: then all checks of `test_every_page.py` are its checks, too.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import time_machine

from tests.browser.visitor import Visitor
from tests.support.pages import Browser, Page
from tests.support.worker import send_to_many, work
from webapp.database import installation
from webapp.messages import sweep
from webapp.simulator import Fault

PASSED = "2020-02-20T08:00"
TEXT = "A text with €uros and 👍🏽" * 5
Arrive = Callable[[Visitor], None]


def path(value: str) -> Arrive:
    return lambda visitor: visitor.go(value)


def tomorrow() -> str:
    return f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M}"


# --- Writing ------------------------------------------------------------------------------------


def filled_form(visitor: Visitor) -> None:
    visitor.go("/")
    visitor.write(text="Ihr Termin ist morgen um 8 Uhr. 👍🏽" * 4)
    visitor.page.get_by_role("button", name="Tomorrow 08:00").click()


def form_with_errors(visitor: Visitor) -> None:
    visitor.go("/")
    visitor.write("0171 hello", "\u200b", at=PASSED)
    visitor.button.click()
    visitor.see("There are 3 things to correct")


def question_before_sending(visitor: Visitor) -> None:
    visitor.go("/")
    visitor.write("0171 3920050\n0171 3920051\n030 23125000", TEXT)
    visitor.button.click()
    visitor.see("Check before sending")
    visitor.page.get_by_text("Show the numbers").click()


def form_used_before(visitor: Visitor) -> None:
    visitor.go("/")
    used = visitor.page.locator("[name=submission_id]")
    fields = visitor.quick.compose(recipient="+491713920050", message="Something")
    visitor.quick.post("/messages", fields, status=303)
    used.evaluate("(field, value) => field.value = value", fields["submission_id"])
    visitor.write(text="Something else")
    visitor.button.click()
    visitor.see("Another message was already sent from this page")


def form_on_hold(visitor: Visitor) -> None:
    visitor.go("/")  # on hold, sipgate is not asked for the extensions
    with visitor.quick.app.app_context():
        installation.hold()
    visitor.go("/")
    visitor.write()
    visitor.button.click()
    visitor.see("Sending is on hold")


def form_to_send_again(visitor: Visitor) -> None:
    visitor.go(f"{visitor.quick.send('0171 3920001').location}/again")
    visitor.see("This repeats a message")


def form_to_change(visitor: Visitor) -> None:
    visitor.go(f"{planned(visitor).path}/edit")


def extensions_not_known(visitor: Visitor) -> None:
    visitor.sipgate.fail_next("extensions", Fault(503), times=9)
    visitor.go("/")


# --- A message in every outcome -----------------------------------------------------------------


def sent_to(ending: str) -> Arrive:
    return lambda visitor: visitor.go(visitor.quick.send(f"0171 3920{ending}", TEXT).location)


def planned(visitor: Visitor) -> Page:
    return visitor.quick.send_and_look(text=TEXT, send_at=tomorrow(), time_zone="UTC")


def message_held(visitor: Visitor) -> None:
    visitor.go(planned(visitor).path)


def message_scheduled(visitor: Visitor) -> None:
    soon = f"{datetime.now(UTC) + timedelta(minutes=10):%Y-%m-%dT%H:%M}"
    visitor.go(visitor.quick.send(text=TEXT, send_at=soon, time_zone="UTC").location)


def message_withdrawn(visitor: Visitor) -> None:
    page = planned(visitor)
    visitor.quick.press(page, f"{page.path}/cancel")
    visitor.go(page.path)


def message_missed(visitor: Visitor) -> None:
    page = planned(visitor)
    later = datetime.now(UTC) + timedelta(days=2)
    with time_machine.travel(later), visitor.quick.app.app_context():
        sweep.mark_missed()
    visitor.go(page.path)


def message_under_way(visitor: Visitor) -> None:
    sender = visitor.new_tab()
    sender.go("/")
    sender.write()
    sender.send_slowly(30)
    visitor.go("/messages")
    visitor.page.locator("tbody a").first.click()
    visitor.see("on its way to sipgate")


def message_not_sent(visitor: Visitor) -> None:
    fields = visitor.quick.compose(recipient="0171 3920050", message=TEXT)
    visitor.sipgate.stop()
    visitor.go(visitor.quick.post("/messages", fields, status=303).location)


def message_looked_up(visitor: Visitor) -> None:
    sent_to("007")(visitor)
    visitor.page.get_by_role("button", name="Check sipgate's history again").click()
    visitor.page.wait_for_load_state()


def message_of_batch(visitor: Visitor, index: int = 0) -> None:
    batch_stopped(visitor)
    visitor.page.locator(".rows a").nth(index).click()
    visitor.see("Send it after all?")


# --- Many messages ------------------------------------------------------------------------------


def batch_waiting(visitor: Visitor) -> None:
    visitor.go(send_to_many(visitor.quick, 12, TEXT).path)


def batch_stopped(visitor: Visitor) -> None:
    page = send_to_many(visitor.quick, 3, TEXT)
    visitor.quick.press(page, f"{page.path}/stop")
    visitor.go(page.path)


def batch_done(visitor: Visitor) -> None:
    page = send_to_many(visitor.quick, 3, TEXT)
    work(visitor.quick.app)
    visitor.go(page.path)


def message_queued(visitor: Visitor) -> None:
    batch_waiting(visitor)
    visitor.page.locator(".rows a").first.click()
    visitor.page.wait_for_url("**/messages/*")


def list_of_batches(visitor: Visitor) -> None:
    batch_done(visitor)
    list_of_messages(visitor)


def list_filtered(visitor: Visitor) -> None:
    list_of_batches(visitor)
    visitor.go("/messages?q=a&outcome=accepted&outcome=refused&from=2026-01-01&extension=s9")
    visitor.see("Refused")


def list_of_planned(visitor: Visitor) -> None:
    list_of_messages(visitor)
    visitor.page.get_by_role("link", name="Planned").click()
    visitor.see("+49 171 3920051")


def list_of_messages(visitor: Visitor) -> None:
    for ending in ("050", "001", "006"):
        visitor.quick.send(f"0171 3920{ending}", TEXT)
    visitor.quick.send("0171 3920051", TEXT, send_at=tomorrow(), time_zone="UTC")
    visitor.go("/messages")


# --- Around them --------------------------------------------------------------------------------


def opened_menu(visitor: Visitor) -> None:
    visitor.go("/messages")
    visitor.page.locator(".menu-name").click()


def question_before_signing_out(visitor: Visitor) -> None:
    planned(visitor)
    visitor.go("/logout")
    visitor.see("Let sipgate send them")


def list_of_sign_ins(visitor: Visitor) -> None:
    type(visitor.quick)(visitor.quick.app, visitor.sipgate).sign_in()
    visitor.go("/sessions")


def declined(visitor: Visitor) -> None:
    visitor.go("/login")
    visitor.consent("Anna Sommer", button="Cancel")


def not_admitted(visitor: Visitor) -> None:
    visitor.go("/login")
    visitor.consent("Karl Krause")


def sign_in_ended(visitor: Visitor) -> None:
    visitor.go("/")
    visitor.write()
    visitor.page.context.clear_cookies()
    visitor.button.click()
    visitor.see("your text is kept")


def form_too_large(visitor: Visitor) -> None:
    visitor.go("/")
    visitor.message.evaluate("field => field.value = 'x'.repeat(300_000)")
    visitor.button.click()
    visitor.see("at most 256 KB")


def form_grown_old(visitor: Visitor) -> None:
    visitor.go("/logout")
    visitor.page.locator("main [name=csrf_token]").evaluate("field => field.remove()")
    visitor.button.click()
    visitor.see("open for too long")


def simulator(value: str) -> Arrive:
    def go(visitor: Visitor) -> None:
        visitor.quick.send(text="A text on a phone")
        visitor.page.goto(visitor.sipgate.base_url + value)

    return go


# --- Contacts, message templates, senders --------------------------------------------------------


def kept_template(
    visitor: Visitor,
    text: str = "Hello ((first name)), until ((time)).",
    name: str = "Reminder",
) -> str:
    """The path at which a new message template is used."""
    fields = visitor.quick.get("/message-templates/new").fields()
    visitor.quick.post("/message-templates/new", {**fields, "name": name, "text": text})
    page = visitor.quick.get("/message-templates")
    return next(str(a["href"]) for a in page.soup.select("main a") if "Use" in a.get_text())


def contacts_found(visitor: Visitor) -> None:
    visitor.go("/contacts?q=a")
    visitor.see("Hans")


def list_of_templates(visitor: Visitor) -> None:
    path = kept_template(visitor)
    visitor.quick.press(visitor.quick.get(f"{path}/edit"), f"{path}/delete")
    kept_template(visitor)
    visitor.go("/message-templates")


def template_to_fill_in(visitor: Visitor) -> None:
    visitor.go(kept_template(visitor))
    visitor.page.get_by_label("time", exact=True).fill("ten")
    visitor.see("Fill in")


def several_recipients(visitor: Visitor) -> None:
    visitor.go("/contacts")
    visitor.go("/")
    visitor.to.fill("Emil Fischer\n0171 12\n0171 3920050\n0171 3920050")
    visitor.message.fill("„Hello“")
    visitor.button.click()
    visitor.see("There is one thing to correct")


def suggested_contacts(visitor: Visitor) -> None:
    visitor.go("/contacts")
    visitor.go("/")
    visitor.to.press_sequentially("fi")
    visitor.suggestions.first.wait_for()


def template_to_change(visitor: Visitor) -> None:
    visitor.go(kept_template(visitor) + "/edit")


def template_with_errors(visitor: Visitor) -> None:
    visitor.go("/message-templates/new")
    visitor.page.get_by_role("button", name="Save template").click()
    visitor.see("There are 2 things to correct")


def form_after_a_test(visitor: Visitor) -> None:
    kept_template(visitor)
    visitor.go("/")
    visitor.write()
    visitor.page.get_by_text("Try it on your own phone first").click()
    visitor.page.get_by_label("Your own mobile number").fill("0171 3920060")
    visitor.page.get_by_role("button", name="Send a test to myself").click()
    visitor.see("Accepted")


def messages_found(visitor: Visitor) -> None:
    visitor.go("/contacts")
    sent_to("020")(visitor)
    message_held(visitor)
    visitor.go("/messages?q=text&outcome=accepted")


def messages_with_one_number(visitor: Visitor) -> None:
    sent_to("050")(visitor)
    visitor.page.get_by_role("link", name="All messages to this number").click()


def further_permissions(visitor: Visitor) -> None:
    visitor.go("/senders")
    visitor.page.get_by_role("link", name="Allow it at sipgate").click()
    visitor.consent("Anna Sommer")
    visitor.see("Add a mobile number")


def sender_without_its_code(visitor: Visitor) -> None:
    further_permissions(visitor)
    visitor.page.get_by_label("Mobile number").fill("0171 3920055")
    visitor.page.get_by_role("button", name="Send the code").click()
    visitor.see("Enter the code")


def sender_with_a_wrong_code(visitor: Visitor) -> None:
    sender_without_its_code(visitor)
    visitor.page.get_by_label("Code", exact=True).fill("WRONG1")
    visitor.page.get_by_role("button", name="Confirm the number").click()
    visitor.see("sipgate did not accept this code")


def senders_of_every_kind(visitor: Visitor) -> None:
    sender_without_its_code(visitor)
    visitor.page.get_by_role("link", name="Back to the list").click()
    visitor.see("Not confirmed yet")


def sender_refused(visitor: Visitor) -> None:
    further_permissions(visitor)
    visitor.sipgate.fail_next("add_caller_id", Fault(403))
    visitor.page.get_by_label("Mobile number").fill("0171 3920055")
    visitor.page.get_by_role("button", name="Send the code").click()
    visitor.see("sipgate does not allow this")


def sender_in_question(visitor: Visitor) -> None:
    further_permissions(visitor)
    visitor.page.get_by_role("button", name="Make it the default sender").click()
    visitor.see("no matter who sends them")


def noted_numbers(visitor: Visitor) -> None:
    visitor.go("/blocked")
    visitor.page.get_by_label("Number", exact=True).fill("0171 3920050\n0171 3920051")
    visitor.page.get_by_role("button", name="Do not write to this number").click()
    visitor.see("Nothing more is sent there")


def noted_number_to_lift(visitor: Visitor) -> None:
    noted_numbers(visitor)
    visitor.page.get_by_role("button", name="Lift").first.click()
    visitor.see("Write to this number again?")


# --- Lists --------------------------------------------------------------------------------------

CELLS = (
    "Handy\tVorname\tTermin\n0176 04070001\tJörg\t10:00\n0176 04070002\tAnn\t11:00\n"
    "0176\tBad\t12:00\n0176 04070001\tJörg\t10:00\n0176 04070003\t\t13:00\n"
)


def list_refused(visitor: Visitor) -> None:
    visitor.go("/batches/new")
    visitor.page.get_by_label("Or paste the cells").fill("0")
    visitor.page.get_by_role("button", name="Read the list").click()
    visitor.see("Add at least one row below the headings.")


def list_columns(visitor: Visitor) -> None:
    visitor.go("/batches/new")
    visitor.page.get_by_label("Or paste the cells").fill(CELLS)
    visitor.page.get_by_role("button", name="Read the list").click()
    visitor.see("The first rows")


def list_without_a_column(visitor: Visitor) -> None:
    list_columns(visitor)
    visitor.message.fill("Hello ((Vorname)), see you in ((Ort)) at ((Termin))")
    visitor.page.get_by_role("button", name="Check the list").click()
    visitor.see("Choose a column for ((Ort))")


def list_checked(visitor: Visitor) -> None:
    list_columns(visitor)
    visitor.message.fill("Hello ((Vorname)), see you at ((Termin))")
    visitor.page.get_by_role("button", name="Check the list").click()
    visitor.see("2 of 5 can be sent.")


def list_questions(visitor: Visitor) -> None:
    list_checked(visitor)
    visitor.page.get_by_label("Leave out 2 rows that cannot be sent").check()
    visitor.page.get_by_role("button", name="Apply").click()
    visitor.page.get_by_role("button", name="Send 2 messages").click()
    visitor.see("Check before sending")


def list_prepared(visitor: Visitor) -> None:
    list_questions(visitor)
    visitor.page.get_by_role("button", name="Send 2 messages").first.click()
    visitor.see("Preparing 0 of 2")


def list_with_days(visitor: Visitor) -> None:
    """Of people with appointments in two days; the last one's is over."""
    day = datetime.now(UTC) + timedelta(days=2)
    rows = [f"0176 0407000{n}\tPerson{n}\t{day:%d.%m.%Y} 1{n}:30" for n in range(3)]
    rows.append("0176 04070009\tRobin\t01.02.2026 10:00")
    visitor.go("/batches/new")
    cells = "\n".join(["Handy\tVorname\tTermin", *rows])
    visitor.page.get_by_label("Or paste the cells").fill(cells)
    visitor.page.get_by_role("button", name="Read the list").click()
    visitor.message.fill("Hello ((Vorname)), see you at ((Termin))")
    visitor.page.get_by_role("button", name="Check the list").click()
    visitor.page.get_by_label("Before each appointment").check()


def list_of_reminders(visitor: Visitor) -> None:
    list_with_days(visitor)
    visitor.page.get_by_label("Also on Sundays").check()
    visitor.page.get_by_role("button", name="Show when each one goes").click()
    visitor.see("3 of 4 can be sent.")


def group_of_some(visitor: Visitor) -> None:
    visitor.go("/groups")
    visitor.page.get_by_label("Name", exact=True).fill("Choir")
    visitor.page.get_by_label("People").fill("0176 04070001\tAnn\n0176 04070002\tBo")
    visitor.page.get_by_role("button", name="Make the group").click()
    visitor.see("2 people")


def group_to_fill(visitor: Visitor) -> None:
    visitor.go("/contacts")
    group_of_some(visitor)
    visitor.page.get_by_label("Find contacts by name or organization").fill("Frieda")
    visitor.page.get_by_role("button", name="Search").click()
    visitor.page.get_by_label("Frieda Großmann").check()


def groups_and_a_deleted_one(visitor: Visitor) -> None:
    for _ in range(2):
        group_of_some(visitor)
    visitor.page.get_by_role("button", name="Delete the group").click()
    visitor.see("The group can be restored for 30 days.")


def wrong_group(visitor: Visitor) -> None:
    visitor.go("/groups")
    visitor.page.get_by_label("People").fill("0176")
    visitor.page.get_by_role("button", name="Make the group").click()
    visitor.see("Enter a name that tells it apart")


def list_of_wrong_reminders(visitor: Visitor) -> None:
    list_with_days(visitor)
    # As a browser without fields for numbers sends it.
    visitor.page.locator("#before").evaluate("field => { field.type = 'text'; }")
    visitor.page.get_by_label("How long before").fill("99")
    visitor.page.get_by_role("button", name="Show when each one goes").click()
    visitor.see("Enter how many days or hours before: 0 to 30.")


def own_lists(visitor: Visitor) -> None:
    list_checked(visitor)
    visitor.go("/lists")


def overview_of_some(visitor: Visitor) -> None:
    list_of_batches(visitor)
    visitor.quick.send("0171 3920003", TEXT)
    visitor.go("/overview")
    visitor.page.get_by_text("The same as a table").click()


def record_of_some(visitor: Visitor) -> None:
    list_of_batches(visitor)
    visitor.go("/record")


def ending_of_ben(visitor: Visitor) -> None:
    ben = Browser(visitor.quick.app, visitor.quick.sipgate)
    ben.sign_in("ben")
    ben.send("0171 3920050", TEXT, send_at=tomorrow(), time_zone="UTC")
    visitor.go("/record")
    visitor.page.locator("#people a[href$='/end']").click()
    visitor.see("Pause and end sign-ins")


STRANGER = ""
PAGES: dict[str, tuple[str, Arrive]] = {
    "start page": (STRANGER, path("/")),
    "access declined": (STRANGER, declined),
    "account not admitted": (STRANGER, not_admitted),
    "help": (STRANGER, path("/help")),
    "about": (STRANGER, path("/about")),
    "empty form": ("anna", path("/")),
    "form of one extension": ("ben", path("/")),
    "filled form": ("anna", filled_form),
    "form with errors": ("anna", form_with_errors),
    "question before sending": ("anna", question_before_sending),
    "form used before": ("anna", form_used_before),
    "form on hold": ("anna", form_on_hold),
    "form to send again": ("anna", form_to_send_again),
    "form to change": ("anna", form_to_change),
    "no extension": ("clara", path("/")),
    "extensions not known": ("anna", extensions_not_known),
    "message accepted": ("anna", sent_to("050")),
    "message scheduled": ("anna", message_scheduled),
    "message held": ("anna", message_held),
    "message queued": ("anna", message_queued),
    "message paused": ("anna", message_of_batch),
    "message missed": ("anna", message_missed),
    "message withdrawn": ("anna", message_withdrawn),
    "message refused": ("anna", sent_to("003")),
    "message unknown": ("anna", sent_to("006")),
    "message looked up": ("anna", message_looked_up),
    "message under way": ("anna", message_under_way),
    "message not sent": ("anna", message_not_sent),
    "batch waiting": ("anna", batch_waiting),
    "batch stopped": ("anna", batch_stopped),
    "batch done": ("anna", batch_done),
    "no messages": ("anna", path("/messages")),
    "list of messages": ("anna", list_of_batches),
    "list of messages, filtered": ("anna", list_filtered),
    "list of planned messages": ("anna", list_of_planned),
    "opened menu": ("anna", opened_menu),
    "list to choose": ("anna", path("/batches/new")),
    "list refused": ("anna", list_refused),
    "list's columns": ("anna", list_columns),
    "list without a column": ("anna", list_without_a_column),
    "list checked": ("anna", list_checked),
    "list with questions": ("anna", list_questions),
    "list being prepared": ("anna", list_prepared),
    "list of reminders": ("anna", list_of_reminders),
    "list of wrong reminders": ("anna", list_of_wrong_reminders),
    "no groups": ("anna", path("/groups")),
    "groups": ("anna", groups_and_a_deleted_one),
    "group": ("anna", group_to_fill),
    "wrong group": ("anna", wrong_group),
    "own lists": ("anna", own_lists),
    "messages found": ("anna", messages_found),
    "no messages found": ("anna", path("/messages?q=nothing")),
    "messages with one number": ("anna", messages_with_one_number),
    "form after a test": ("anna", form_after_a_test),
    "overview of nothing": ("ben", path("/overview")),
    "overview": ("anna", overview_of_some),
    "record": ("anna", record_of_some),
    "question before ending sign-ins": ("anna", ending_of_ben),
    "contacts": ("anna", path("/contacts")),
    "contacts found": ("anna", contacts_found),
    "nobody found": ("anna", path("/contacts?q=nobody")),
    "no noted numbers": ("anna", path("/blocked")),
    "noted numbers": ("anna", noted_numbers),
    "noted number to lift": ("anna", noted_number_to_lift),
    "no message templates": ("anna", path("/message-templates")),
    "message templates": ("anna", list_of_templates),
    "message template to fill in": ("anna", template_to_fill_in),
    "several recipients": ("anna", several_recipients),
    "suggested contacts": ("anna", suggested_contacts),
    "message template to change": ("anna", template_to_change),
    "message template with errors": ("anna", template_with_errors),
    "further permissions": ("anna", further_permissions),
    "senders": ("anna", senders_of_every_kind),
    "sender refused": ("anna", sender_refused),
    "sender's code, wrong": ("anna", sender_with_a_wrong_code),
    "sender in question": ("anna", sender_in_question),
    "list of extensions": ("anna", path("/extensions")),
    "list of sign-ins": ("anna", list_of_sign_ins),
    "question before signing out": ("anna", question_before_signing_out),
    "operator's settings": ("anna", path("/operator")),
    "sign-in ended": ("anna", sign_in_ended),
    "not allowed": ("ben", path("/operator")),
    "no such page": ("anna", path("/messages/nobody-has-this-id")),
    "used the wrong way": ("anna", path("/language")),
    "form too large": ("anna", form_too_large),
    "form grown old": ("anna", form_grown_old),
    "sipgate's sign-in": (STRANGER, path("/login")),
    "simulator": ("anna", simulator("/")),
    "phones": ("anna", simulator("/phones")),
    "simulator's alerts": ("anna", simulator("/alerts")),
    "phone": ("anna", simulator("/phones/+491713920050")),
}
