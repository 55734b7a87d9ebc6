// Something is under way: look again, and take over what changed.

async function look(wait) {
	try {
		const answer = await fetch(location.href, { redirect: "manual" });
		if (!answer.ok) return location.reload();
		const page = new DOMParser().parseFromString(await answer.text(), "text/html");
		document.title = page.title;
		for (const part of document.querySelectorAll("[data-live]")) {
			const news = page.querySelector(`[data-live=${part.dataset.live}]`);
			if (news.textContent === part.textContent) continue;
			const focused = part.querySelector(":focus")?.outerHTML;
			part.replaceChildren(...news.childNodes);
			const same = [...part.querySelectorAll("a, button")].find((one) => one.outerHTML === focused);
			if (focused) (same ?? document.querySelector("main")).focus({ preventScroll: true });
		}
		if (!document.querySelector("[data-poll]")) return;
	} catch {
		// Offline: look again later.
	}
	setTimeout(look, wait, Math.min(wait * 1.5, 15_000));
}

setTimeout(look, 1000, 1500);
