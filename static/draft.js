// What was typed, but no time, is kept in this tab until it is sent; app.js drops it then.

import { fields, find, form, isFresh } from "./form.js";

const { draft } = form.dataset; // its key, with whose it is; only a new message has one

export function restoreDraft() {
	const isEmpty = !fields.recipient.value && !fields.message.value;
	if (!draft || !isFresh || !isEmpty || !sessionStorage[draft]) return;
	const [recipient, message] = JSON.parse(sessionStorage[draft]);
	fields.recipient.value = recipient;
	fields.message.value = message;
	find("restored").hidden = !recipient && !message;
}

export function keepDraft() {
	if (!draft) return;
	sessionStorage[draft] = JSON.stringify([fields.recipient.value, fields.message.value]);
}
