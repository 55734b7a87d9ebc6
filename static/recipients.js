// To whom. The field holds all of it, one recipient a line, and shows its last line, in which one
// types. What stands above is shown as tokens before it; once the field is left, all of it is. The
// server says what they are (POST /recipients): only it knows numbers, names and pasted tables.

import { fields, fill, find, form, say, words, write } from "./form.js";
import { closeSuggestions, suggest, takeKey } from "./suggestions.js";

const field = fields.recipient;
const box = find("tokens");
const tokens = find("recipients");
let entries = JSON.parse(tokens.dataset.recipients); // typed, shown, number, first_name, problem
let readText = field.value.trim(); // what they are read from
let note = "";
let shown; // the entries that the tokens are of

function settledText() {
	const isLeft = document.activeElement !== field;
	return field.value.slice(0, isLeft ? undefined : pendingStart()).trim();
}

function pendingStart() {
	return field.value.lastIndexOf("\n") + 1;
}

function split(text) {
	return text.split(/[\n,;]/).filter((typed) => typed.trim());
}

/** At least one: the form is for somebody. */
export function recipientCount() {
	const pending = split(field.value.slice(settledText().length));
	const different = new Set(entries.map(({ number, typed }) => number || typed));
	return Math.max(1, different.size + pending.length);
}

/** Of the only recipient, if the server is sure of it. */
export function firstName() {
	return entries.length === 1 ? entries[0].first_name : "";
}

export function showRecipients() {
	const text = settledText();
	if (text !== readText) read(text);
	if (shown !== entries) entries.forEach(showToken);
	while (tokens.children.length > entries.length) tokens.lastElementChild.remove();
	shown = entries;
	box.classList.toggle("settled", document.activeElement !== field && entries.length > 0);
	write("recipients-note", note);
	if (document.activeElement === field) field.scrollTop = field.scrollHeight;
}

/** Changed where it stands: replaced, one under the pointer or with the focus would be lost. */
function showToken({ shown, problem }, place) {
	const button = tokens.children[place] ?? tokens.appendChild(makeToken());
	button.textContent = shown;
	button.ariaLabel = say(problem ? words.correct : words.remove, 1, shown);
	button.title = problem ?? "";
	button.classList.toggle("wrong", Boolean(problem));
}

function makeToken() {
	const button = document.createElement("button");
	button.type = "button";
	button.dir = "auto";
	return button;
}

function onToken({ target }) {
	if (!target.matches("button")) return;
	const { typed, problem } = entries[[...tokens.children].indexOf(target)];
	change(entries.filter((one) => one.typed !== typed), problem ? typed : "");
}

/** Until the server has answered, and without it, each stands there as typed. */
async function read(text) {
	readText = text;
	note = "";
	entries = split(text).map((typed) => entries.find((one) => one.typed === typed) ?? { typed, shown: typed });
	if (!text) return;
	const answer = await ask(text).catch(() => null);
	if (!answer || text !== readText) return;
	({ recipients: entries, note } = answer);
	form.dispatchEvent(new Event("input"));
}

async function ask(recipient) {
	const body = new URLSearchParams({ recipient, csrf_token: fields.csrf_token.value });
	const answer = await fetch(box.dataset.tokens, { method: "POST", body, redirect: "manual" });
	return answer.ok ? answer.json() : null;
}

function change(remaining, pending = "") {
	field.focus();
	const lines = remaining.map(({ typed }) => typed);
	fill(field, [...lines, pending].join("\n"));
}

/** A contact's number replaces what was typed last. */
function take({ name, number, first_name }) {
	change([...entries, { typed: number }]);
	entries = entries.with(-1, { typed: number, shown: name, first_name });
	showRecipients();
}

/** What was typed last becomes a token. */
function commit(typed = field.value) {
	closeSuggestions();
	if (typed.slice(pendingStart()).trim()) fill(field, `${typed.trimEnd()}\n`);
}

function onKey(event) {
	const isEmpty = field.selectionEnd === pendingStart() && pendingStart() === field.value.length;
	if (event.isComposing || event.ctrlKey || event.metaKey) return;
	if (takeKey(event)) return event.preventDefault();
	if (event.key === "Enter") commit();
	else if (event.key === "Backspace" && isEmpty && entries.length) change(entries.slice(0, -1));
	else return;
	event.preventDefault();
}

function onInput({ inputType, data }) {
	if (inputType === "insertText" && /^[,;]$/.test(data)) return commit(field.value.slice(0, -1));
	suggest(field.value.slice(pendingStart()).trim(), take);
}

/** A list, or lines of a table: they stay lines of their own. */
function onPaste(event) {
	const pasted = event.clipboardData.getData("text/plain").trim();
	if (!/[\n\t,;]/.test(pasted)) return;
	event.preventDefault();
	commit(`${field.value}${pasted.replace(/\r\n?/g, "\n")}`);
}

/** The next one begins on a line of its own, unless what stands there is to be replaced. */
function onFocus() {
	const isSelected = field.selectionStart !== field.selectionEnd;
	if (field.value.trim() && !isSelected) field.value = `${field.value.trimEnd()}\n`;
	showRecipients();
}

function onBlur() {
	field.value = field.value.trimEnd();
	closeSuggestions();
	showRecipients();
}

/** The caret stays in the line that one sees. */
function keepCaret() {
	const { selectionStart, selectionEnd } = field;
	if (document.activeElement !== field || selectionStart !== selectionEnd) return;
	if (selectionStart < pendingStart()) field.setSelectionRange(pendingStart(), pendingStart());
}

field.rows = 1;
field.wrap = "off";
field.addEventListener("keydown", onKey);
field.addEventListener("input", onInput);
field.addEventListener("paste", onPaste);
field.addEventListener("focus", onFocus);
field.addEventListener("blur", onBlur);
document.addEventListener("selectionchange", keepCaret);
tokens.addEventListener("click", onToken);
box.addEventListener("click", ({ target }) => {
	if (!target.matches("button")) field.focus();
});
