// Every page: one submit a click.

const release = (form) => (form.ariaBusy = null);
addEventListener("submit", (event) => {
	const form = event.target;
	if (form.ariaBusy) return event.preventDefault();
	form.ariaBusy = "true";
	setTimeout(release, 25_000, form); // longer than the server's own deadline
	sessionStorage.sent = form.dataset.draft;
	if (form.action.endsWith("/logout")) sessionStorage.clear();
});
addEventListener("pageshow", () => document.querySelectorAll("form[aria-busy]").forEach(release));

// Only the page right after a form can say that its text was taken.
if (document.querySelector("[data-taken]")) delete sessionStorage[sessionStorage.sent];
delete sessionStorage.sent;
