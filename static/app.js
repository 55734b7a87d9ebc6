// Every page: one submit per click, and a draft that ends when it should.

// The server knows a repeated submission by its id; this only keeps the second click quiet.
const HOLD_MS = 25_000; // longer than the server's own deadline
const release = (form) => (form.ariaBusy = null);
addEventListener("submit", (event) => {
  const form = event.target;
  if (form.ariaBusy) return event.preventDefault();
  form.ariaBusy = "true";
  setTimeout(release, HOLD_MS, form);
  if (form.action.endsWith("/logout")) sessionStorage.clear();
});
addEventListener("pageshow", () => document.querySelectorAll("form[aria-busy]").forEach(release));

// The page after sending says that the message was taken; until then its draft is kept.
if (document.querySelector("[data-taken]")) sessionStorage.removeItem(sessionStorage.sent);
