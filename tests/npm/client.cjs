// Runs sipgate's official client once through what a Web SMS app needs and prints what it saw as JSON.
//
// Environment: https_proxy (the simulator, to which the client then talks plain HTTP with absolute
// targets), CLIENT_TOKEN (an OAuth access token), CLIENT_TOKEN_ID and CLIENT_PERSONAL_TOKEN (for
// HTTP Basic), CLIENT_RECIPIENT.
"use strict";

const { createContactsModule, createHistoryModule, createSMSModule, sipgateIO } = require("sipgateio");

const { CLIENT_TOKEN, CLIENT_TOKEN_ID, CLIENT_PERSONAL_TOKEN, CLIENT_RECIPIENT } = process.env;
const LATER_MS = 10 * 60 * 1000;

async function main() {
  const oauth = sipgateIO({ token: CLIENT_TOKEN });
  const basic = sipgateIO({ tokenId: CLIENT_TOKEN_ID, token: CLIENT_PERSONAL_TOKEN });
  const sms = createSMSModule(oauth);

  const userId = await oauth.getAuthenticatedWebuserId();
  const extensions = await sms.getSmsExtensions(userId);
  const smsId = extensions[0].id;

  await sms.send({ smsId, to: CLIENT_RECIPIENT, message: "now" });
  await sms.send({ smsId, to: CLIENT_RECIPIENT, message: "later" }, new Date(Date.now() + LATER_MS));
  await createSMSModule(basic).send({ smsId, to: CLIENT_RECIPIENT, message: "by personal token" });
  // Makes the number the default caller id, sends, and sets the default back.
  await sms.send({ from: "sipgate", to: CLIENT_RECIPIENT, message: "from a caller id" });

  const history = await createHistoryModule(oauth).fetchAll(
    { types: ["SMS"], directions: ["OUTGOING"], connectionIds: [smsId] },
    { limit: 100 },
  );
  const { contacts } = JSON.parse(await createContactsModule(oauth).exportAsJSON("SHARED"));
  const refusal = await sms
    .send({ smsId: "s999", to: CLIENT_RECIPIENT, message: "not mine" })
    .catch((error) => error.message);

  return {
    userId,
    extensions,
    history: history.map((entry) => ({ text: entry.smsContent, target: entry.target })),
    contacts: contacts.map((contact) => contact.name),
    refusal,
  };
}

main().then(
  (seen) => process.stdout.write(JSON.stringify(seen)),
  (error) => {
    process.stderr.write(`${error.stack}\n`);
    process.exitCode = 1;
  },
);
