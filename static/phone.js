// The phone beside the form: what the recipient will see.

import { fields, find, form, write } from "./form.js";

/** The chosen extension's sender, on the phone and under the field. */
export function showSender() {
	for (const hint of form.querySelectorAll("[data-sender]")) {
		const isChosen = hint.dataset.extension === fields.sms_id.value;
		hint.toggleAttribute("data-other", !isChosen);
		if (isChosen) write("phone-sender", hint.dataset.sender);
	}
}

/** The text, marked where it is cut. */
export function showSegments(parts) {
	const spans = parts.map((part, index) => {
		const span = document.createElement("span");
		span.textContent = part;
		span.className = index === 0 ? "" : "cut";
		return span;
	});
	find("phone-text").replaceChildren(...spans);
}

export function showArrival(when) {
	write("phone-note", when);
}
