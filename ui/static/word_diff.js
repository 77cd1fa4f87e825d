// Which words an edit takes out and puts in, fast enough for every key: what both texts begin and end with is set aside,
// and of the rest the longest common sequence of words is kept. White space never differs by itself.

// Written without spaces: each letter counts as a word.
const SINGLE = "\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Thai}";
const TOKEN = new RegExp(`[${SINGLE}]|(?:(?![${SINGLE}])[\\p{L}\\p{N}\\p{M}_])+|\\S`, "gu");
const MAX_CELLS = 400_000; // words times words; a longer rest is told as taken out and put in whole

// [{kind: "same" | "out" | "in", text, words}]; those that are not "in" joined are `before`, those not "out" are `after`,
// but for white space.
export function diffWords(before, after) {
  const [a, b] = [split(before), split(after)];
  let start = 0;
  while (start < a.length && start < b.length && a[start].word === b[start].word) start += 1;
  let end = 0;
  const most = Math.min(a.length, b.length) - start;
  while (end < most && a[a.length - 1 - end].word === b[b.length - 1 - end].word) end += 1;
  const [left, right] = [a.slice(start, a.length - end), b.slice(start, b.length - end)];
  const found = [["same", b.slice(0, start)], ...diffMiddle(left, right), ["same", b.slice(b.length - end)]];
  return found.filter(([, tokens]) => tokens.length).map(([kind, tokens]) => ({
    kind, text: tokens.map(({ text }) => text).join(""), words: tokens.length,
  }));
}

// Words, each with the white space after it.
function split(text) {
  const found = [...text.matchAll(TOKEN)];
  const ends = [...found.slice(1).map((match) => match.index), text.length];
  return found.map((match, i) => ({ word: match[0], text: text.slice(match.index, ends[i]) }));
}

function diffMiddle(a, b) {
  if (a.length * b.length > MAX_CELLS) return [["out", a], ["in", b]];
  const width = b.length + 1;
  const common = new Uint32Array((a.length + 1) * width); // of what follows in both
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      const [at, below] = [i * width + j, (i + 1) * width + j];
      common[at] = a[i].word === b[j].word ? common[below + 1] + 1 : Math.max(common[below], common[at + 1]);
    }
  }
  const found = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    const [out, put, same] = [[], [], []];
    while ((i < a.length || j < b.length) && !(i < a.length && j < b.length && a[i].word === b[j].word)) {
      if (j === b.length || (i < a.length && common[(i + 1) * width + j] >= common[i * width + j + 1])) out.push(a[i++]);
      else put.push(b[j++]);
    }
    for (; i < a.length && j < b.length && a[i].word === b[j].word; i += 1) same.push(b[j++]);
    found.push(["out", out], ["in", put], ["same", same]);
  }
  return found;
}
