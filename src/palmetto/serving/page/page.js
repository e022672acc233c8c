// Continues a text with one or two models or settings, and shows what else each token could have been.
"use strict";

const ALTERNATIVES = 5;
const TINTS = [0.02, 0.1, 0.3, 0.6]; // below the first, a token is surprising
const byId = (id) => document.getElementById(id);
const prompt = byId("prompt");
let stopping = null;

/** A text that grows token by token, with its settings and what is known of a token. */
class Pane {
  constructor(models) {
    this.section = byId("pane").content.cloneNode(true).querySelector("section");
    const find = (selector) => this.section.querySelector(selector);
    [this.fields, this.text, this.state] = [find("fieldset"), find(".text"), find(".state")];
    [this.given, this.made, this.inspector] = [find(".given"), find(".made"), find(".inspector")];
    find("select").append(...models.map((model) => new Option(model)));
    this.made.addEventListener("pointerover", (event) => this.show(this.spans.indexOf(event.target)));
    this.made.addEventListener("click", (event) => this.show(this.spans.indexOf(event.target)));
    this.text.addEventListener("keydown", (event) => this.move(event));
    this.clear("");
  }

  name(name) {
    this.section.querySelector("legend").textContent = name;
    this.text.setAttribute("aria-label", name ? `Text ${name}` : "Text");
  }

  clear(given) {
    [this.characters, this.tokens, this.spans, this.filled, this.chosen] = [[], [], [], 0, -1];
    this.given.textContent = given;
    this.made.replaceChildren();
    this.inspector.hidden = true;
    this.tell("");
  }

  tell(text, wrong = false) {
    this.state.textContent = text;
    this.state.classList.toggle("wrong", wrong);
  }

  /** The parameters of the request; an empty field is left to the server. */
  parameters() {
    const values = { prompt: prompt.value, stream: true, logprobs: ALTERNATIVES };
    for (const field of this.fields.querySelectorAll("input, select")) {
      if (field.value !== "") values[field.name] = field.name === "model" ? field.value : Number(field.value);
    }
    return values;
  }

  async run(signal) {
    this.clear(prompt.value);
    this.tell("Waiting …");
    const begun = performance.now();
    try {
      let finish = null;
      for await (const chunk of stream(this.parameters(), signal)) {
        const [choice] = chunk.choices;
        this.add(choice);
        finish = choice.finish_reason ?? finish;
        const seconds = (performance.now() - begun) / 1000;
        this.tell(`${this.tokens.length} tokens · ${(this.tokens.length / seconds).toFixed(1)} a second`);
      }
      if (finish === "stop") this.tell(`${this.state.textContent} · the document ends here`);
    } catch (error) {
      if (error.name === "AbortError") this.tell(`${this.tokens.length} tokens · stopped`);
      else this.tell(error.message, true);
    }
  }

  /** Appends what a chunk brings. A token's characters may come later than the token. */
  add({ text, logprobs }) {
    this.characters.push(...text);
    logprobs.tokens.forEach((name, place) => {
      const probability = Math.exp(logprobs.token_logprobs[place]);
      const span = document.createElement("span");
      span.className = `token p${TINTS.filter((least) => probability >= least).length}`;
      this.made.append(span);
      this.spans.push(span);
      const others = Object.entries(logprobs.top_logprobs[place]).sort((a, b) => b[1] - a[1]);
      this.tokens.push({ name, probability, others, start: logprobs.text_offset[place] });
    });
    const low = this.text.scrollHeight - this.text.scrollTop - this.text.clientHeight < 40;
    for (let place = this.filled; place < this.spans.length; place++) {
      const end = this.tokens[place + 1]?.start ?? Infinity;
      const shown = this.characters.slice(this.tokens[place].start, end).join("");
      this.spans[place].textContent = shown;
      this.spans[place].classList.toggle("line", shown === "\n");
      if (end <= this.characters.length) this.filled = place + 1;
    }
    if (low) this.text.scrollTop = this.text.scrollHeight;
  }

  /** Moves along the tokens that show something. */
  move(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const jump = { Home: [0, 1], End: [this.spans.length - 1, -1] }[event.key];
    if (!step && !jump) return;
    event.preventDefault();
    let [place, by] = jump ?? [this.chosen + step, step];
    while (this.spans[place] && !this.spans[place].textContent) place += by;
    this.show(place);
    this.spans[this.chosen]?.scrollIntoView({ block: "nearest" });
  }

  show(place) {
    if (!this.spans[place]) return;
    this.spans[this.chosen]?.classList.remove("chosen");
    this.chosen = place;
    this.spans[place].classList.add("chosen");
    const { name, probability, others } = this.tokens[place];
    this.inspector.hidden = false;
    this.inspector.querySelector("h2").replaceChildren(code(name), ` ${percent(probability)}`);
    this.inspector.querySelector("tbody").replaceChildren(
      ...others.map(([other, logprob]) => {
        const row = document.createElement("tr");
        row.classList.toggle("taken", other === name);
        const meter = Object.assign(document.createElement("meter"), { max: 1, value: Math.exp(logprob) });
        meter.setAttribute("aria-label", percent(Math.exp(logprob)));
        for (const content of [code(other), meter, percent(Math.exp(logprob))]) row.insertCell().append(content);
        return row;
      }),
    );
  }
}

function code(name) {
  const element = document.createElement("code");
  element.textContent = name.replaceAll("\n", "↵").replaceAll("\t", "⇥").replaceAll(" ", "␣");
  return element;
}

function percent(probability) {
  const value = 100 * probability;
  return value >= 99.95 ? "100 %" : value >= 0.1 ? `${value.toFixed(1)} %` : "< 0.1 %";
}

async function ask(path, options = {}) {
  const secret = byId("secret").value;
  const headers = { "content-type": "application/json", ...(secret && { authorization: `Bearer ${secret}` }) };
  const answer = await fetch(path, { ...options, headers });
  if (answer.ok) return answer;
  if (answer.status === 401) byId("key").hidden = false;
  const body = await answer.json().catch(() => null);
  throw new Error(body?.error?.message ?? `The server answers ${answer.status}.`);
}

/** Yields the chunks of a stream of server-sent events. */
async function* stream(parameters, signal) {
  const answer = await ask("/v1/completions", { method: "POST", body: JSON.stringify(parameters), signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      if (!event.startsWith("data: ") || event === "data: [DONE]") continue;
      const chunk = JSON.parse(event.slice(6));
      if (chunk.error) throw new Error(chunk.error.message);
      yield chunk;
    }
  }
}

let panes = [];

async function begin() {
  const models = (await (await ask("/v1/models")).json()).data.map((model) => model.id);
  panes = [new Pane(models), new Pane(models)];
  if (models.length > 1) panes[1].fields.elements.model.value = models[1];
  else panes[1].fields.elements.temperature.value = 0;
  byId("panes").replaceChildren(...panes.map((pane) => pane.section));
  compare();
}

function compare() {
  const two = byId("compare").checked;
  byId("panes").classList.toggle("two", two);
  panes[1].section.hidden = !two;
  panes[0].name(two ? "A" : "");
  panes[1].name(two ? "B" : "");
}

async function go() {
  if (!byId("form").reportValidity()) return;
  stopping?.abort();
  const own = (stopping = new AbortController());
  byId("stop").disabled = false;
  try {
    if (!panes.length) await begin();
    await Promise.all(panes.filter((pane) => !pane.section.hidden).map((pane) => pane.run(own.signal)));
  } catch (error) {
    byId("panes").textContent = error.message;
  }
  if (own === stopping) byId("stop").disabled = true;
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  go();
});
byId("stop").addEventListener("click", () => stopping?.abort());
byId("compare").addEventListener("change", compare);
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) go();
  if (event.key === "Escape") stopping?.abort();
});
prompt.setSelectionRange(prompt.value.length, prompt.value.length);
begin().catch((error) => (byId("panes").textContent = error.message));
