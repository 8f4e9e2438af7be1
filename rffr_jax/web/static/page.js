// Sends files to /api/predict, one after another, and shows a card for each.

import { newCard, showAnswer, showProgress, showRefusal } from "/card.js";
import { button, element, save, sentence } from "/elements.js";
import { documents } from "/results.js";
import { status } from "/verdict.js";

const NOT_SCORED = "not scored";
// These refuse a file that may be scored another time.
const PASSING = [408, 429, 500, 502, 503, 504];
// These are waited for, if the answer says how long.
const BUSY = [429, 503];
const MOST_WAITS = 5;
const MOST_SECONDS = 60; // of one wait

const field = document.getElementById("file");
const drop = document.getElementById("drop");
const state = document.getElementById("state");
const answers = document.getElementById("answers");
const forAll = document.getElementById("all");
const entries = [];
const waiting = [];
let working = false;
let mostBytes = Infinity;

class Refusal extends Error {
  constructor(reason, passing = false) {
    super(reason);
    this.passing = passing;
  }
}

function add(files) {
  const added = [...files].map((file) => ({ file, card: newCard(file.name) }));
  forAll.hidden = false;
  answers.append(...added.map((entry) => entry.card));
  entries.push(...added);
  waiting.push(...added);
  if (!working) work();
}

async function work() {
  working = downloading.disabled = true;
  const done = [];
  for (let entry = waiting.shift(); entry; entry = waiting.shift()) {
    const more = waiting.length ? ` ${waiting.length} more wait.` : "";
    state.textContent = `${entry.file.name} is sent and scored …${more}`;
    done.push({ card: entry.card, status: await score(entry) });
  }
  working = false;
  downloading.disabled = !entries.some((entry) => entry.answer);
  state.textContent = `${done.length === 1 ? "1 file" : `${done.length} files`}: ${counted(done)}.`;
  const busyElsewhere = answers.contains(document.activeElement);
  if (!busyElsewhere) done[0].card.focus();
}

// Shows and keeps what becomes of one file; returns its status.
async function score(entry) {
  const { file, card } = entry;
  card.setAttribute("aria-busy", "true");
  try {
    const answer = await sent(file, card);
    entry.answer = answer;
    await showAnswer(card, answer, file);
    const [record] = answer.files;
    return status(record, record.threshold?.value);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    entry.refusal = error.message;
    const again = () => {
      delete entry.refusal;
      card.focus(); // the button goes
      waiting.push(entry);
      if (!working) work();
    };
    showRefusal(card, error.message, error.passing ? again : null);
    return NOT_SCORED;
  } finally {
    card.removeAttribute("aria-busy");
  }
}

function counted(done) {
  return ["fake", "real", "unknown", NOT_SCORED]
    .map((one) => [one, done.filter((entry) => entry.status === one).length])
    .filter(([, count]) => count)
    .map(([one, count]) => `${count} ${one}`)
    .join(", ");
}

// The answer to one file; a server that is busy is asked again after the seconds that it names.
async function sent(file, card) {
  if (!file.size) throw new Refusal("the file is empty");
  if (file.size > mostBytes)
    throw new Refusal(`the file is larger than ${mostBytes / 1e6} megabytes`);
  for (let waits = 0; ; waits++) {
    showProgress(card);
    const { response, answer } = await posted(file);
    if (response.ok) return answer;
    const seconds = BUSY.includes(response.status) ? Number(response.headers.get("Retry-After")) : 0;
    if (waits === MOST_WAITS || !(seconds > 0 && seconds <= MOST_SECONDS))
      throw new Refusal(answer.error, PASSING.includes(response.status));
    showProgress(card, `The server is busy; trying again in ${seconds} s.`);
    await new Promise((done) => setTimeout(done, 1000 * seconds));
  }
}

async function posted(file) {
  const body = new FormData();
  body.append("file", file, file.name);
  let response;
  try {
    response = await fetch("/api/predict", { method: "POST", body });
  } catch {
    throw new Refusal("the server does not answer, or the file cannot be read", true);
  }
  try {
    return { response, answer: await response.json() };
  } catch {
    throw new Refusal(`the server's answer, of status ${response.status}, is broken`, true);
  }
}

field.addEventListener("change", () => {
  add(field.files);
  field.value = ""; // so that the same file can be chosen once more
});

for (const name of ["dragenter", "dragover"])
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
for (const name of ["dragleave", "drop"])
  document.addEventListener(name, () => drop.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files.length) add(event.dataTransfer.files);
});

const downloading = button("Download all results (JSON)", () => {
  for (const [number, document] of documents(entries).entries())
    save(document, `predictions${number ? `-${number + 1}` : ""}.json`);
});
forAll.append(button("Print a report", () => window.print()), downloading);

// ---- what is said before an upload

async function sample(name) {
  const response = await fetch(`/samples/${name}`);
  add([new File([await response.blob()], name, { type: "image/png" })]);
}

function terms(health) {
  return [
    `Images: ${health.images.join(", ")}. Videos: ${health.videos.join(", ")}. ` +
      "The content of a file decides its kind, not its name.",
    `A file has at most ${health.most_bytes / 1e6} megabytes and is scored within ` +
      `${health.seconds_per_file} seconds. The largest faces are judged, at most ${health.most_faces} ` +
      `of a file, and ${health.frames_per_video} evenly spaced frames of a video.`,
  ];
}

function showNote(text) {
  const note = document.getElementById("note");
  note.textContent = sentence(text);
  note.hidden = !text;
}

function showHealth(health) {
  mostBytes = health.most_bytes;
  document.getElementById("terms").append(...terms(health).map((text) => element("p", {}, text)));
  document.getElementById("samples").append(
    ...Object.entries(health.samples).map(([name, title]) => button(`Try ${title}`, () => sample(name))));
  showNote(health.note);
}

const health = await fetch("/api/health").catch(() => null);
if (health?.ok) showHealth(await health.json());
else showNote("the server takes no files now; load this page again later");
