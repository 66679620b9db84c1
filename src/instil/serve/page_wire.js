"use strict";
// What goes over the wire, and what is wrong with it in words.
let key = sessionStorage.getItem("instil.key") || "";

export class Trouble extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export const hasKey = () => Boolean(key);

export function useKey(value) {
  key = value;
  sessionStorage.setItem("instil.key", value);
}

const SILENT = "The server does not answer: is `instil serve` still running? Nothing is lost, try again.";

async function send(where, body, signal) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const asked = body ? { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body: JSON.stringify(body), signal } : { headers, signal };
  let answer;
  try {
    answer = await fetch(where, asked);
  } catch (error) {
    throw error.name === "AbortError" ? error : new Trouble(SILENT, 0);
  }
  if (answer.ok) return answer;
  let why = "";
  try {
    const found = await answer.json();
    why = found.error?.message || found.detail || "";
  } catch { /* not JSON: the status has to do */ }
  throw new Trouble(why || `The server answered with the status ${answer.status}.`, answer.status);
}

export const ask = async (where, body) => (await send(where, body)).json();

// The lines of an answer as they come.
async function* lines(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const parts = (rest + value).split(/\r?\n/);
      rest = parts.pop();
      yield* parts;
    }
  } catch (error) {
    throw error.name === "AbortError" ? error : new Trouble("The connection broke off in the middle of the answer. What had come is kept.", 0);
  }
  if (rest) yield rest;
}

// {text, finish} of one model's answer, over the same API that every other client uses.
export async function* answerOf(model, messages, sampling, signal) {
  const asked = { model: model.id, stream: true, ...sampling };
  const texts = messages.map((m) => m.content).join("\n"); // a base model without a template continues what it is given
  const answer = model.chats ? await send("/v1/chat/completions", { ...asked, messages }, signal) : await send("/v1/completions", { ...asked, prompt: texts }, signal);
  let whole = false;
  for await (const line of lines(answer)) {
    if (!line.startsWith("data:")) continue;
    const data = line.slice(5).trim();
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new Trouble(event.error.message, 0);
    const choice = event.choices?.[0];
    if (!choice) continue;
    whole ||= Boolean(choice.finish_reason);
    yield { text: (model.chats ? choice.delta?.content : choice.text) || "", finish: choice.finish_reason || null };
  }
  if (!whole) throw new Trouble("The answer ended before it was complete.", 0);
}

// {side, text}, at last {pair, finish}, of two models whose names do not come along.
export async function* blindAnswers(models, messages, sampling, signal) {
  let whole = false;
  for await (const line of lines(await send("/page/blind", { models, messages, ...sampling }, signal))) {
    if (!line) continue;
    const event = JSON.parse(line);
    if (event.error) throw new Trouble(event.error, 0);
    whole ||= Boolean(event.pair);
    yield event;
  }
  if (!whole) throw new Trouble("The answers ended before they were complete.", 0);
}
