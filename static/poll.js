// The message is under way: ask its JSON twin until the outcome is another, then show it.

const { poll, outcome } = document.querySelector("[data-poll]").dataset;

async function look(wait) {
  try {
    const answer = await fetch(poll, { headers: { Accept: "application/json" }, cache: "no-store" });
    if (!answer.ok || (await answer.json()).outcome !== outcome) return location.reload();
  } catch {
    // The network is away: the next look may find it.
  }
  setTimeout(look, wait, Math.min(wait * 1.5, 15_000));
}

setTimeout(look, 1000, 1500);
