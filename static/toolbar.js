// A row of buttons is one stop of the Tab key; the arrow keys lead from one to the next.

export function makeToolbar(bar) {
	const reach = (chosen) => {
		for (const button of bar.children) button.tabIndex = button === chosen ? 0 : -1;
	};
	bar.addEventListener("focusin", ({ target }) => reach(target));
	bar.addEventListener("keydown", (event) => {
		const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
		if (!step) return;
		const at = [...bar.children].indexOf(event.target) + step;
		[...bar.children].at(at % bar.children.length).focus();
		event.preventDefault();
	});
	// Its buttons may come and go.
	new MutationObserver(() => reach(bar.querySelector(":focus") ?? bar.firstElementChild)).observe(bar, { childList: true });
	reach(bar.firstElementChild);
}
