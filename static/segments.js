// How a text is cut into segments: as `segment` does it in webapp/rules/text.py, with its table.

/**
 * Returns the parts, the characters that make the text dearer, how many units the last part has
 * left, and how many would have to go for one segment less.
 */
export function segment(text, table) {
	const dear = dearCharacters(text, table);
	const [single, several] = dear.length ? table.ucs2 : table.gsm7;
	const width = dear.length
		? (character) => character.length // in UTF-16 units
		: (character) => (table.extension.includes(character) ? 2 : 1);
	const total = [...text].reduce((sum, character) => sum + width(character), 0);
	const { parts, left } = cut(text, total > single ? several : single, width);
	// Of two segments, a single one must hold it all; of more, the last one must be emptied.
	const excess = parts.length === 2 ? total - single : several - left;
	return { parts, dear, left, excess };
}

/** Each once, as people see them: a flag or a face with a skin colour is one. */
function dearCharacters(text, table) {
	const cheap = table.basic + table.extension;
	const seen = [...new Intl.Segmenter().segment(text)].map((found) => found.segment);
	const dear = seen.filter((shown) => [...shown].some((character) => !cheap.includes(character)));
	return [...new Set(dear)];
}

function cut(text, room, width) {
	const parts = [];
	let left = 0;
	for (const character of text) {
		if (width(character) > left) {
			parts.push("");
			left = room;
		}
		left -= width(character);
		parts[parts.length - 1] += character;
	}
	return { parts, left };
}
