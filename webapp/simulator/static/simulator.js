// Keeps the phones up to date and shows times in the reader's own zone. Without it, a link reloads.
const meta = document.querySelector('meta[name="revision"]');
const EVERY_MS = 1500;

function showLocalTimes() {
  const form = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };
  for (const time of document.querySelectorAll("time")) {
    time.textContent = new Date(time.dateTime).toLocaleString("en-GB", form);
  }
}

async function replaceIfChanged() {
  const { revision } = await (await fetch(meta.dataset.source)).json();
  if (revision === meta.content) return;
  const page = await (await fetch(location.href)).text();
  const fresh = new DOMParser().parseFromString(page, "text/html");
  document.querySelector("#live").replaceWith(fresh.querySelector("#live"));
  meta.content = revision;
  showLocalTimes();
}

async function watch() {
  // A simulator that is restarted is asked again; there is nobody to tell.
  if (!document.hidden) await replaceIfChanged().catch(() => {});
  setTimeout(watch, EVERY_MS);
}

showLocalTimes();
document.querySelector("#reload").hidden = true;
watch();
