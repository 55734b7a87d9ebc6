// Signed-in pages: how many messages need attention is asked again while somebody may look.

const PERIOD_MS = 60_000;
const place = document.querySelector("[data-attention]");
const { attention: address, one, several, most } = place.dataset;
let askedAt = Date.now();
let timer;

async function ask() {
	if (document.hidden) return; // asked when somebody looks again
	askedAt = Date.now();
	try {
		const answer = await fetch(address, { redirect: "manual" });
		if (answer.type === "opaqueredirect") return; // signed out: there is nobody to tell
		if (answer.ok) show((await answer.json()).count);
	} catch {
		// Offline: asked again later.
	}
	askLater();
}

function askLater() {
	clearTimeout(timer);
	timer = setTimeout(ask, Math.max(0, askedAt + PERIOD_MS - Date.now()));
}

function show(count) {
	const shown = count >= most ? `${most - 1}+` : `${count}`;
	const title = document.title.replace(/^\(\d+\+?\) /, "");
	document.title = count ? `(${shown}) ${title}` : title;
	const sentence = (count === 1 ? one : several).replace("{n}", shown);
	const text = place.querySelector("span");
	// Written only when it changes: a screen reader reads it out.
	if (text.textContent !== sentence) text.textContent = sentence;
	keepInPlace(() => (place.querySelector("p").hidden = count === 0));
	const badge = document.querySelector("[data-attention-count]"); // in a phone's tabs
	badge.hidden = count === 0;
	badge.textContent = count ? shown : "";
}

/** Nothing moves under a pointer that is about to click; further down, browsers see to it. */
function keepInPlace(change) {
	const main = document.querySelector("main");
	const before = main.getBoundingClientRect().top;
	const isAtTop = scrollY === 0;
	change();
	const moved = main.getBoundingClientRect().top - before;
	if (!isAtTop || moved <= 0) return;
	// A short page has to be long enough to be scrolled by that much.
	document.body.style.minBlockSize = `calc(100dvh + ${moved}px)`;
	scrollBy(0, moved);
}

document.addEventListener("visibilitychange", askLater);
askLater();
