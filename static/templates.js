// Message templates go into the text where it stands; their placeholders are filled in below it.

import { fields, fill, find, firstNamePlaceholders, say, words, write } from "./form.js";
import { firstName } from "./recipients.js";

const PLACEHOLDER = /\(\(([^()\n]{1,40})\)\)/g; // as in webapp/rules/text.py
const chips = find("templates"); // missing where there are no templates
const place = find("fills");
const typed = new Map(); // by the name of a placeholder
let source = fields.message.value; // the text with its placeholders, until it is edited by hand
let shown = source;

function namesIn(text) {
	return [...new Set([...text.matchAll(PLACEHOLDER)].map((found) => found[1].trim()))];
}

function valueOf(name) {
	const isFirstName = firstNamePlaceholders.includes(name.toLowerCase());
	return typed.get(name) ?? (isFirstName ? firstName() : "");
}

function filled(text) {
	return text.replace(PLACEHOLDER, (whole, name) => valueOf(name.trim()) || whole);
}

export function showFills() {
	if (fields.message.value !== shown) source = fields.message.value; // edited by hand
	if (!source.trim()) fields.template_id.value = "";
	showFields(namesIn(source));
	shown = filled(source);
	if (fields.message.value !== shown) fields.message.value = shown;
}

function showFields(names) {
	const inputs = [...place.querySelectorAll("input")];
	if (inputs.map(nameOf).join("\n") !== names.join("\n")) {
		place.replaceChildren(place.firstElementChild, ...names.map(labelled));
		place.hidden = names.length === 0;
	}
	for (const input of place.querySelectorAll("input")) {
		if (input !== document.activeElement) input.value = valueOf(nameOf(input));
	}
}

function nameOf(input) {
	return input.name.slice("fill-".length);
}

function labelled(name) {
	const label = document.createElement("label");
	const input = document.createElement("input");
	input.name = `fill-${name}`;
	input.autocomplete = "off";
	label.append(name, input);
	return label;
}

/** What was typed stays; only a template that nobody has touched gives way to the next one. */
function insert({ textContent, dataset }) {
	const before = source;
	const idBefore = fields.template_id.value;
	const isUntouched = [...chips.children].some((chip) => chip.dataset.text === source);
	put(source.trim() && !isUntouched ? `${source}\n${dataset.text}` : dataset.text);
	fields.template_id.value = dataset.id;
	const undo = document.createElement("button");
	undo.type = "button";
	undo.className = "link";
	undo.textContent = words.undo;
	undo.addEventListener("click", () => {
		fields.template_id.value = idBefore;
		put(before);
	});
	find("inserted").replaceChildren(undo);
	write("spoken", say(words.inserted, 1, textContent));
	const empty = [...place.querySelectorAll("input")].find((input) => !input.value);
	(empty ?? fields.message).focus();
}

function put(text) {
	source = text;
	shown = filled(text);
	find("inserted").replaceChildren();
	fill(fields.message, shown);
	fields.message.focus();
}

for (const input of place.querySelectorAll("input")) if (input.value) typed.set(nameOf(input), input.value);
// Before the form's own listener, which shows everything that follows.
place.addEventListener("input", ({ target }) => typed.set(nameOf(target), target.value));
place.addEventListener("keydown", (event) => {
	if (event.key !== "Enter" || event.ctrlKey || event.metaKey) return;
	event.preventDefault(); // in a field of one line it would send the form
	const inputs = [...place.querySelectorAll("input")];
	(inputs[inputs.indexOf(event.target) + 1] ?? fields.message).focus();
});
chips?.addEventListener("click", ({ target }) => {
	if (target.matches("button")) insert(target);
});
