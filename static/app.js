// Every page: a menu that closes, one submit per click.

const menu = document.querySelector("[data-menu]");
if (menu) {
  addEventListener("click", ({ target }) => menu.contains(target) || (menu.open = false));
  menu.addEventListener("keydown", ({ key }) => {
    if (key !== "Escape") return;
    menu.open = false;
    menu.firstElementChild.focus();
  });
}

// The server knows a repeated submission by its id; this only keeps the second click quiet.
const HOLD_MS = 25_000; // longer than the server's own deadline
const release = (form) => (form.ariaBusy = null);
addEventListener("submit", (event) => {
  const form = event.target;
  if (form.ariaBusy) return event.preventDefault();
  form.ariaBusy = "true";
  setTimeout(release, HOLD_MS, form);
});
addEventListener("pageshow", () => document.querySelectorAll("form[aria-busy]").forEach(release));
