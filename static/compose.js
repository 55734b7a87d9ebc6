// The form for a message comes alive: every part follows what is typed. Without this script the
// form works all the same, and the server says what the parts would have said.

import { showText } from "./counter.js";
import { keepDraft, restoreDraft } from "./draft.js";
import { fields, find, form, words, write } from "./form.js";
import { showSender } from "./phone.js";
import { showRecipients } from "./recipients.js";
import { showFills } from "./templates.js";
import { makeToolbar } from "./toolbar.js";
import { showTime, startInOwnZone } from "./when.js";

const BUSY_MS = 25_000; // as in app.js

/** What is sent; a blank line after the recipients is none. */
function content() {
	const { recipient, message, sms_id, send_at, time_zone, fold } = fields;
	return JSON.stringify([recipient.value.trim(), ...[message, sms_id, send_at, time_zone, fold].map((field) => field?.value)]);
}

function show() {
	showRecipients();
	showFills();
	showSender();
	showText();
	showTime();
}

/** The button that was pressed says so at once, and gets its words back if the page stays. */
function showSending({ submitter }) {
	if (!submitter || submitter.dataset.label) return;
	submitter.dataset.label = submitter.textContent;
	submitter.textContent = words.sending;
	write("spoken", words.sending);
	setTimeout(showReady, BUSY_MS);
}

function showReady() {
	for (const button of form.querySelectorAll("[data-label]")) {
		button.textContent = button.dataset.label;
		delete button.dataset.label;
	}
}

startInOwnZone();
restoreDraft();
for (const bar of form.querySelectorAll("[role=toolbar]")) makeToolbar(bar);
const original = content();
form.addEventListener("input", () => {
	find("send").classList.toggle("changed", content() !== original);
	show();
	keepDraft();
});
form.addEventListener("keydown", (event) => {
	if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.repeat) return;
	event.preventDefault();
	form.requestSubmit(find("send"));
});
form.addEventListener("submit", showSending);
addEventListener("pageshow", showReady);
show();
