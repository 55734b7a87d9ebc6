// Something is under way: look again, and take over what changed.
//
// A page with an ETag (a batch) is asked for every two seconds while it changes, and less and less
// often while it does not; any other page less often each time.

const FIRST_WAIT_MS = 1000;
const MAX_WAIT_MS = 15_000;
const CHANGING_WAIT_MS = 2000;
const STEADY_MAX_WAIT_MS = 30_000;

let etag = "";
let waited = FIRST_WAIT_MS;

async function look() {
	try {
		const headers = etag ? { "If-None-Match": etag } : {};
		const answer = await fetch(location.href, { redirect: "manual", headers });
		if (answer.status === 304) return wait(Math.min(waited * 2, STEADY_MAX_WAIT_MS));
		if (!answer.ok) return location.reload();
		etag = answer.headers.get("ETag") ?? "";
		takeOver(new DOMParser().parseFromString(await answer.text(), "text/html"));
		if (!document.querySelector("[data-poll]")) return;
	} catch {
		// Offline: look again later.
	}
	wait(etag ? CHANGING_WAIT_MS : Math.min(waited * 1.5, MAX_WAIT_MS));
}

function wait(time) {
	waited = time;
	setTimeout(look, time);
}

function takeOver(page) {
	document.title = page.title;
	for (const part of document.querySelectorAll("[data-live]")) {
		const news = page.querySelector(`[data-live=${part.dataset.live}]`);
		if (news.textContent !== part.textContent) replace(part, news);
	}
}

/** Nobody loses their place: the same link or button keeps the focus, else the page gets it. */
function replace(part, news) {
	const focused = part.querySelector(":focus")?.outerHTML;
	part.replaceChildren(...news.childNodes);
	if (!focused) return;
	const same = [...part.querySelectorAll("a, button")].find((one) => one.outerHTML === focused);
	(same ?? document.querySelector("main")).focus({ preventScroll: true });
}

wait(FIRST_WAIT_MS);
