// The compose form: counter, phone, time in words, a button that says what it will do, a draft.

const form = document.querySelector("[data-compose]");
const { table, words, price } = JSON.parse(form.dataset.compose);
const { typed, draft } = form.dataset;
const find = (selector) => form.querySelector(selector);
const [to, message, at, zone, from] = ["recipient", "message", "send_at", "time_zone", "sms_id"].map((name) => find(`[name=${name}]`));
const lang = document.documentElement.lang.replace(/^en$/, "en-GB");
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, key) => values[key]);
const count = ([one, other], n, more) => fill(n === 1 ? one : other, { n, ...more });
const capital = (text) => text[0].toUpperCase() + text.slice(1);
const recipients = () => new Set(to.value.split(/[,;\n]/).map((one) => one.replace(/\D/g, "")).filter(Boolean)).size || 1;

function change(field, value) {
  field.value = value;
  field.dispatchEvent(new Event("input", { bubbles: true }));
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
  const n = recipients();
  const cost = (price * parts.length * n).toLocaleString(lang, { style: "currency", currency: "EUR" });
  const tooLong = parts.length > table.max_segments;
  const facts = [count(words.segment, parts.length), count(words.left, left)];
  if (price && parts.length) facts.push(count(words.cost, n, { cost }));
  const line = tooLong ? words.long : facts.join(", ");
  const notes = [];
  if (forcing.length) notes.push(fill(words.dear, { c: forcing.slice(0, 4).join(" ") }));
  if (parts.length > 1 && less <= 10) notes.push(count(words.less, less));
  find("[data-count]").textContent = line;
  find("[data-count]").classList.toggle("over", tooLong);
  find("[data-dear]").textContent = notes.join(" ");
  find("[data-swap]").hidden = !forcing.length || !forcing.every((c) => c in table.look_alikes);
  clearTimeout(pause);
  pause = setTimeout(() => (find("[data-spoken]").textContent = message.value && line), 1500);

  const bubble = find("[data-phone-text]");
  bubble.replaceChildren();
  parts.forEach((part, i) => {
    const cut = Object.assign(document.createElement("i"), { className: "cut", textContent: i + 1 });
    bubble.append(...(i ? [cut, part] : [part]));
  });
}

// What a zone's clocks show, as the date field writes it. Swedish dates are ISO dates.
const clock = (instant) => new Date(instant).toLocaleString("sv", { timeZone: zone.value }).slice(0, 16).replace(" ", "T");
const asUtc = (wall) => Date.parse(wall + "Z");
const day = (wall, more = 0) => new Date(Date.parse(wall.slice(0, 10)) + more * 864e5).toISOString().slice(0, 10);
const format = (instant, options) => new Intl.DateTimeFormat(lang, { timeZone: zone.value, ...options }).format(instant).replace(",", "");
const relative = new Intl.RelativeTimeFormat(lang, { numeric: "auto" });
const short = { weekday: "short", hour: "2-digit", minute: "2-digit" };
const date = { day: "numeric", month: "short" };

function distance(ms) {
  const [unit, size] = ms < 54e5 ? ["minute", 6e4] : ms < 1728e5 ? ["hour", 36e5] : ["day", 864e5];
  return relative.format(Math.round(ms / size), unit);
}

function showTime() {
  const now = Date.now();
  const wall = at.value.slice(0, 16);
  let instant = wall ? asUtc(wall) : now;
  for (let i = 0; i < 2 && wall; i++) instant += asUtc(wall) - asUtc(clock(instant));
  const fits = (shift) => clock(instant + shift) === wall;
  let [key, text, when] = ["now", "", format(instant, short)];
  if (wall) {
    const days = (Date.parse(day(wall)) - Date.parse(day(clock(now)))) / 864e5;
    const problem = !fits(0) ? "missing" : fits(36e5) || fits(-36e5) ? "twice" : instant < now ? "past" : "";
    const long = format(instant, { ...short, ...date, year: "numeric", timeZoneName: "short" });
    key = problem ? "plan" : "later";
    text = words[problem] ?? `${days < 2 ? capital(relative.format(days, "day")) + ", " : ""}${long}, ${distance(instant - now)}`;
    if (days > 6) when = format(instant, { ...short, ...date });
  }
  find("[data-when]").textContent = text;
  find("[data-phone-note]").textContent = when;
  for (const chip of find("[data-quick]").children) chip.ariaPressed = chip.value === wall;

  const send = find("[data-send]");
  if (send) send.textContent = count(words[key], recipients(), { when });
}

function showSender() {
  for (const hint of form.querySelectorAll("[data-sender]")) {
    hint.hidden = hint.dataset.extension !== from.value;
    if (!hint.hidden) find("[data-phone-sender]").textContent = hint.dataset.sender;
  }
}

function offerTimes() {
  const now = Date.now();
  const tomorrow = day(clock(now), 1);
  const monday = day(tomorrow, (8 - new Date(tomorrow).getUTCDay()) % 7);
  const choices = [[words.clear, ""], [relative.format(1, "hour"), clock(now + 36e5)], [relative.format(1, "day") + " 08:00", tomorrow + "T08:00"]];
  if (monday > tomorrow) choices.push([new Date(monday).toLocaleDateString(lang, { weekday: "long", timeZone: "UTC" }) + " 08:00", monday + "T08:00"]);
  find("[data-quick]").replaceChildren(...choices.map(([label, value]) => Object.assign(document.createElement("button"), {
    type: "button", textContent: capital(label), value, onclick: () => change(at, value),
  })));
}

// The browser's own zone, while nobody has chosen another.
const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (own && !at.value && typed === undefined) {
  if (![...zone.options].some(({ value }) => value === own)) zone.add(new Option(own, own));
  zone.value = own;
}

// What is typed stays in this window until it is sent; app.js drops it then.
const kept = [to, message, at];
if (draft && typed === undefined && !to.value && !message.value && sessionStorage[draft]) {
  JSON.parse(sessionStorage[draft]).forEach((value, i) => (kept[i].value = value));
  find("[data-restored]").hidden = false;
}

function show() {
  showSender();
  showText();
  showTime();
}

form.classList.add("live");
find("[data-swap]").onclick = () => {
  change(message, message.value.replace(/./gsu, (c) => table.look_alikes[c] ?? c));
  message.focus();
};
zone.addEventListener("change", offerTimes);
form.addEventListener("change", show);
form.addEventListener("input", ({ target }) => {
  show();
  if (draft) sessionStorage[draft] = JSON.stringify(kept.map(({ value }) => value));
  // Where `field-sizing` is unknown.
  if (target.rows) target.rows = target.value.split("\n").length + target.value.length / 60;
});
form.addEventListener("submit", () => (sessionStorage.sent = draft));
offerTimes();
show();
