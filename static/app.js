// Every page: one submit a click, and no draft outlives its sign-in.

const BUSY_MS = 25_000; // longer than the server's own deadline
const signOuts = new BroadcastChannel("sign-outs");

function forgetDrafts() {
	sessionStorage.clear();
}

function release(form) {
	form.ariaBusy = null;
}

function onSubmit(event) {
	const form = event.target;
	if (form.ariaBusy) return event.preventDefault();
	form.ariaBusy = "true";
	setTimeout(release, BUSY_MS, form);
	sessionStorage.sent = form.dataset.draft;
	if (form.action.includes("/logout")) {
		forgetDrafts();
		signOuts.postMessage("");
	}
}

/** Only the page right after a form can say that its text was taken. */
function dropSentDraft() {
	if (document.querySelector("[data-taken]")) delete sessionStorage[sessionStorage.sent];
	delete sessionStorage.sent;
}

/** Only pages that know whose they are say so: an error page does not. */
function dropDraftsOfOthers() {
	const { owner } = document.body.dataset;
	if (!owner) return;
	for (const key of Object.keys(sessionStorage)) if (key !== owner) delete sessionStorage[key];
}

addEventListener("submit", onSubmit);
// A page that comes back from the browser's memory is as it was when it was left: busy.
addEventListener("pageshow", () => document.querySelectorAll("form[aria-busy]").forEach(release));
signOuts.addEventListener("message", forgetDrafts); // in another tab
dropSentDraft();
dropDraftsOfOthers();
