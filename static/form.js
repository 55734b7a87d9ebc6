// The form for a message, as the other modules see it: its fields, its places to write to, its
// sentences. The server makes the sentences (webapp/i18n/compose.py); {n} is filled in here.

export const form = document.querySelector("[data-compose]");
export const fields = form.elements;
export const { table, words, price, lang, firstNamePlaceholders } = JSON.parse(form.dataset.compose);

/** Whether this is a new page, not the answer to a form that came back. */
export const isFresh = "fresh" in form.dataset;

export function find(name) {
	return form.querySelector(`[data-${name}]`);
}

export function write(name, text) {
	find(name).textContent = text;
}

/** A sentence, or of its two forms the one for `count`, with `shown` in its gap. */
export function say(sentence, count, shown = count) {
	const [one, several = one] = [sentence].flat();
	return (count === 1 ? one : several).replace("{n}", () => shown);
}

/** Put a value into a field, and let everything follow it as if it had been typed. */
export function fill(field, value) {
	field.value = value;
	form.dispatchEvent(new Event("input"));
}
