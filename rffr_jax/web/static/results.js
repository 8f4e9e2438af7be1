// The results of all files of the page as predictions.json.

// Files that were scored by one detector and one set of settings share a document; there is one
// unless the server changed. `entries` are the files in the order of their cards, each with an
// `answer` of the API or the reason of its `refusal`.
export function documents(entries) {
  const groups = new Map();
  for (const { answer } of entries) {
    if (!answer) continue;
    const { files, counts, ...about } = answer;
    const head = JSON.stringify(about, null, 2);
    groups.set(head, [...(groups.get(head) ?? []), ...files]);
  }
  const refused = entries
    .filter((entry) => entry.refusal)
    .map(({ file, refusal }) => ({ path: file.name, reason: refusal }));
  return [...groups].map(([head, files], number) => write(head, files, number ? [] : refused));
}

// In parts, since one text of all pictures may be longer than a browser allows.
function write(head, files, refused) {
  const counts = { real: 0, fake: 0, unknown: 0 };
  for (const file of files) counts[file.status] += 1;
  const rows = files.flatMap((file, number) => [number ? ",\n" : "", JSON.stringify(file)]);
  return new Blob([
    head.slice(0, -"\n}".length), ',\n  "files": [\n', ...rows, "\n  ],\n",
    `  "counts": ${JSON.stringify(counts)},\n  "not_scored": ${JSON.stringify(refused)}\n}\n`,
  ], { type: "application/json" });
}
