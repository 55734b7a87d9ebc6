// The form for a message comes alive: every part follows what is typed. Without this script the
// form works all the same, and the server says what the parts would have said.

import { showText } from "./counter.js";
import { keepDraft, restoreDraft } from "./draft.js";
import { form } from "./form.js";
import { showSender } from "./phone.js";
import { showTime, startInOwnZone } from "./when.js";

function show() {
	showSender();
	showText();
	showTime();
}

startInOwnZone();
restoreDraft();
form.addEventListener("input", () => {
	show();
	keepDraft();
});
show();
