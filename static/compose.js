// The compose form: counter, phone, time in words, a button that says what it will do, a draft.

const form = document.querySelector("[data-compose]");
const { table, words, price, lang } = JSON.parse(form.dataset.compose);
const { typed, draft } = form.dataset;
const { recipient: to, message, send_at: at, time_zone: zone, sms_id: from } = form.elements;
const part = (name) => form.querySelector(`[data-${name}]`);
const write = (name, text) => (part(name).textContent = text);
// Of a pair, the one for n; {…} filled in.
const say = (text, n, more) => [text].flat().at(n === 1 ? 0 : -1).replace(/\{(\w+)\}/g, (_, key) => ({ n, ...more })[key]);
const make = (name, values) => Object.assign(document.createElement(name), values);
const recipients = () => to.value.split(/[,;\n]/).filter((one) => /\d/.test(one)).length || 1;

function change(control, value) {
  control.value = value;
  form.dispatchEvent(new Event("input"));
}

// The rules of segment() on the server, with its table.
function segment(typed) {
  const text = [...typed.replace(/\r\n?/g, "\n").normalize("NFC")];
  const forcing = [...new Set(text.filter((c) => !(table.basic + table.extension).includes(c)))];
  const kind = forcing.length ? "ucs2" : "gsm7";
  const width = (c) => (forcing.length ? c.length : 1 + table.extension.includes(c));
  const total = text.reduce((sum, c) => sum + width(c), 0);
  const single = table[kind + "_single"];
  const room = total > single ? table[kind + "_part"] : single;
  const parts = [];
  let left = 0;
  for (const c of text) {
    if (width(c) > left) {
      parts.push("");
      left = room;
    }
    left -= width(c);
    parts[parts.length - 1] += c;
  }
  // One segment less: without the last; of two, down to what a single one holds.
  const less = parts.length === 2 ? total - single : room - left;
  return { parts, forcing, less, left: parts.length ? left : single };
}

let pause;
function showText() {
  const { parts, forcing, less, left } = segment(message.value);
  const size = parts.length;
  const facts = [say(words.segment, size), say(words.left, left)];
  if (price && size) {
    const cost = (price * size * recipients()).toLocaleString(lang, { style: "currency", currency: "EUR" });
    facts.push(say(words.cost, recipients(), { cost }));
  }
  const tooLong = size > table.max_segments;
  const notes = [];
  if (forcing.length) notes.push(say(words.dear, 1, { c: forcing.slice(0, 4).join(" ") }));
  if (size > 1 && less <= 10) notes.push(say(words.less, less));
  const line = write("count", tooLong ? words.long : facts.join(", "));
  part("count").classList.toggle("over", tooLong);
  write("dear", notes.join(" "));
  part("swap").hidden = !forcing.length || !forcing.every((c) => c in table.look_alikes);
  clearTimeout(pause);
  pause = setTimeout(() => write("spoken", message.value && line), 1500);
  part("phone-text").replaceChildren(...parts.map((textContent, i) => make("span", { textContent, className: i ? "cut" : "" })));
}

// What a zone's clocks show, as the date field writes it: Swedish dates are ISO.
const clock = (instant) => new Date(instant).toLocaleString("sv", { timeZone: zone.value }).slice(0, 16).replace(" ", "T");
const today = () => Date.parse(clock(Date.now()).slice(0, 10));
const asUtc = (wall) => Date.parse(wall + "Z");
const format = (instant, options) => new Intl.DateTimeFormat(lang, { timeZone: zone.value, ...options }).format(instant).replace(",", "");
const relative = new Intl.RelativeTimeFormat(lang, { numeric: "auto" });
const short = { weekday: "short", hour: "2-digit", minute: "2-digit" };
const date = { day: "numeric", month: "short" };

function showTime() {
  const now = Date.now();
  const wall = at.value.slice(0, 16);
  let instant = wall ? asUtc(wall) : now;
  for (let i = 0; i < 2 && wall; i++) instant += asUtc(wall) - asUtc(clock(instant));
  const fits = (shift) => clock(instant + shift) === wall;
  let [key, text, when] = ["now", "", format(instant, short)];
  if (wall) {
    const days = (Date.parse(wall.slice(0, 10)) - today()) / 864e5;
    const ms = instant - now;
    const problem = !fits(0) ? "missing" : [36e5, -36e5].some(fits) ? "twice" : ms < 0 ? "past" : "";
    const [unit, size] = ms < 54e5 ? ["minute", 6e4] : ms < 1728e5 ? ["hour", 36e5] : ["day", 864e5];
    const told = [format(instant, { ...short, ...date, year: "numeric", timeZoneName: "short" }), relative.format(Math.round(ms / size), unit)];
    if (days < 2) told.unshift(words.days[days]);
    key = problem ? "plan" : "later";
    text = words[problem] ?? told.join(", ");
    if (days > 6) when = format(instant, { ...short, ...date });
  }
  write("when", text);
  write("phone-note", when);
  for (const chip of part("quick").children) chip.ariaPressed = chip.value === wall;
  write("send", say(words[key], recipients(), { when }));
}

function showSender() {
  for (const hint of form.querySelectorAll("[data-sender]")) {
    hint.hidden = hint.dataset.extension !== from.value;
    if (!hint.hidden) write("phone-sender", hint.dataset.sender);
  }
}

function show() {
  showSender();
  showText();
  showTime();
}

function offerTimes() {
  const tomorrow = new Date(today() + 864e5).toISOString().slice(0, 10) + "T08:00";
  const choices = [["", words.clear], [clock(Date.now() + 36e5), words.hour], [tomorrow, words.days[1] + " 08:00"]];
  part("quick").replaceChildren(...choices.map(([value, textContent]) =>
    make("button", { type: "button", value, textContent, onclick: () => change(at, value) }),
  ));
}

// The browser's own zone, while nobody has chosen another.
const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (typed === undefined && own && !at.value) {
  zone.value = own;
  if (!zone.value) zone.add(new Option(own, own, true, true));
}

// What was typed, but no time, is kept here until it is sent; app.js drops it.
const kept = [to, message];
if (typed === undefined && sessionStorage[draft] && !to.value && !message.value) {
  JSON.parse(sessionStorage[draft]).forEach((value, i) => (kept[i].value = value));
  part("restored").hidden = false;
}

form.classList.add("live");
part("swap").onclick = () => {
  change(message, [...message.value].map((c) => table.look_alikes[c] ?? c).join(""));
  message.focus();
};
zone.addEventListener("change", offerTimes);
form.addEventListener("change", show);
form.addEventListener("input", () => {
  show();
  if (draft) sessionStorage[draft] = JSON.stringify(kept.map(({ value }) => value));
});
form.addEventListener("submit", () => (sessionStorage.sent = draft));
offerTimes();
show();
