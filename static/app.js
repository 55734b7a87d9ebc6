// Every page: one submit a click, and no draft outlives its sign-in.

const signOuts = new BroadcastChannel("sign-outs");
const forget = () => sessionStorage.clear();
signOuts.onmessage = forget; // in another tab

const release = (form) => (form.ariaBusy = null);
addEventListener("submit", (event) => {
	const form = event.target;
	if (form.ariaBusy) return event.preventDefault();
	form.ariaBusy = "true";
	setTimeout(release, 25_000, form); // longer than the server's own deadline
	sessionStorage.sent = form.dataset.draft;
	if (form.action.includes("/logout")) {
		forget();
		signOuts.postMessage("");
	}
});
addEventListener("pageshow", () => document.querySelectorAll("form[aria-busy]").forEach(release));

// Only the page right after a form can say that its text was taken.
if (document.querySelector("[data-taken]")) delete sessionStorage[sessionStorage.sent];
delete sessionStorage.sent;

// Only pages that know whose they are say so: an error page does not.
const { owner } = document.body.dataset;
for (const key of Object.keys(sessionStorage)) if (owner && key !== owner) delete sessionStorage[key];
