// The compose form: counter, phone, time in words, a button that says what it will do, a draft.

const form = document.querySelector("[data-compose]");
const { table, words, price } = JSON.parse(form.dataset.compose);
const { typed, draft } = form.dataset;
const field = (name) => form.querySelector(`[name=${name}]`);
const [to, message, at, zone, from] = ["recipient", "message", "send_at", "time_zone", "sms_id"].map(field);
const lang = document.documentElement.lang.replace(/^en$/, "en-GB");
const part = (name) => form.querySelector(`[data-${name}]`);
const write = (name, text) => (part(name).textContent = text);
// Of a pair, the one for n; {…} filled in.
const say = (text, n, more) => [text].flat().at(n === 1 ? 0 : -1).replace(/\{(\w+)\}/g, (_, key) => ({ n, ...more })[key]);
const recipients = () => to.value.split(/[,;\n]/).filter((one) => /\d/.test(one)).length || 1;

function change(control, value) {
  control.value = value;
  control.dispatchEvent(new Event("input", { bubbles: true }));
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
  part("phone-text").replaceChildren(...parts.map((textContent) => Object.assign(document.createElement("span"), { textContent })));
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
    text = words[problem] ?? `${days < 2 ? relative.format(days, "day") + ", " : ""}${long}, ${distance(instant - now)}`;
    if (days > 6) when = format(instant, { ...short, ...date });
  }
  write("when", text);
  write("phone-note", when);
  for (const chip of part("quick").children) chip.ariaPressed = chip.value === wall;
  if (part("send")) write("send", say(words[key], recipients(), { when }));
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
  const tomorrow = day(clock(Date.now()), 1);
  const monday = day(tomorrow, (8 - new Date(tomorrow).getUTCDay()) % 7);
  const choices = { "": words.clear, [clock(Date.now() + 36e5)]: relative.format(1, "hour") };
  choices[monday + "T08:00"] = new Date(monday).toLocaleDateString(lang, { weekday: "long", timeZone: "UTC" }) + " 08:00";
  choices[tomorrow + "T08:00"] = relative.format(1, "day") + " 08:00";
  part("quick").replaceChildren(...Object.entries(choices).sort().map(([value, textContent]) =>
    Object.assign(document.createElement("button"), { type: "button", value, textContent, onclick: () => change(at, value) }),
  ));
}

// The browser's own zone, while nobody has chosen another.
const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (own && !at.value && typed === undefined) {
  if (![...zone.options].some(({ value }) => value === own)) zone.add(new Option(own, own));
  zone.value = own;
}

// What is typed stays in this window until it is sent; app.js drops it then.
const kept = [to, message, at];
if (sessionStorage[draft] && typed === undefined && !to.value && !message.value) {
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
form.addEventListener("input", ({ target }) => {
  show();
  if (draft) sessionStorage[draft] = JSON.stringify(kept.map(({ value }) => value));
  // For browsers without `field-sizing`.
  if (target.rows) target.rows = target.value.split("\n").length + target.value.length / 60;
});
form.addEventListener("submit", () => (sessionStorage.sent = draft));
offerTimes();
show();
