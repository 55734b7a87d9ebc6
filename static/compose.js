// The compose form.

const form = document.querySelector("[data-compose]");
const { table, words, price, lang } = JSON.parse(form.dataset.compose);
const { fresh, draft } = form.dataset;
const { recipient: to, message, send_at: at, time_zone: zone, sms_id: from } = form.elements;
const part = (name) => form.querySelector(`[data-${name}]`);
const write = (name, text) => (part(name).textContent = text);
const make = (name, values) => Object.assign(document.createElement(name), values);
// Of a pair, the one for `count`; {n} filled in.
const say = (text, count, n = count) => [text].flat().at(count === 1 ? 0 : -1).replace("{n}", n);
const recipients = () => (to.value.match(/\d[^,;\n]*/g) ?? [1]).length;

function change(control, value) {
	control.value = value;
	form.oninput();
}

// As segment() on the server, with its table.
function segment(text) {
	const isDear = (c) => !(table.basic + table.extension).includes(c);
	const seen = [...new Intl.Segmenter().segment(text)].map((one) => one.segment);
	const dear = [...new Set(seen.filter((one) => [...one].some(isDear)))];
	const [single, room] = dear.length ? table.ucs2 : table.gsm7;
	const width = (c) => (dear.length ? c.length : 1 + table.extension.includes(c));
	const total = [...text].reduce((sum, c) => sum + width(c), 0);
	const parts = [];
	let left = 0;
	for (const c of text) {
		if (width(c) > left) {
			parts.push("");
			left = total > single ? room : single;
		}
		left -= width(c);
		parts[parts.length - 1] += c;
	}
	// One segment less: without the last; of two, what a single one holds.
	const less = parts.length === 2 ? total - single : room - left;
	return { parts, dear, less, left };
}

let pause;
function showText() {
	const { parts, dear, less, left } = segment(message.value.normalize("NFC"));
	const [size, count] = [parts.length, recipients()];
	const facts = [say(words.segment, size), say(words.left, left)];
	const cost = (price * size * count).toLocaleString(lang, { style: "currency", currency: "EUR" });
	if (price) facts.push(say(words.cost, count, cost));
	const tooLong = size > table.max_segments;
	const line = write("count", tooLong ? words.long : size ? facts.join(", ") : words.empty);
	part("count").classList.toggle("over", tooLong);
	const notes = [dear[0] && say(words.dear, 1, dear.slice(0, 4).join(" ")), size > 1 && less <= 10 && say(words.less, less)];
	write("dear", notes.filter(Boolean).join(" "));
	part("swap").hidden = !dear[0] || dear.some((c) => !table.look_alikes[c]);
	clearTimeout(pause);
	pause = setTimeout(() => write("spoken", message.value && line), 1500);
	part("phone-text").replaceChildren(...parts.map((textContent, i) =>
		make("span", { textContent, className: i ? "cut" : "" }),
	));
}

const format = (instant, options, locale = lang) => new Date(instant).toLocaleString(locale, { timeZone: zone.value, ...options }).replace(",", "");
// As the date field writes it: Swedish dates are ISO.
const clock = (instant) => format(instant, {}, "sv").slice(0, 16).replace(" ", "T");
const asUtc = (wall) => Date.parse(wall + "Z");
const chips = [...part("quick").children];
const short = { weekday: "short", hour: "2-digit", minute: "2-digit" };
const date = { day: "numeric", month: "short" };

function showTime() {
	const now = Date.now();
	const wall = at.value.slice(0, 16);
	const today = Date.parse(clock(now).slice(0, 10));
	let instant = wall ? asUtc(wall) : now;
	for (let i = 0; i < 2 && wall; i++) instant += asUtc(wall) - asUtc(clock(instant));
	let [key, text, when] = ["now", "", format(instant, short)];
	if (wall) {
		const days = (Date.parse(wall.slice(0, 10)) - today) / 864e5;
		const ms = instant - now;
		const fits = (shift) => clock(instant + shift) === wall;
		const problem = !fits(0) ? "missing" : [36e5, -36e5].some(fits) ? "twice" : ms < 0 ? "past" : "";
		const [unit, size] = ms < 54e5 ? ["minute", 6e4] : ms < 1728e5 ? ["hour", 36e5] : ["day", 864e5];
		const distance = new Intl.RelativeTimeFormat(lang, { numeric: "auto" });
		const told = [format(instant, { ...short, ...date, year: "numeric", timeZoneName: "short" }), distance.format(Math.round(ms / size), unit)];
		if (days < 2) told.unshift(words.days[days]);
		key = problem ? "plan" : "later";
		text = words[problem] ?? told.join(", ");
		if (days > 6) when = format(instant, { ...short, ...date });
	}
	write("when", text);
	write("phone-note", when);
	chips[1].value = clock(now + 36e5);
	chips[2].value = new Date(today + 864e5).toISOString().slice(0, 11) + "08:00";
	for (const chip of chips) chip.ariaPressed = chip.value === wall;
	const count = recipients();
	write("send", say(words[key], count, count > 1 ? count : when));
}

function show() {
	for (const hint of form.querySelectorAll("[data-sender]")) {
		const isOther = hint.toggleAttribute("data-other", hint.dataset.extension !== from.value);
		if (!isOther) write("phone-sender", hint.dataset.sender);
	}
	showText();
	showTime();
}

// The browser's zone, until one is chosen.
const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (fresh && !at.value) {
	zone.value = own;
	if (!zone.value) zone.add(new Option(own, own, true, true));
}

// What was typed, but no time, is kept until it is sent; app.js drops it.
if (fresh && sessionStorage[draft] && !to.value && !message.value) {
	[to.value, message.value] = JSON.parse(sessionStorage[draft]);
	part("restored").hidden = !message.value && !to.value;
}

part("swap").onclick = () => {
	change(message, [...message.value].map((c) => table.look_alikes[c] ?? c).join(""));
	message.focus();
};

// Contacts that fit; no whole number in an address.
const suggest = part("suggest");
const last = () => to.value.split(/[,;\n]/).pop().trim();
async function offer(typed) {
	const answer = /(\d\D*){7}|^.?$/.test(typed) || (await fetch("/contacts?q=" + encodeURIComponent(typed), { headers: { accept: "application/json" } }));
	const { contacts = [] } = answer.ok ? await answer.json() : {};
	suggest.replaceChildren(...contacts.map(({ name, number: value }) => make("button", { type: "button", value, textContent: `${name} ${value}` })));
}
if (suggest) {
	to.oninput = () => offer(last()).catch(() => {});
	suggest.onclick = ({ target: { value } }) => value && change(to, to.value.slice(0, to.value.lastIndexOf(last())) + value);
}

for (const chip of chips) chip.onclick = () => change(at, chip.value);
form.oninput = () => {
	show();
	if (draft) sessionStorage[draft] = JSON.stringify([to.value, message.value]);
};
show();
