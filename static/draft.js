// What was typed, but no time, is kept in this tab until it is sent; app.js drops it then.

import { fields, fill, find, form, isFresh } from "./form.js";

const { draft } = form.dataset; // its key, with whose it is; only a new message has one
const opened = [fields.recipient.value, fields.message.value]; // with what the address named
const isKeptForm = new URLSearchParams(location.search).has("draft"); // by the server: all of it

export function restoreDraft() {
	if (!draft || !isFresh || isKeptForm || !sessionStorage[draft]) return;
	const kept = JSON.parse(sessionStorage[draft]);
	if (!kept.join("")) return;
	// A contact or a template that was chosen meanwhile comes to what was typed.
	fields.recipient.value = both(kept[0], opened[0]);
	fields.message.value = both(kept[1], opened[1]);
	keepDraft();
	history.replaceState(null, "", location.pathname); // loaded again, it comes but once
	find("restored").hidden = false;
	if (fields.recipient.value) fields.message.focus();
}

function both(kept, chosen) {
	return kept.includes(chosen) ? kept : [kept, chosen].filter(Boolean).join("\n");
}

export function keepDraft() {
	if (!draft) return;
	sessionStorage[draft] = JSON.stringify([fields.recipient.value.trim(), fields.message.value]);
}

find("discard").addEventListener("click", () => {
	find("restored").hidden = true;
	fields.recipient.value = opened[0];
	fill(fields.message, opened[1]);
	delete sessionStorage[draft];
	fields.recipient.focus();
});
