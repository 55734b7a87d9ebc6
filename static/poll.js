// Something is under way: look again and again, and take over what changed.

async function look(wait) {
	try {
		const answer = await fetch(location.href, { redirect: "manual" });
		if (!answer.ok) return location.reload();
		const page = new DOMParser().parseFromString(await answer.text(), "text/html");
		document.title = page.title;
		for (const part of document.querySelectorAll("[data-live]")) {
			const news = page.querySelector(`[data-live=${part.dataset.live}]`);
			// Nothing is taken from under somebody's fingers.
			if (news.textContent !== part.textContent && !part.contains(document.activeElement)) part.replaceChildren(...news.childNodes);
		}
		if (!document.querySelector("[data-poll]")) return;
	} catch {
		// Offline: look again later.
	}
	setTimeout(look, wait, Math.min(wait * 1.5, 15_000));
}

setTimeout(look, 1000, 1500);
