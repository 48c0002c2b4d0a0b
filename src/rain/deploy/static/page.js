"use strict";

const NAMES = {
  original: "The picture",
  attacked: "The attacked picture",
  change: "What the attack changed",
  randomized: "After SRd: half of the size, at random",
  enhanced: "After DG: the details restored",
  difference: "What the defence changed, its shift included",
};
const KNOWS = {
  transfer: "This attacker knew the classifier alone, and nothing of the defence.",
  adaptive: "This attacker knew everything, and averaged over the draws of the defence.",
};

const find = (id) => document.getElementById(id);
const state = { file: null, about: null, label: null, busy: false };

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const title = (guess) => guess.name ?? `class ${guess.label}`;
const percent = (share) => `${(100 * share).toFixed(0)} %`;

function say(text, isError = false) {
  find("status").textContent = text;
  find("status").className = isError ? "error" : "";
}

function headers() {
  const token = find("token").value;
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function ask(path, file) {
  const form = new FormData();
  form.append("files", file, "picture");
  const answer = await fetch(path, { method: "POST", body: form, headers: headers() });
  if (!answer.ok) throw new Error(await fault(answer));
  return found(answer);
}

async function fault(answer) {
  if (answer.status === 401) find("secret").hidden = false;
  try {
    return (await answer.json()).detail;
  } catch {
    return `the service answered ${answer.status}`;
  }
}

// The answer comes line by line: how far the work is, then what was found.
async function found(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    rest += value ?? "";
    const lines = rest.split("\n");
    rest = lines.pop();
    for (const line of lines.map((text) => JSON.parse(text))) {
      if (line.error) throw new Error(line.error);
      if (line.found) return line.found;
      find("progress").hidden = false;
      find("progress").value = line.done / line.of;
    }
    if (done) throw new Error("the service stopped before it was ready");
  }
}

async function work(text, job) {
  if (state.busy) return;
  state.busy = true;
  setButtons();
  say(text);
  try {
    await job();
    say("");
  } catch (error) {
    say(error instanceof TypeError ? "The service cannot be reached." : sentence(error.message), true);
  } finally {
    state.busy = false;
    find("progress").hidden = true;
    find("progress").value = 0;
    setButtons();
  }
}

const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;

function setButtons() {
  for (const button of document.querySelectorAll("button")) button.disabled = state.busy;
  find("file").disabled = state.busy;
}

function bars(draws, label) {
  const width = 20;
  const plot = draw("svg", { viewBox: `0 0 ${width * draws.length} 64`, preserveAspectRatio: "none", role: "img" });
  const right = draws.filter((one) => one.label === label).length;
  plot.setAttribute("aria-label", `${right} of ${draws.length} draws say the same`);
  draws.forEach((one, place) => {
    const height = 62 * one.probability;
    const shape = { x: width * place + 2, y: 64 - height, width: width - 4, height };
    const bar = draw("rect", { ...shape, class: one.label === label ? "same" : "other" });
    bar.append(draw("title", {}, `${title(one)}, ${percent(one.probability)}`));
    plot.append(bar);
  });
  return make("div", { class: "bars" }, plot);
}

function card(heading, guess, held, more = []) {
  const kind = held === null ? "" : guess.label === held ? " right" : " wrong";
  const mark = held === null ? "" : guess.label === held ? " ✓" : " ✗";
  return make("div", { class: "said" }, make("h4", {}, heading), make("p", { class: `answer${kind}` }, `${title(guess)}${mark}`),
    make("p", { class: "soft" }, percent(guess.probability)), ...more);
}

function cards(look, held) {
  const label = held ?? look.bare.label;
  const { draws } = look.defended;
  const agree = draws.filter((one) => one.label === label).length;
  const others = [...new Set(draws.filter((one) => one.label !== label).map(title))];
  const more = [];
  if (draws.length > 1) {
    const rest = others.length ? `, others ${others.slice(0, 3).join(", ")}` : "";
    more.push(bars(draws, label));
    more.push(make("p", { class: "soft" }, `${agree} of ${draws.length} draws say ${nameOf(label, look)}${rest}.`));
  }
  if (look.defended.flagged !== undefined) {
    more.push(make("p", {}, alarm(look.defended)));
  }
  return [card("The classifier alone", look.bare, held), card(`Behind ${state.about.defense}`, look.defended, held, more)];
}

function alarm({ flagged, overrules }) {
  if (!overrules) return flagged ? "The detector flagged it: it should be refused." : "The detector did not flag it.";
  return flagged ? "The gate flagged it: the defence answers." : "The gate stayed shut: the classifier answers.";
}

function nameOf(label, look) {
  const all = [look.bare, look.defended, ...look.bare.top, ...look.defended.draws];
  const same = all.find((one) => one.label === label);
  return same ? title(same) : state.title;
}

function figures(pictures) {
  return Object.entries(pictures).map(([name, source]) => {
    const magnified = ["difference", "change"].includes(name) ? `, ${state.about.magnified} times as strong` : "";
    const text = `${NAMES[name] ?? name}${magnified}`;
    return make("figure", {}, make("img", { src: source, alt: text }), make("figcaption", {}, text));
  });
}

function plot(spectra) {
  const [width, height, left, bottom] = [520, 240, 44, 34];
  const lines = Object.entries(spectra);
  const levels = lines.flatMap(([, points]) => points.map(([, level]) => level));
  const [low, high] = [Math.floor(Math.min(...levels) / 10) * 10, Math.ceil(Math.max(...levels) / 10) * 10];
  const x = (radius) => left + radius * (width - left - 8);
  const y = (level) => 8 + ((high - level) / (high - low || 1)) * (height - bottom - 8);
  const picture = draw("svg", { viewBox: `0 0 ${width} ${height}`, class: "plot", role: "img", "aria-label": "Power against frequency" });
  for (let level = low; level <= high; level += 10) {
    picture.append(draw("line", { x1: left, x2: width - 8, y1: y(level), y2: y(level), class: "axis" }));
    picture.append(draw("text", { x: left - 6, y: y(level) + 4, "text-anchor": "end" }, String(level)));
  }
  picture.append(draw("text", { x: left, y: height - 8 }, "coarse"), draw("text", { x: width - 8, y: height - 8, "text-anchor": "end" }, "fine"));
  picture.append(draw("text", { x: 4, y: height - 8 }, "dB"));
  lines.forEach(([, points], place) => {
    const path = points.map(([radius, level], number) => `${number ? "L" : "M"}${x(radius).toFixed(1)} ${y(level).toFixed(1)}`);
    picture.append(draw("path", { d: path.join(""), class: `l${place}` }));
  });
  const key = lines.map(([name], place) =>
    make("li", {}, draw("svg", { viewBox: "0 0 24 12", class: "plot" }, draw("path", { d: "M0 6H24", class: `l${place}` })), ` ${NAMES[name] ?? name}`));
  return [make("h3", {}, "How much there is of coarse and of fine"), make("ul", { class: "key" }, ...key), picture];
}

function show(look) {
  state.label = look.bare.label;
  state.title = title(look.bare);
  find("clean").replaceChildren(...cards(look, null));
  find("steps").replaceChildren(...figures(look.pictures));
  find("spectra").replaceChildren(...plot(look.spectra));
  find("attacked").replaceChildren();
  find("answered").hidden = false;
  find("attacking").hidden = false;
}

function verdict(look) {
  const bare = look.bare.label === state.label;
  const defended = look.defended.label === state.label;
  if (bare && defended) return "Both hold.";
  if (defended) return "The classifier alone is fooled. The defence holds.";
  return bare ? "The defence is fooled. The classifier alone holds." : "Both are fooled.";
}

function showAttack(look, kind, levels) {
  const averaged = kind === "adaptive" ? `, ${state.about.averaged} draws a step` : "";
  const how = `PGD, ${state.about.steps} steps${averaged}, ${levels} of 255 levels. ${KNOWS[kind]}`;
  const block = make("section", { class: "case", "aria-label": KNOWS[kind] },
    make("p", { class: "verdict" }, verdict(look)), make("p", { class: "soft" }, how),
    make("div", { class: "pair" }, ...cards(look, state.label)), make("h3", {}, "Step by step"),
    make("div", { class: "pictures" }, ...figures(withoutOriginal(look.pictures))));
  find("attacked").prepend(block);
}

function withoutOriginal({ original, ...others }) {
  return others;
}

function choose(file, button = null) {
  for (const other of find("samples").children) other.setAttribute("aria-pressed", String(other === button));
  state.file = file;
  work("Looking at it ...", async () => show(await ask("/page/look", file)));
}

function attack(kind) {
  const levels = Number(find("eps").value);
  const text = kind === "adaptive" ? "Attacking through the defence ..." : "Attacking the classifier ...";
  work(text, async () => showAttack(await ask(`/page/attack/${kind}/${levels}`, state.file), kind, levels));
}

async function sample(number, button) {
  const answer = await fetch(`/page/samples/${number}`, { headers: headers() });
  if (answer.ok) choose(await answer.blob(), button);
}

async function begin() {
  const answer = await fetch("/page/about", { headers: headers() });
  if (answer.status === 401) {
    find("secret").hidden = false;
    return;
  }
  const about = await answer.json();
  state.about = about;
  find("secret").hidden = !find("token").value;
  const gate = about.gate ? `, with a gate of ${percent(about.gate)}` : "";
  find("about").textContent = `${about.classifier} behind ${about.defense}${gate}; ${about.draws} draws are averaged.`;
  find("cost").textContent = `Each makes ${about.steps} steps. Through the defence each step asks it ${about.averaged} times, so that it takes a while.`;
  find("samples").replaceChildren();
  for (let number = 0; number < about.samples; number += 1) {
    const button = make("button", { type: "button", "aria-pressed": "false", "aria-label": `Sample ${number + 1}` });
    button.append(make("img", { src: await thumbnail(number), alt: "" }));
    button.addEventListener("click", () => sample(number, button));
    find("samples").append(button);
  }
  find("samples").hidden = !about.samples;
}

async function thumbnail(number) {
  const answer = await fetch(`/page/samples/${number}`, { headers: headers() });
  return URL.createObjectURL(await answer.blob());
}

function listen() {
  find("file").addEventListener("change", (event) => event.target.files[0] && choose(event.target.files[0]));
  find("eps").addEventListener("input", (event) => { find("levels").textContent = event.target.value; });
  find("secret").addEventListener("submit", (event) => {
    event.preventDefault();
    begin();
  });
  for (const button of document.querySelectorAll("[data-kind]")) button.addEventListener("click", () => attack(button.dataset.kind));
  const drop = find("drop");
  for (const name of ["dragenter", "dragover"]) {
    drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) choose(event.dataTransfer.files[0]);
  });
}

listen();
begin().catch(() => say("The service cannot be reached.", true));
