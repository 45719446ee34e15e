/* The page of errors: paste a message, and see which entries say it.

An entry's texts have holes, as {name} and …, where a message has what is one's own. Numbers are
holes too. What an entry is worth is how many letters between its holes are in the message, times
the share of its letters that are. If no text fits, the entries with the message's rarest words are
shown. */

const SHOWN = 3;
const HOLE = /\{[^{}]*\}|…|\d+/;
const BARE = /[\s'"`‘’“”]+/g;

const bare = (text) => text.toLowerCase().replace(BARE, " ");
const wordsOf = (text) => new Set(bare(text).split(HOLE).join(" ").match(/[\p{L}_]{3,}/gu) ?? []);

/** What an entry says, and what helps: the paragraphs up to the next heading. */
function entryOf(heading) {
  const texts = [heading.querySelector("code").textContent];
  const help = [];
  for (let next = heading.nextElementSibling; next && !/^H[1-6]$/.test(next.tagName); next = next.nextElementSibling) {
    const literal = next.querySelector(":scope > code:only-child");
    if (literal && literal.textContent === next.textContent) texts.push(literal.textContent);
    else if (next.tagName === "P") help.push(next);
  }
  return { heading, texts, help, words: wordsOf(texts.join(" ")) };
}

/** How well a text with holes fits a message. */
function fit(text, message) {
  const pieces = bare(text).split(HOLE).map((piece) => piece.trim()).filter((piece) => piece.length > 3);
  const letters = (some) => some.reduce((sum, piece) => sum + piece.length, 0);
  const said = letters(pieces.filter((piece) => message.includes(piece)));
  return said === 0 ? 0 : (said * said) / letters(pieces);
}

/** The entries that a message may come from, the likeliest first. */
function found(entries, text) {
  const message = bare(text);
  const ranked = (value) =>
    entries
      .map((entry) => ({ entry, worth: value(entry) }))
      .filter(({ worth }) => worth > 0)
      .sort((one, other) => other.worth - one.worth);
  const fitting = ranked(({ texts }) => Math.max(...texts.map((each) => fit(each, message))));
  if (fitting.length > 0 && fitting[0].worth >= 10) {
    return fitting.filter(({ worth }) => worth > fitting[0].worth / 2).map(({ entry }) => entry);
  }
  const asked = [...wordsOf(text)];
  const rarity = (word) => 1 / (1 + entries.filter(({ words }) => words.has(word)).length);
  return ranked(({ words }) => asked.reduce((sum, word) => sum + (words.has(word) ? rarity(word) : 0), 0)).map(
    ({ entry }) => entry,
  );
}

/** A line of the list: a link to the entry, and what helps. */
function line({ heading, help }) {
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = `#${heading.id}`;
  link.append(heading.querySelector("code").cloneNode(true));
  item.append(link, ...help.map((paragraph) => paragraph.cloneNode(true)));
  return item;
}

const finder = document.querySelector(".error-finder");
const [message, list, none] = ["textarea", "ol", "p"].map((kind) => finder.querySelector(kind));
const entries = [...document.querySelectorAll("article :is(h3, h4)[id]")].filter((one) => one.querySelector("code")).map(entryOf);

function show() {
  const seen = message.value.trim() === "" ? [] : found(entries, message.value).slice(0, SHOWN);
  list.replaceChildren(...seen.map(line));
  none.hidden = seen.length > 0 || message.value.trim() === "";
}

finder.hidden = false;
message.addEventListener("input", show);
show(); // the browser may have kept what was typed
