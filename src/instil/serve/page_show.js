"use strict";
// What people and models write reaches the page through textContent only, so it stays text.

// Characters that a browser would drop or obey. Among them those that turn the order of letters around, so that text reads as it is not.
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;
const picture = (c) => (c > "\u2000" ? `\u2039U+${c.charCodeAt(0).toString(16).toUpperCase()}\u203a` : c < " " ? String.fromCharCode(0x2400 + c.charCodeAt(0)) : c === "\x7f" ? "\u2421" : "\ufffd");
export const clean = (text) => text.replace(/\r\n/g, "\n").replace(CONTROLS, picture);

export const at = (id) => document.getElementById(id);

export function make(tag, kind, text, ...children) {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  if (text != null) element.textContent = text;
  element.append(...children.filter(Boolean));
  return element;
}

export function button(text, work, more = {}) {
  const element = make("button", more.kind || "", text);
  element.type = "button";
  if (more.label) element.setAttribute("aria-label", more.label);
  if (more.pressed != null) element.setAttribute("aria-pressed", more.pressed);
  element.disabled = Boolean(more.disabled);
  element.addEventListener("click", () => work(element));
  return element;
}

export async function copy(text, element) {
  const was = element.textContent;
  try {
    await navigator.clipboard.writeText(text);
    element.textContent = "Copied";
  } catch {
    element.textContent = "Not allowed";
  }
  setTimeout(() => { element.textContent = was; }, 1500);
}

// Blocks between ``` fences are code, all else is text with its line breaks; a block that is still being written is one already.
export function written(text) {
  const pieces = [];
  let code = null;
  let held = [];
  const flush = () => {
    const joined = held.join("\n");
    if (code !== null) pieces.push({ code, text: joined });
    else if (joined.trim()) pieces.push({ text: joined.replace(/^\n+|\n+$/g, "") });
    held = [];
  };
  for (const line of clean(text).split("\n")) {
    const fence = line.match(/^ {0,3}```([^`]*)$/);
    if (!fence) held.push(line);
    else {
      flush();
      code = code === null ? fence[1].trim() : null;
    }
  }
  if (code === null || held.length) flush();
  return pieces.map((piece) => {
    if (piece.code == null) {
      const box = make("div", "said", piece.text);
      box.dir = "auto";
      return box;
    }
    const block = make("pre", "", null, make("code", "", piece.text));
    block.tabIndex = 0;
    block.setAttribute("aria-label", piece.code ? `${piece.code} code` : "code");
    return make("div", "code", null, make("div", "bar soft", null, make("span", "", piece.code), button("Copy", (b) => copy(piece.text, b), { label: "Copy this code" })), block);
  });
}

const visible = (text) => clean(text).replace(/\n/g, "\u21b5\n").replace(/\t/g, "\u21e5\t");
const percent = (p) => (p == null ? "not known" : p >= 0.9995 ? "100 %" : p < 0.0005 ? "under 0.1 %" : `${(100 * p).toFixed(p < 0.1 ? 1 : 0)} %`);
const level = (p) => (p == null || p >= 0.9 ? "" : p >= 0.5 ? " unsure" : p >= 0.2 ? " doubtful" : " unlikely");

// The tokens of a prompt: special ones framed.
export function tokensSent(found) {
  const box = make("div", "tokens", null, ...found.tokens.map((t) => {
    const token = make("span", t.special ? "token special" : "token", visible(t.text));
    token.title = `${t.special ? "special token" : "token"} ${t.id}`;
    return token;
  }));
  const room = found.context ? ` of ${found.context.toLocaleString("en")}` : "";
  const special = found.tokens.filter((t) => t.special).length;
  return [make("p", "soft", `${found.tokens.length.toLocaleString("en")}${room} tokens, ${special} of them special (framed). This is exactly what the model is given.`), box];
}

// The tokens of an answer, each a button that tells how likely the model found it and what else it might have said.
export function probabilities(found) {
  const detail = make("div", "alternatives", null, make("p", "soft", "Choose a token to see what else the model might have said there."));
  detail.setAttribute("aria-live", "polite");
  const box = make("div", "tokens", null, ...found.tokens.map((t) => {
    const token = button(visible(t.text), () => {
      for (const other of box.querySelectorAll("[aria-pressed=true]")) other.setAttribute("aria-pressed", "false");
      token.setAttribute("aria-pressed", "true");
      detail.replaceChildren(alternatives(t));
    }, { kind: `token${t.special ? " special" : ""}${level(t.probability)}`, label: `${visible(t.text)}, ${percent(t.probability)}`, pressed: "false" });
    token.title = percent(t.probability);
    return token;
  }));
  const key = make("p", "soft", "Probability at temperature 1: ", ...[["", "90 % or more"], [" unsure", "50 to 90"], [" doubtful", "20 to 50"], [" unlikely", "under 20"]].map(([kind, text]) => make("span", `token${kind}`, text)));
  return [key, box, detail];
}

function alternatives(token) {
  const own = token.alternatives.some((t) => t.id === token.id);
  const shown = own ? token.alternatives : [...token.alternatives, token];
  const rows = shown.map((t) => make("tr", t.id === token.id ? "own" : "", null, make("th", "", null, make("span", t.special ? "token special" : "token", visible(t.text))),
    make("td", "number", percent(t.probability)), make("td", "soft", t.id === token.id ? "in the answer" : "")));
  return make("table", "", null, make("caption", "hidden", "What the model might have said here"), make("tbody", "", null, ...rows));
}
