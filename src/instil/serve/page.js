"use strict";
// The conversation: what is asked, how answers come, and what can be done with them.
import { at, button, copy, make, probabilities, tokensSent, written } from "./page_show.js";
import { all, before, exported, forget, fresh, keep, newTalk, read, settings } from "./page_store.js";
import { Trouble, answerOf, ask, blindAnswers, hasKey, useKey } from "./page_wire.js";

const SIDES = ["A", "B"];
const ENDS = { length: "Cut: the longest answer, or the context, is used up.", stopped: "Stopped.", timeout: "Cut: the server's time limit." };
const KNOBS = ["temperature", "top_p", "max_tokens", "seed"];
let models = [];
let talk = newTalk("");
let running = null; // AbortController of the answers that are coming
let editing = null; // {id, text} of the question that is being changed
let open = {}; // panels under answers: what was asked for, by the answer's place

// ---- the page around the conversation --------------------------------------------------------------------------------------------

function say(text) {
  at("said").hidden = !text;
  at("said").textContent = text;
}

const hear = (text) => { at("heard").textContent = text; };

function attempt(work) {
  return async (...given) => {
    try {
      say("");
      await work(...given);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error.status === 401) askKey();
      else say(error.message);
    }
  };
}

function askKey() {
  at("key-why").textContent = `${hasKey() ? "This is another key than the server's, or it has changed." : "This server answers only with its key."} It is kept until this tab is closed.`;
  if (!at("key-dialog").open) at("key-dialog").showModal();
  at("key-value").focus();
}

const loadModels = attempt(async () => {
  const found = await ask("/page/models");
  ({ models } = found);
  at("kept").textContent = `Conversations stay in this browser. Thumbs and votes go to ${found.votes_file}.`;
  const chosen = settings();
  for (const [name, place] of [["first", 0], ["second", models.length - 1]]) {
    at(name).replaceChildren(...models.map((m) => new Option(m.chats ? m.id : `${m.id} (continues text)`, m.id)));
    at(name).value = models.some((m) => m.id === chosen[name]) ? chosen[name] : models[place].id;
  }
  if (models.length < 2) at("mode").value = "one";
  for (const option of at("mode").options) option.disabled = option.value !== "one" && models.length < 2;
  show();
});

function modes() {
  const two = at("mode").value !== "one";
  at("second-label").hidden = !two;
  at("first-label").hidden = !models.length;
}

const askedModels = () => {
  const names = at("mode").value === "one" ? [at("first").value] : [at("first").value, at("second").value];
  const found = names.map((name) => models.find((m) => m.id === name)).filter(Boolean);
  if (!found.length) throw new Trouble("The page does not know the models yet: is `instil serve` still running?", 0);
  if (found.length === 2 && found[0] === found[1]) throw new Trouble("These are one and the same model: choose another one to compare with.", 0);
  return found;
};

function sampling() {
  const wrong = KNOBS.map(at).find((field) => !field.checkValidity());
  if (wrong) {
    wrong.focus();
    throw new Trouble(`${wrong.labels[0].firstChild.textContent.trim()}: ${wrong.validationMessage}`, 0);
  }
  const chosen = Object.fromEntries(KNOBS.filter((name) => at(name).value !== "").map((name) => [name, Number(at(name).value)]));
  return { temperature: 0, top_p: 1, seed: 0, ...chosen };
}

// ---- asking ----------------------------------------------------------------------------------------------------------------------

const waiting = () => talk.turns.some((turn) => turn.blind && turn.blind.pair && !turn.blind.choice);

async function submit() {
  const text = at("question").value;
  if (!text.trim() || running) return;
  if (waiting()) throw new Trouble("Vote on the two answers first, or skip the vote.", 0);
  const asked = askedModels();
  const chosen = sampling();
  const turn = { id: fresh(), text, answers: [] };
  talk.turns.push(turn);
  talk.title ||= text.trim().slice(0, 60);
  at("question").value = "";
  await answer(turn, asked, at("mode").value === "blind", chosen);
}

// `only`: the one answer that is asked for again, where the other is to stay.
async function answer(turn, asked, blind, chosen, only = null) {
  const place = talk.turns.indexOf(turn);
  running = new AbortController();
  open = Object.fromEntries(Object.entries(open).filter(([name]) => !name.startsWith(turn.id)));
  turn.blind = blind ? { pair: null, choice: null } : null;
  turn.system = talk.system;
  turn.answers = asked.map((model, side) => (only != null && side !== only ? turn.answers[side]
    : { model: blind ? null : model.id, text: "", finish: null, error: null, running: true, sampled: chosen }));
  const here = talk; // the one that is asked, whatever is looked at meanwhile
  save(here);
  show();
  at("talk").scrollTop = at("talk").scrollHeight;
  const { signal } = running;
  try {
    if (blind) await receiveBlind(here, turn, asked, chosen, signal);
    else await Promise.all(asked.map((model, side) => turn.answers[side].running && receive(here, turn, side, model, before(here, place, side), chosen, signal)));
  } finally {
    running = null;
    here.changed = Date.now();
    save(here);
    if (here === talk) show();
    hear(turn.answers.map((a) => a.error || `${a.model || "Answer"}: ${a.text}`).join("\n"));
  }
}

async function receive(here, turn, side, model, messages, chosen, signal) {
  const given = turn.answers[side];
  try {
    for await (const piece of answerOf(model, messages, chosen, signal)) {
      given.text += piece.text;
      given.finish = piece.finish || given.finish;
      grow(here, turn, side);
    }
  } catch (error) {
    failed(given, error);
  }
  given.running = false;
  grow(here, turn, side);
}

async function receiveBlind(here, turn, asked, chosen, signal) {
  try {
    for await (const event of blindAnswers(asked.map((m) => m.id), before(here, here.turns.indexOf(turn), 0), chosen, signal)) {
      if (event.pair) {
        turn.blind.pair = event.pair;
        turn.answers.forEach((given, side) => { given.finish = event.finish[side]; });
      } else {
        turn.answers[event.side].text += event.text;
        grow(here, turn, event.side);
      }
    }
  } catch (error) {
    turn.answers.forEach((given) => failed(given, error));
  }
  turn.answers.forEach((given) => { given.running = false; });
}

function failed(given, error) {
  if (error.name === "AbortError") given.finish = "stopped";
  else given.error = error.message;
  if (error.status === 401) askKey();
}

function save(which) {
  try {
    keep(which);
  } catch (error) {
    say(error.message);
  }
}

// Only the text of one answer changes while it comes; drawn at most once a frame.
const due = new Set();
let saved = 0;
function grow(here, turn, side) {
  if (here !== talk) return;
  if (!due.size) requestAnimationFrame(draw);
  due.add(`${turn.id}.${side}`);
  if (Date.now() - saved > 1000) {
    saved = Date.now();
    save(here);
  }
}

const atEnd = (log) => log.scrollHeight - log.scrollTop - log.clientHeight < 80;

function draw() {
  const log = at("talk");
  const follows = atEnd(log);
  for (const name of due) {
    const [id, side] = name.split(".");
    const body = at(`text-${name}`);
    const given = talk.turns.find((turn) => turn.id === id)?.answers[side];
    if (body && given) body.replaceChildren(...written(given.text));
  }
  due.clear();
  if (follows) log.scrollTop = log.scrollHeight;
}

// ---- what is seen ----------------------------------------------------------------------------------------------------------------

function show() {
  modes();
  const log = at("talk");
  const focused = document.activeElement?.dataset?.name;
  const follows = atEnd(log);
  log.replaceChildren(...(talk.turns.length ? talk.turns.map(turnView) : [welcome()]));
  if (focused) document.querySelector(`[data-name="${CSS.escape(focused)}"]`)?.focus();
  if (follows) log.scrollTop = log.scrollHeight;
  at("send").hidden = Boolean(running);
  at("stop").hidden = !running;
  if (at("system").value !== talk.system) at("system").value = talk.system;
  at("delete").textContent = "Delete";
  at("export").disabled = at("delete").disabled = !talk.turns.length;
  const kept = all();
  at("list").replaceChildren(...kept.map((one) => {
    const pick = button(one.title || "(no question yet)", () => choose(one.id));
    pick.setAttribute("aria-current", one.id === talk.id);
    return make("li", "", null, pick);
  }));
}

function welcome() {
  const told = { one: "Ask something below.", both: "Each question goes to both models; each keeps to its own answers.", blind: "Both models answer, and you say which answer is better. Their names are told after the vote." };
  return make("div", "welcome", null, make("h2", "", "A new conversation"), make("p", "", told[at("mode").value]));
}

function turnView(turn, place) {
  const asked = editing?.id === turn.id ? editor(turn) : make("div", "question", null, make("span", "hidden", "You asked: "), ...written(turn.text),
    make("div", "actions", null, button("Copy", (b) => copy(turn.text, b), { label: "Copy your question" }),
      button("Edit", () => edit(turn), { label: "Edit your question and ask again", disabled: running || waiting() })));
  const two = turn.answers.length > 1;
  const answers = make("div", two ? "answers two" : "answers", null, ...turn.answers.map((given, side) => answerView(turn, place, given, side, two)));
  const view = make("section", "turn", null, asked, answers, turn.blind ? voteView(turn) : "");
  view.setAttribute("aria-label", `Exchange ${place + 1}`);
  return view;
}

function answerView(turn, place, given, side, two) {
  const name = `${turn.id}.${side}`;
  const who = turn.blind ? [make("span", "", `Answer ${SIDES[side]}`), given.model ? make("span", "tag", given.model) : ""] : [make("span", "", given.model)];
  const picked = turn.blind?.choice === SIDES[side];
  const body = make("div", given.running ? "text running" : "text", null, ...written(given.text));
  body.id = `text-${name}`;
  body.setAttribute("aria-busy", given.running);
  const card = make("article", `${two ? "card" : ""}${picked ? " picked" : ""}`, null, make("h3", "", null, ...who, picked ? make("span", "tag", "your choice") : ""), body);
  if (given.error) card.append(make("p", "ended bad", given.error));
  else if (!given.running && !given.text) card.append(make("p", "ended soft", given.finish === "stopped" ? "Stopped before it began." : "(an empty answer)"));
  else if (ENDS[given.finish]) card.append(make("p", "ended soft", ENDS[given.finish]));
  if (!given.running) card.append(actions(turn, place, given, side));
  for (const kind of ["sent", "likely"]) if (open[`${name}.${kind}`]) card.append(make("div", "panel", null, ...open[`${name}.${kind}`]()));
  return card;
}

function actions(turn, place, given, side) {
  const named = Boolean(given.model);
  const last = place === talk.turns.length - 1;
  const name = `${turn.id}.${side}`;
  const named_ = (element, what) => { element.dataset.name = `${name}.${what}`; return element; };
  const thumbs = [["Good", "Good answer", true], ["Bad", "Bad answer", false]].map(([sign, label, good]) => named_(button(sign, attempt(() => thumb(turn, place, given, side, good)),
    { label, pressed: given.good === good, disabled: !given.text.trim() }), label));
  return make("div", "actions", null,
    button("Copy", (b) => copy(given.text, b), { label: "Copy the answer" }),
    last && !waiting() && !(turn.blind && side) ? named_(button(`${given.error ? "Try again" : "Regenerate"}${turn.blind ? " both" : ""}`, attempt(() => again(turn, side)), { disabled: running }), "again") : "",
    ...(named && !turn.blind ? thumbs : []),
    named ? named_(button("Tokens sent", attempt(() => panel(`${name}.sent`, () => sentOf(turn, place, given, side))), { pressed: Boolean(open[`${name}.sent`]) }), "sent") : "",
    named && given.text ? named_(button("Probabilities", attempt(() => panel(`${name}.likely`, () => likelyOf(turn, place, given, side))), { pressed: Boolean(open[`${name}.likely`]) }), "likely") : "");
}

function voteView(turn) {
  const { pair, choice, models: known } = turn.blind;
  if (choice) return make("p", "soft", known ? `${choice === "skip" ? "No vote." : `Your vote: ${choice}.`} A is ${known.A}, B is ${known.B}.` : "This pair has no vote.");
  if (!pair) return "";
  const choices = [["A", "A is better"], ["B", "B is better"], ["both good", "Both good"], ["both bad", "Both bad"], ["skip", "Skip, tell the names"]];
  const box = make("div", "vote", null, make("p", "", "Which answer is better? Then you are told who wrote them."), ...choices.map(([value, text]) => button(text, attempt(() => vote(turn, value)))));
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "Your vote");
  return box;
}

// ---- what can be done with an answer ---------------------------------------------------------------------------------------------

async function panel(name, load) {
  if (open[name]) delete open[name];
  else open[name] = await load();
  show();
}

async function sentOf(turn, place, given, side) {
  const found = await ask("/page/tokens", { model: given.model, messages: before(talk, place, turn.blind ? 0 : side) });
  return () => tokensSent(found);
}

async function likelyOf(turn, place, given, side) {
  const messages = before(talk, place, turn.blind ? 0 : side);
  const found = await ask("/page/probabilities", { model: given.model, messages, answer: given.text, ended: given.finish === "stop" });
  return () => probabilities(found);
}

async function thumb(turn, place, given, side, good) {
  const wanted = given.good === good ? null : good;
  await ask("/page/thumb", { model: given.model, vote: `${talk.id}.${turn.id}.${side}`, messages: before(talk, place, side), answer: given.text, good: wanted, ...given.sampled });
  given.good = wanted;
  save(talk);
  hear(wanted === null ? "Vote taken back" : "Vote saved");
  show();
}

async function vote(turn, choice) {
  let found = {};
  try {
    found = await ask("/page/vote", { pair: turn.blind.pair, choice });
  } catch (error) {
    if (error.status !== 409) throw error;
    say(error.message); // the server has forgotten the pair: the conversation must be able to go on
    choice = "skip";
  }
  Object.assign(turn.blind, { choice, models: found.models });
  turn.answers.forEach((given, side) => { given.model = found.models?.[SIDES[side]] || null; });
  save(talk);
  show();
  if (found.models) hear(`A is ${found.models.A}, B is ${found.models.B}`);
  at("question").focus();
}

async function again(turn, side) {
  const known = turn.answers.map((a) => models.find((m) => m.id === a.model));
  const same = !turn.blind && known.every(Boolean);
  const asked = same ? known : askedModels();
  const chosen = sampling();
  if (!turn.answers[side].error) turn.tries = (turn.tries || 0) + 1;
  await answer(turn, asked, Boolean(turn.blind), { ...chosen, seed: chosen.seed + (turn.tries || 0) }, same ? side : null); // the same seed would say the same again
}

function edit(turn) {
  editing = { id: turn.id, text: turn.text };
  show();
  at("edited").focus();
}

function editor(turn) {
  const area = make("textarea");
  area.id = "edited";
  area.dataset.name = "edited";
  area.value = editing.text;
  area.dir = "auto";
  area.setAttribute("aria-label", "Your question, to be changed");
  const asking = button("Ask again", attempt(() => askChanged(turn)));
  const leave = () => { editing = null; show(); };
  area.addEventListener("input", () => { editing.text = area.value; });
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.ctrlKey) asking.click();
    if (event.key === "Escape") leave();
  });
  return make("div", "question editing", null, area, make("div", "actions", null, asking, button("Cancel", leave), make("span", "soft", "Ctrl+Enter asks, Escape leaves it as it was.")));
}

async function askChanged(turn) {
  const { text } = editing;
  if (!text.trim() || running) return;
  const chosen = sampling();
  const asked = askedModels();
  const place = talk.turns.indexOf(turn);
  if (place < talk.turns.length - 1) branch();
  const changed = { id: fresh(), text, answers: [] };
  talk.turns.splice(place, talk.turns.length, changed);
  if (place === 0) talk.title = text.trim().slice(0, 60);
  editing = null;
  at("question").focus();
  await answer(changed, asked, at("mode").value === "blind", chosen);
}

// What an edit would cut off stays in the list as a conversation of its own.
function branch() {
  save(talk);
  talk = { ...structuredClone(talk), id: fresh(), changed: Date.now() };
  sessionStorage.setItem("instil.talk", talk.id);
}

// ---- conversations ---------------------------------------------------------------------------------------------------------------

function choose(id) {
  const found = read(id);
  if (!found || running) return running ? say("An answer is coming: stop it first.") : show();
  use(found);
}

function use(chosen) {
  talk = chosen;
  open = {};
  editing = null;
  say("");
  sessionStorage.setItem("instil.talk", talk.id);
  side(false);
  show();
  at("talk").scrollTop = at("talk").scrollHeight;
}

function begin() {
  if (running) return say("An answer is coming: stop it first.");
  use(newTalk(talk.system));
  at("question").focus();
}

function download() {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([exported(talk)], { type: "application/jsonl" }));
  link.download = `conversation-${talk.id}.jsonl`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function remove() {
  if (running) return say("An answer is coming: stop it first.");
  if (at("delete").textContent === "Delete") at("delete").textContent = "Delete for good?";
  else {
    forget(talk);
    use(newTalk(talk.system));
  }
}

function side(shown) {
  at("side").classList.toggle("open", shown);
  at("menu").setAttribute("aria-expanded", shown);
}

// The style has one set of colours for each scheme, under a media query; the toggle says which query holds.
const schemes = [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules]).filter((rule) => rule.media && rule.conditionText.includes("prefers-color-scheme"));
const asked = matchMedia("(prefers-color-scheme: dark)");
function paint() {
  const chosen = settings().theme;
  const dark = chosen ? chosen === "dark" : asked.matches;
  for (const rule of schemes) rule.media.mediaText = dark ? "screen" : "not all";
  document.documentElement.style.colorScheme = dark ? "dark" : "light";
  at("theme").textContent = dark ? "Light" : "Dark";
  at("theme").setAttribute("aria-label", dark ? "Use light colours" : "Use dark colours");
}

function listen() {
  at("ask").addEventListener("submit", (event) => { event.preventDefault(); attempt(submit)(); });
  at("question").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || matchMedia("(pointer: coarse)").matches) return;
    event.preventDefault();
    at("ask").requestSubmit();
  });
  at("stop").addEventListener("click", () => { running?.abort(); at("question").focus(); });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && running && !at("key-dialog").open) running.abort(); });
  at("new").addEventListener("click", begin);
  at("export").addEventListener("click", download);
  at("delete").addEventListener("click", remove);
  at("menu").addEventListener("click", () => side(!at("side").classList.contains("open")));
  at("theme").addEventListener("click", () => { settings({ theme: at("theme").textContent.toLowerCase() }); paint(); });
  asked.addEventListener("change", paint);
  for (const name of ["mode", "first", "second"]) at(name).addEventListener("change", () => { settings({ [name]: at(name).value }); show(); });
  for (const name of KNOBS) at(name).addEventListener("change", () => settings({ [name]: at(name).value }));
  at("settings").addEventListener("submit", (event) => event.preventDefault());
  at("system").addEventListener("input", () => { talk.system = at("system").value; save(talk); });
  at("key").addEventListener("click", askKey);
  at("key-cancel").addEventListener("click", () => at("key-dialog").close());
  at("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    useKey(at("key-value").value.trim());
    at("key-value").value = "";
    at("key-dialog").close();
    loadModels();
  });
  addEventListener("pagehide", () => save(talk));
}

paint();
listen();
const remembered = settings();
for (const name of ["mode", ...KNOBS]) if (remembered[name] != null) at(name).value = remembered[name];
talk = read(sessionStorage.getItem("instil.talk")) || all()[0] || talk;
use(talk);
loadModels();
