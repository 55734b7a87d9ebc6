"""A hand at mouse and keyboard that carries out a task, and counts what it took."""

from dataclasses import dataclass

from playwright.sync_api import Locator

IS_FOCUSED = "element => element === document.activeElement"
IS_IN_SIGHT = """element => {
  const {left, top, width, height} = element.getBoundingClientRect();
  return element.contains(document.elementFromPoint(left + width / 2, top + height / 2));
}"""
PASTE = """(field, text) => {
  const clipboardData = new DataTransfer();
  clipboardData.setData("text/plain", text);
  field.dispatchEvent(
    new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
}"""


@dataclass
class Effort:
    """What a task takes: clicks, those that put the cursor into a field among them; fields typed
    into; and how often one had to scroll to reach what was clicked."""

    clicks: int = 0
    fields: int = 0
    scrolls: int = 0

    def is_within(self, most: "Effort") -> bool:
        return (
            self.clicks <= most.clicks
            and self.fields <= most.fields
            and self.scrolls <= most.scrolls
        )


class Hand:
    """Does what a person does, by mouse where it can be done by mouse; `effort` is what it took."""

    def __init__(self) -> None:
        self.effort = Effort()

    def click(self, target: Locator) -> None:
        self._reach(target)
        target.click()

    def type(self, field: Locator, text: str) -> None:
        """Write behind what stands in the field."""
        self._enter(field)
        field.press("End")
        field.press_sequentially(text)

    def retype(self, field: Locator, text: str) -> None:
        """Write instead of what stands in the field."""
        self._enter(field)
        field.press("ControlOrMeta+a")
        field.press_sequentially(text)

    def paste(self, field: Locator, text: str) -> None:
        """Put a copied text into a field that treats what is pasted itself."""
        self._enter(field)
        field.evaluate(PASTE, text)

    def choose(self, select: Locator, option: str) -> None:
        """Two clicks: one opens the choices, one takes one of them."""
        self._reach(select)
        self.effort.clicks += 1
        select.select_option(label=option)

    def _enter(self, field: Locator) -> None:
        """A field that has the cursor already takes no click."""
        if not field.evaluate(IS_FOCUSED):
            self.click(field)
        self.effort.fields += 1

    def _reach(self, target: Locator) -> None:
        target.wait_for()
        if not target.evaluate(IS_IN_SIGHT):
            self.effort.scrolls += 1
        self.effort.clicks += 1
