"use strict";
// Conversations in this browser: one entry each, so that two tabs do not write over one another.
const PREFIX = "instil.talk.";
const SETTINGS = "instil.settings";

export const fresh = () => crypto.getRandomValues(new Uint32Array(3)).reduce((name, n) => name + n.toString(36), "");

export function newTalk(system) {
  return { id: fresh(), title: "", system, changed: Date.now(), turns: [] };
}

// What the browser would not keep is said in words by whoever catches it.
export function keep(talk) {
  if (!talk.turns.length && !talk.system) return;
  write(PREFIX + talk.id, talk);
}

export function forget(talk) {
  localStorage.removeItem(PREFIX + talk.id);
}

export function read(id) {
  try {
    const talk = JSON.parse(localStorage.getItem(PREFIX + id));
    if (!talk || !Array.isArray(talk.turns)) return null;
    // An answer that was still coming when the page was closed has ended there.
    for (const turn of talk.turns) for (const answer of turn.answers) if (answer.running) Object.assign(answer, { running: false, finish: "stopped" });
    return talk;
  } catch {
    return null; // another program's entry, or a damaged one: not ours to remove
  }
}

export function all() {
  const names = Object.keys(localStorage).filter((name) => name.startsWith(PREFIX));
  return names.map((name) => read(name.slice(PREFIX.length))).filter(Boolean).sort((a, b) => b.changed - a.changed);
}

export function settings(changes) {
  let found = {};
  try {
    found = JSON.parse(localStorage.getItem(SETTINGS)) || {};
  } catch { /* as if there were none */ }
  if (changes) write(SETTINGS, Object.assign(found, changes));
  return found;
}

function write(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
  } catch {
    throw new Error("This browser keeps no more: export and delete conversations that you no longer need. What you see stays until you leave the page.");
  }
}

// ---- what a conversation means -----------------------------------------------------------------------------------------------------

// The answer that a model is told it gave: its own where it has one, in a blind pair the one that was liked better.
export function told(turn, side) {
  const answer = turn.blind ? turn.answers[turn.blind.choice === "B" ? 1 : 0] : turn.answers[side] || turn.answers[0];
  return answer && !(answer.error && !answer.text) ? answer : null;
}

// Everything in front of the answer to turn `place`. A question that was never answered is left out.
export function before(talk, place, side) {
  const system = talk.turns[place].system ?? talk.system; // as it was when this was asked
  const messages = system ? [{ role: "system", content: system }] : [];
  for (const turn of talk.turns.slice(0, place)) {
    const answer = told(turn, side);
    if (answer) messages.push({ role: "user", content: turn.text }, { role: "assistant", content: answer.text });
  }
  messages.push({ role: "user", content: talk.turns[place].text });
  return messages;
}

// Lines that `instil data` reads: one for each model that took part.
export function exported(talk) {
  const sides = Math.max(1, ...talk.turns.map((turn) => (turn.blind ? 1 : turn.answers.length)));
  return Array.from({ length: sides }, (_, side) => {
    const turns = talk.turns.filter((turn) => told(turn, side));
    const messages = talk.system ? [{ role: "system", content: talk.system }] : [];
    for (const turn of turns) messages.push({ role: "user", content: turn.text }, { role: "assistant", content: told(turn, side).text });
    const models = [...new Set(turns.map((turn) => told(turn, side).model).filter(Boolean))];
    return JSON.stringify({ messages, models, title: talk.title });
  }).join("\n") + "\n";
}
