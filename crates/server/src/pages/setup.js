// The set-up page: sends the one-time code with a name and a password, and shows the new token once.
// The code stands in the URL's fragment, which browsers never send; it is taken out of the address bar at once.
"use strict";

const at = (id) => document.getElementById(id);
const fields = ["code", "name", "password", "again"];

function takeCode() {
  const code = location.hash.slice(1);
  if (!code) return at("code").focus();
  at("code").value = code;
  at("code-hint").textContent = "Taken from the link.";
  history.replaceState(null, "", location.pathname);
  at("name").focus();
}

function mark(id, message) {
  at(`${id}-wrong`).textContent = message;
  if (message) at(id).setAttribute("aria-invalid", "true");
  else at(id).removeAttribute("aria-invalid");
}

// What is wrong with the form, by field; empty if nothing is.
function faults() {
  const wrong = {};
  if (!at("code").value.trim()) wrong.code = "Open the printed link again, or paste the code after the # sign.";
  if (!at("name").value.trim()) wrong.name = "Enter a name.";
  const password = at("password").value;
  if ([...password].length < 8) wrong.password = "Enter at least 8 characters.";
  else if (password !== at("again").value) wrong.again = "The two passwords differ.";
  return wrong;
}

function show(wrong) {
  for (const id of fields) mark(id, wrong[id] ?? "");
  const first = fields.find((id) => wrong[id]);
  if (first) at(first).focus();
  return !first;
}

async function submit(event) {
  event.preventDefault();
  at("form-wrong").textContent = "";
  if (!show(faults())) return;
  at("submit").disabled = true;
  try {
    const body = { code: at("code").value.trim(), name: at("name").value.trim(), password: at("password").value };
    const answer = await fetch("/v1/setup", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    const said = await answer.json().catch(() => ({}));
    if (answer.ok) done(said);
    else refused(said, answer.status);
  } catch {
    at("form-wrong").textContent = "The service did not answer. Check that it runs, then try again.";
  } finally {
    at("submit").disabled = false;
  }
}

function refused(said, status) {
  const message = said.detail ?? said.title ?? `The service answered ${status}.`;
  if (fields.includes(said.field)) show({ [said.field]: message });
  else at("form-wrong").textContent = message;
}

function done(said) {
  at("form").reset();
  at("ask").hidden = true;
  at("done").hidden = false;
  at("done-title").textContent = `You are set up, ${said.user.name}`;
  at("token").textContent = said.token.token ?? said.token;
  at("next").textContent = [
    `curl ${location.origin}/v1/tokens \\`,
    `  -H "Authorization: Token $EYE_TOKEN" \\`,
    `  -H 'Content-Type: application/json' \\`,
    `  -d '{"name":"website","kind":"secret"}'`,
  ].join("\n");
  at("done-title").focus();
}

async function copy() {
  try {
    await navigator.clipboard.writeText(at("token").textContent);
    at("copied").textContent = "Copied.";
  } catch {
    getSelection().selectAllChildren(at("token"));
    at("copied").textContent = "Selected: press Ctrl+C or Cmd+C.";
  }
}

at("form").addEventListener("submit", submit);
at("copy").addEventListener("click", copy);
takeCode();
