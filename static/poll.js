// Something is under way: look again, and take over what changed.

const FIRST_WAIT_MS = 1000;
const MAX_WAIT_MS = 15_000;

async function look(nextWait) {
	try {
		const answer = await fetch(location.href, { redirect: "manual" });
		if (!answer.ok) return location.reload();
		takeOver(new DOMParser().parseFromString(await answer.text(), "text/html"));
		if (!document.querySelector("[data-poll]")) return;
	} catch {
		// Offline: look again later.
	}
	setTimeout(look, nextWait, Math.min(nextWait * 1.5, MAX_WAIT_MS));
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

setTimeout(look, FIRST_WAIT_MS, FIRST_WAIT_MS * 1.5);
