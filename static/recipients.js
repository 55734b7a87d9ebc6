// To whom: how many there are, and contacts that fit what is typed.

import { fields, fill, find } from "./form.js";

const SEPARATOR = /[,;\n]/;
const LEAST_CHARACTERS = 2;
const MANY_DIGITS = 7;
const suggestions = find("suggest"); // missing where the app may not read contacts

/** At least one: the form is for somebody. */
export function recipientCount() {
	const typed = fields.recipient.value.match(/\d[^,;\n]*/g) ?? [];
	return Math.max(1, typed.length);
}

function lastTyped() {
	return fields.recipient.value.split(SEPARATOR).pop().trim();
}

async function suggest() {
	const typed = lastTyped();
	const contacts = await findContacts(typed).catch(() => null);
	// Offline, or an answer to what was typed before: what stands there stays.
	if (contacts && typed === lastTyped()) suggestions.replaceChildren(...contacts.map(suggestion));
}

async function findContacts(typed) {
	const digits = typed.replace(/\D/g, "");
	// No whole number in an address: servers write addresses down.
	if (typed.length < LEAST_CHARACTERS || digits.length >= MANY_DIGITS) return [];
	const answer = await fetch(`${suggestions.dataset.suggest}?q=${encodeURIComponent(typed)}`, {
		headers: { Accept: "application/json" },
	});
	return answer.ok ? (await answer.json()).contacts : [];
}

function suggestion({ name, number }) {
	const button = document.createElement("button");
	button.type = "button";
	button.value = number;
	button.textContent = `${name} ${number}`;
	return button;
}

/** A contact's number replaces what was typed last. */
function take(number) {
	const { value } = fields.recipient;
	fill(fields.recipient, value.slice(0, value.lastIndexOf(lastTyped())) + number);
}

if (suggestions) {
	fields.recipient.addEventListener("input", suggest);
	suggestions.addEventListener("click", ({ target }) => {
		if (target.value) take(target.value);
	});
}
