// Contacts that fit what is typed: a list under the field, for the arrow keys and the pointer.

import { fields, find, say, words, write } from "./form.js";

const LEAST_CHARACTERS = 2;
const MANY_DIGITS = 7;
const field = fields.recipient;
const list = find("suggestions"); // missing where the app may not read contacts
let typedLast = "";
let shown = [];
let active = -1;
let takeContact;

async function findContacts(typed) {
	const digits = typed.replace(/\D/g, "");
	// No whole number in an address: servers write addresses down.
	if (typed.length < LEAST_CHARACTERS || digits.length >= MANY_DIGITS) return [];
	const answer = await fetch(`${list.dataset.suggestions}?q=${encodeURIComponent(typed)}`, {
		headers: { Accept: "application/json" },
	});
	return answer.ok ? (await answer.json()).contacts : [];
}

/** `take` is called with the contact that is chosen. */
export async function suggest(typed, take) {
	if (!list) return;
	typedLast = typed;
	const contacts = await findContacts(typed).catch(() => null);
	// Offline, or an answer to what was typed before: what stands there stays.
	if (!contacts || typed !== typedLast || document.activeElement !== field) return;
	takeContact = take;
	show(contacts);
	// A name asks for its contact; of a number, the digits are meant as they stand.
	activate(/\d/.test(typed) ? -1 : 0);
}

export function closeSuggestions() {
	typedLast = "";
	if (shown.length) show([]);
}

/** Whether the list has used the key. */
export function takeKey({ key }) {
	if (shown.length === 0) return key === "ArrowUp";
	if (key === "ArrowDown") activate((active + 1) % shown.length);
	else if (key === "ArrowUp") activate(((active + shown.length + 1) % (shown.length + 1)) - 1);
	else if (key === "Escape") closeSuggestions();
	else if (key === "Enter" && active >= 0) takeContact(shown[active]);
	else return false;
	return true;
}

function show(contacts) {
	shown = contacts;
	active = -1;
	list.replaceChildren(...contacts.map(option));
	list.hidden = contacts.length === 0;
	field.removeAttribute("aria-activedescendant");
	if (contacts.length) write("spoken", say(words.fitting, contacts.length));
}

function option({ name, number }, index) {
	const item = document.createElement("li");
	item.role = "option";
	item.id = `suggestion-${index}`;
	const detail = document.createElement("span");
	detail.textContent = number;
	item.append(`${name} `, detail);
	return item;
}

function activate(index) {
	active = index;
	for (const [at, item] of [...list.children].entries()) item.ariaSelected = String(at === index);
	if (index < 0 || !shown.length) return field.removeAttribute("aria-activedescendant");
	field.setAttribute("aria-activedescendant", `suggestion-${index}`);
	list.children[index].scrollIntoView({ block: "nearest" });
}

// Where the pointer goes down the field would lose the focus, and the list with it.
list?.addEventListener("mousedown", (event) => event.preventDefault());
list?.addEventListener("click", ({ target }) => {
	const chosen = shown[[...list.children].indexOf(target.closest("li"))];
	if (chosen) takeContact(chosen);
});
