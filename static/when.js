// When it is sent: the time in words, the quick choices, and what the button says.

import { fields, fill, find, isFresh, lang, say, words, write } from "./form.js";
import { showArrival } from "./phone.js";
import { recipientCount } from "./recipients.js";
import { DAY_MS, HOUR_MS, MINUTE_MS, comesTwice, daysBetween, instantOf, isMissing, nextDayAt, wallClock } from "./zones.js";

const DAY_AND_TIME = { weekday: "short", hour: "2-digit", minute: "2-digit" };
const DATE = { day: "numeric", month: "short" };
const [inAnHour, tomorrow, other] = [...find("quick").children].slice(1);
const changeZone = find("change-zone");

/** The browser's zone, until one is chosen. */
export function startInOwnZone() {
	if (!isFresh || fields.send_at.value) return;
	const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
	fields.time_zone.value = own;
	// Unknown to the server's list, it is still where this person is.
	if (!fields.time_zone.value) fields.time_zone.add(new Option(own, own, true, true));
}

export function showTime() {
	const now = Date.now();
	const wall = fields.send_at.value.slice(0, 16);
	const plan = wall ? planned(wall, now) : { kind: "now", text: "", when: format(now, DAY_AND_TIME) };
	write("when", plan.text);
	showZone(wall);
	showArrival(plan.when);
	showQuickChoices(wall, now);
	const count = recipientCount();
	write("send", say(words[plan.kind], count, count > 1 ? count : plan.when));
}

/** What the button is to say, the time in words or what is wrong with it, and the time in short. */
function planned(wall, now) {
	const zone = fields.time_zone.value;
	const instant = instantOf(wall, zone);
	const days = daysBetween(wallClock(now, zone), wall);
	const problem = problemOf(wall, zone, instant < now);
	return {
		kind: problem ? "plan" : "later",
		text: problem ? words[problem] : inWords(instant, now, days),
		// From a week on, the weekday alone could be meant nearer.
		when: format(instant, days > 6 ? { ...DAY_AND_TIME, ...DATE } : DAY_AND_TIME),
	};
}

function problemOf(wall, zone, isPast) {
	if (isMissing(wall, zone)) return "missing";
	if (comesTwice(wall, zone)) return "twice";
	return isPast ? "past" : "";
}

/** `Tomorrow, Thu 24 Dec 2026 08:00 CET, in 22 hours` */
function inWords(instant, now, days) {
	const whole = { ...DAY_AND_TIME, ...DATE, year: "numeric", timeZoneName: "short" };
	const day = days in words.days ? [words.days[days]] : [];
	return [...day, format(instant, whole), distance(instant - now)].join(", ");
}

/** In minutes up to an hour and a half, in hours up to two days. */
function distance(ms) {
	const relative = new Intl.RelativeTimeFormat(lang, { numeric: "auto" });
	if (ms < 1.5 * HOUR_MS) return relative.format(Math.round(ms / MINUTE_MS), "minute");
	if (ms < 2 * DAY_MS) return relative.format(Math.round(ms / HOUR_MS), "hour");
	return relative.format(Math.round(ms / DAY_MS), "day");
}

function format(instant, options) {
	const shown = new Date(instant).toLocaleString(lang, { timeZone: fields.time_zone.value, ...options });
	return shown.replace(",", "");
}

function showQuickChoices(wall, now) {
	const zone = fields.time_zone.value;
	inAnHour.value = wallClock(now + HOUR_MS, zone);
	tomorrow.value = nextDayAt(wallClock(now, zone), "08:00");
	const choices = [...find("quick").children].slice(0, -1);
	// Without its own button, a time is seen where it is set.
	if (choices.every((choice) => choice.value !== wall)) reveal("date", true);
	for (const choice of choices) choice.ariaPressed = choice.value === wall && !isShown("date");
	other.ariaExpanded = isShown("date");
}

/** `Berlin time · change`, for a time that has a zone. */
function showZone(wall) {
	const city = fields.time_zone.value.split("/").pop().replaceAll("_", " ");
	changeZone.textContent = say(words.zone, 1, city);
	changeZone.hidden = isShown("zone") || (!wall && !isShown("date"));
}

/** Tucked away, a field can still be filled in by the browser, but no key leads to it. */
function reveal(name, shows) {
	find(name).classList.toggle("tucked", !shows);
	find(name).ariaHidden = shows ? null : "true";
	find(name).lastElementChild.tabIndex = shows ? 0 : -1;
}

function isShown(name) {
	return !find(name).classList.contains("tucked");
}

find("quick").addEventListener("click", ({ target }) => {
	if (!target.matches("button")) return;
	const isOther = target === other;
	reveal("date", isOther);
	fill(fields.send_at, isOther ? fields.send_at.value || tomorrow.value : target.value);
	if (isOther) fields.send_at.focus();
});
changeZone.addEventListener("click", () => {
	reveal("zone", true);
	showTime();
	fields.time_zone.focus();
});
for (const name of ["date", "zone"]) reveal(name, isShown(name));
