// The counter under the text: segments, cost, what makes it dearer, and plain characters instead.

import { fields, fill, find, lang, price, say, table, words, write } from "./form.js";
import { showSegments } from "./phone.js";
import { recipientCount } from "./recipients.js";
import { segment } from "./segments.js";

const MAX_EXCESS_SHOWN = 10;
const MAX_DEAR_SHOWN = 4;
const PAUSE_MS = 1500; // a screen reader hears the counter when one stops typing

export function showText() {
	const found = segment(fields.message.value.normalize("NFC"), table);
	const isTooLong = found.parts.length > table.max_segments;
	const line = countLine(found, isTooLong);
	write("count", line);
	find("count").classList.toggle("over", isTooLong);
	write("dear", dearLine(found));
	find("swap").hidden = !canBeSwapped(found.dear);
	showSegments(found.parts);
	speakLater(fields.message.value ? line : "");
}

function countLine({ parts, left }, isTooLong) {
	if (isTooLong) return words.long;
	if (parts.length === 0) return words.empty;
	const facts = [say(words.segment, parts.length), say(words.left, left)];
	if (price) facts.push(cost(parts.length));
	return facts.join(" · ");
}

function cost(segmentCount) {
	const count = recipientCount();
	const euros = Number(price) * segmentCount * count;
	const shown = euros.toLocaleString(lang, { style: "currency", currency: "EUR" });
	return say(words.cost, count, shown);
}

function dearLine({ parts, dear, excess }) {
	const notes = [];
	if (dear.length) notes.push(say(words.dear, 1, dear.slice(0, MAX_DEAR_SHOWN).map(visible).join(" ")));
	if (parts.length > 1 && excess <= MAX_EXCESS_SHOWN) notes.push(say(words.less, excess));
	return notes.join(" ");
}

/** Words for one that nobody sees, such as a space from a word processor. */
function visible(character) {
	return /^[\p{Cc}\p{Cf}\p{Z}]+$/u.test(character) ? words.invisible : character;
}

/** Only where it makes the text cheaper: each dear character has one that looks alike. */
function canBeSwapped(dear) {
	return dear.length > 0 && dear.every((character) => table.look_alikes[character]);
}

function swapLookAlikes() {
	const plain = [...fields.message.value].map((character) => table.look_alikes[character] ?? character);
	fill(fields.message, plain.join(""));
	fields.message.focus();
}

let pause;
function speakLater(line) {
	clearTimeout(pause);
	pause = setTimeout(write, PAUSE_MS, "spoken", line);
}

find("swap").addEventListener("click", swapLookAlikes);
