// Shows blind pairs and sends votes. What comes from the study is only ever set as text.
"use strict";

const byId = (id) => document.getElementById(id);
const choiceButtons = [...document.querySelectorAll("[data-choice]")];
const KEYS = { 1: "left", 2: "right", 0: "tie" };

let ballot = null; // the open pair, null while a vote or a pair is under way
let over = false;

async function ask(path, body) {
  const options = body && {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  const response = await fetch(path, options);
  const answer = await response.json();
  if (!response.ok) {
    throw Object.assign(new Error(answer.error), { status: response.status });
  }
  return answer;
}

function complain(error) {
  const gone = error instanceof TypeError; // what fetch raises without a server
  byId("error").textContent = gone
    ? "The server does not answer: was lamsearch vote ended?"
    : error.message;
}

function enable(on) {
  // Not disabled: a button that is would lose the focus.
  for (const button of choiceButtons) button.setAttribute("aria-disabled", String(!on));
}

async function load(side, word) {
  const image = byId(side);
  image.src = `image/${encodeURIComponent(word)}/${side}`;
  await image.decode();
}

async function showNext() {
  const rater = byId("rater").value.trim();
  const next = await ask(`next?rater=${encodeURIComponent(rater)}`);
  await Promise.all([load("left", next.ballot), load("right", next.ballot)]);
  byId("prompt").textContent = next.prompt === null ? "" : `Prompt: ${next.prompt}`;
  const all = next.total === next.own ? "" : ` (${next.total} of all raters)`;
  byId("status").textContent = `${next.own} ${next.own === 1 ? "vote" : "votes"} stored${all}`;
  byId("error").textContent = "";
  ballot = next.ballot;
  enable(true);
}

async function vote(choice) {
  if (ballot === null || over) return;
  const word = ballot;
  ballot = null;
  enable(false);
  try {
    await ask("vote", { ballot: word, choice, rater: byId("rater").value.trim() });
  } catch (error) {
    complain(error);
    if (error.status !== 409) { // the pair is still open: it can be voted on again
      ballot = word;
      enable(true);
      return;
    }
  }
  await showNext().catch(complain);
}

async function showAnswer() {
  const answer = await ask("answer");
  byId("people").textContent = answer.people ?? "people: no votes yet";
  byId("reward").textContent = answer.reward;
  byId("notes").replaceChildren(...answer.notes.map((note) => {
    const item = document.createElement("li");
    item.textContent = note;
    return item;
  }));
  byId("answer").hidden = false;
  byId("answer").focus();
}

async function end() {
  await showAnswer();
  over = true;
  enable(false);
  for (const id of ["show", "done", "rater"]) byId(id).disabled = true;
  await ask("done", {});
  byId("status").textContent = "The vote has ended: this window can be closed.";
}

for (const button of choiceButtons) {
  button.addEventListener("click", () => vote(button.dataset.choice));
}
document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof HTMLInputElement;
  if (typing || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key in KEYS) {
    event.preventDefault();
    vote(KEYS[event.key]);
  }
});
byId("rater").addEventListener("change", () => {
  if (ballot === null && !over) showNext().catch(complain);
});
byId("show").addEventListener("click", () => showAnswer().catch(complain));
byId("done").addEventListener("click", () => end().catch(complain));

(async () => {
  byId("rater").value = (await ask("rater")).rater;
  await showNext();
})().catch(complain);
