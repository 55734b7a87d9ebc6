// Wall clocks and instants. A wall clock is text as a date field has it, 2026-12-24T08:00; an
// instant is milliseconds.

export const MINUTE_MS = 60_000;
export const HOUR_MS = 60 * MINUTE_MS;
export const DAY_MS = 24 * HOUR_MS;

/** What clocks in the zone show at an instant. */
export function wallClock(instant, timeZone) {
	const iso = new Date(instant).toLocaleString("sv", { timeZone }); // Swedish dates are ISO
	return iso.slice(0, 16).replace(" ", "T");
}

/** When clocks in the zone show this; of a time that comes twice one, of none one nearby. */
export function instantOf(wall, timeZone) {
	let instant = asUtc(wall);
	// Twice: the first guess may lie on the other side of a change of the clocks.
	for (let guess = 0; guess < 2; guess++) {
		instant += asUtc(wall) - asUtc(wallClock(instant, timeZone));
	}
	return instant;
}

export function isMissing(wall, timeZone) {
	return wallClock(instantOf(wall, timeZone), timeZone) !== wall;
}

export function comesTwice(wall, timeZone) {
	const instant = instantOf(wall, timeZone);
	return [-HOUR_MS, HOUR_MS].some((shift) => wallClock(instant + shift, timeZone) === wall);
}

/** From one wall clock's day to another's. */
export function daysBetween(first, second) {
	return (startOfDay(second) - startOfDay(first)) / DAY_MS;
}

/** The same wall clock's next day at an hour such as "08:00". */
export function nextDayAt(wall, hour) {
	return `${new Date(startOfDay(wall) + DAY_MS).toISOString().slice(0, 10)}T${hour}`;
}

function startOfDay(wall) {
	return Date.parse(wall.slice(0, 10));
}

function asUtc(wall) {
	return Date.parse(`${wall}Z`);
}
