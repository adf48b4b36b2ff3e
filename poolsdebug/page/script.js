// Everything that comes from the program is put on the page as text, never as
// markup.

const $ = (id) => document.getElementById(id);

// make makes an element with text, or with children.
function make(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...children);
  return e;
}

// say changes text only where it differs, so that selections stay.
function say(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, notation: "compact" }); // 1.23M

// time writes nanoseconds.
function time(ns) {
  if (!ns) return "0";
  const units = [[3600e9, "h"], [60e9, "min"], [1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]];
  const [size, unit] = units.find(([size]) => ns >= size) || units[5];
  return number.format(ns / size) + " " + unit;
}

const two = (n) => String(n).padStart(2, "0");

// clock writes the time of day, in 24 hours whatever the browser's language.
function clock(at, seconds) {
  const d = new Date(at);
  return two(d.getHours()) + ":" + two(d.getMinutes()) + (seconds ? ":" + two(d.getSeconds()) : "");
}

// rate writes a number a second.
const rate = (n) => (n >= 100 ? whole : number).format(n);

// --- the list ---

const states = { ".": "vacant", i: "idle", s: "idle, checked before use", h: "in use", v: "revoked, still in use", "!": "hung" };
let colours = {};
function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["ink", "idle", "work", "bad", "age0", "age1", "age2", "age3", "age4", "age5"]) {
    colours[name] = style.getPropertyValue("--" + name).trim();
  }
}

// A state has a shape beside its colour.
function cell(c, x, y, size, state, age) {
  const whole = () => c.fillRect(x, y, size, size);
  switch (state) {
    case ".":
      c.fillStyle = colours.idle;
      c.fillRect(x + size / 2 - 1, y + size / 2 - 1, 2, 2);
      break;
    case "i":
    case "s":
      c.strokeStyle = colours.idle;
      c.setLineDash(state === "s" ? [2, 2] : []);
      c.strokeRect(x + 0.5, y + 0.5, size - 1, size - 1);
      break;
    case "h":
      c.fillStyle = colours["age" + age];
      whole();
      break;
    case "v":
    case "!":
      c.fillStyle = c.strokeStyle = colours.bad;
      c.setLineDash([]);
      if (state === "v") whole();
      c.beginPath();
      c.moveTo(x + 1, y + 1);
      c.lineTo(x + size - 1, y + size - 1);
      c.moveTo(x + size - 1, y + 1);
      c.lineTo(x + 1, y + size - 1);
      if (state === "v") c.strokeStyle = colours.ink;
      c.stroke();
      break;
    default: // at work on it
      c.fillStyle = colours.work;
      c.beginPath();
      c.moveTo(x, y + size);
      c.lineTo(x + size, y + size);
      c.lineTo(x + size, y);
      c.fill();
  }
}

const size = 10, gap = 2;

// draw draws a row of slots, as wide as there is room.
function draw(row) {
  if (!row.visible || !row.slots) return;
  const canvas = row.canvas;
  const width = row.cell.clientWidth;
  const across = Math.max(Math.floor((width + gap) / (size + gap)), 1);
  const scale = devicePixelRatio || 1;
  const w = Math.min(across, row.slots.length) * (size + gap);
  const h = Math.ceil(row.slots.length / across) * (size + gap);
  if (canvas.width !== Math.round(w * scale) || canvas.height !== Math.round(h * scale)) {
    canvas.width = Math.round(w * scale);
    canvas.height = Math.round(h * scale);
    canvas.style.width = w + "px";
    canvas.style.height = h + "px";
  }
  const c = canvas.getContext("2d");
  c.setTransform(scale, 0, 0, scale, 0, 0);
  c.clearRect(0, 0, w, h);
  for (let i = 0; i < row.slots.length; i++) {
    cell(c, (i % across) * (size + gap), Math.floor(i / across) * (size + gap), size, row.slots[i], row.ages[i]);
  }
}

const rows = new Map();
const seen = new IntersectionObserver((all) => {
  for (const entry of all) {
    const row = [...rows.values()].find((r) => r.cell === entry.target);
    if (!row) continue;
    row.visible = entry.isIntersecting;
    draw(row);
  }
});

function addRow(name) {
  const row = { slots: "", ages: "", visible: false, badges: "" };
  const td = (label, kind) => make("td", { role: "cell", class: kind, "data-label": label });
  row.link = make("a", { href: "#" + encodeURIComponent(name) }, name);
  row.marks = make("div", {});
  row.head = make("th", { scope: "row", role: "rowheader" }, row.link, row.marks);
  row.canvas = make("canvas", { role: "img", width: 0, height: 10 }); // as high as a row of squares, before it is drawn
  row.cell = td("Connections", "slots");
  row.cell.append(row.canvas);
  row.held = td("in use", "number");
  row.waiting = td("waiting", "number");
  row.rate = td("uses/s", "number");
  row.wait = td("wait p99", "number");
  row.use = td("use p99", "number");
  row.tr = make("tr", { role: "row" }, row.head, row.cell, row.held, row.waiting, row.rate, row.wait, row.use);
  seen.observe(row.cell);
  rows.set(name, row);
  return row;
}

function badges(p) {
  const all = [];
  const add = (there, kind, text) => there && all.push([kind, text]);
  add(p.down, "bad", "opens fail");
  add(p.held >= p.size && p.waiting > 0, "bad", "exhausted");
  add(p.paused, "note", "paused");
  add(p.hung, "bad", p.hung + " hung");
  add(p.leaks, "bad", p.leaks + " leaks");
  add(p.lost, "bad", p.lost + " lost");
  add(p.misused, "bad", p.misused + " misused");
  add(p.unfinished, "bad", p.unfinished + " unfinished");
  return all;
}

function showList(all) {
  const body = $("list").tBodies[0];
  const filter = $("filter").value.toLowerCase();
  const there = new Set();
  let troubled = 0, at = null;
  for (const p of all) {
    there.add(p.name);
    const row = rows.get(p.name) || addRow(p.name);
    const marks = badges(p);
    if (marks.some(([kind]) => kind === "bad")) troubled++;
    if (JSON.stringify(marks) !== row.badges) {
      row.badges = JSON.stringify(marks);
      row.marks.replaceChildren(...marks.map(([kind, text]) => make("span", { class: "badge " + kind }, text)));
    }
    if (row.slots !== p.slots || row.ages !== p.ages) {
      row.slots = p.slots;
      row.ages = p.ages;
      row.canvas.setAttribute("aria-label", `${p.held} in use, ${p.idle} idle, ${p.opening} opening, of ${p.size}`);
      draw(row);
    }
    say(row.held, `${p.held} / ${p.size}`);
    say(row.waiting, whole.format(p.waiting));
    say(row.rate, rate(p.point.rate));
    say(row.wait, p.point.waits ? time(p.point.wait99_ns) : "–");
    say(row.use, p.point.use99_ns ? time(p.point.use99_ns) : "–");
    row.tr.classList.toggle("open", p.name === chosen());
    row.tr.hidden = !p.name.toLowerCase().includes(filter);
    const next = at ? at.nextSibling : body.firstChild;
    if (next !== row.tr) body.insertBefore(row.tr, next);
    at = row.tr;
  }
  for (const [name, row] of rows) {
    if (there.has(name)) continue;
    seen.unobserve(row.cell);
    row.tr.remove();
    rows.delete(name);
  }
  $("state").classList.remove("lost");
  say($("state"), `live: ${all.length} ${all.length === 1 ? "pool" : "pools"}` + (troubled ? `, ${troubled} in trouble` : ""));
}

function showLegend() {
  const items = [["i", 0, states.i], ["s", 0, states.s], ["h", 0, states.h], ["h", 2, "for 10 s"], ["h", 3, "1 min"], ["h", 4, "10 min"], ["h", 5, "1 h"],
    ["v", 0, states.v], ["o", 0, "opening, checking, closing"], ["!", 0, states["!"]], [".", 0, states["."]]];
  $("legend").replaceChildren(...items.map(([state, age, text]) => {
    const canvas = make("canvas", { width: 20, height: 20 });
    canvas.style.width = canvas.style.height = "10px";
    const c = canvas.getContext("2d");
    c.setTransform(2, 0, 0, 2, 0, 0);
    cell(c, 0, 0, 10, state, age);
    return make("span", {}, canvas, text);
  }));
}

// --- one pool ---

const chosen = () => {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
};

const charts = [
  { title: "Load", keys: ["held", "waiting"], names: ["in use", "waiting"], write: whole.format },
  { title: "Uses a second", keys: ["rate"], write: rate },
  { title: "Wait time", keys: ["wait50_ns", "wait99_ns"], names: ["p50", "p99"], write: time },
  { title: "Use time", keys: ["use50_ns", "use99_ns"], names: ["p50", "p99"], write: time },
];
const minute = 60e3; // all in milliseconds
const kept = 5 * minute, atLeast = 10e3; // what a chart shows
const steps = [5e3, 10e3, 15e3, 30e3, minute, 2 * minute, 5 * minute]; // between the times at its axis
const kinds = ["first", "second"];
let points = [];

// A chart's picture is 1000 wide and 100 high, and is stretched.
function makeCharts() {
  const ns = "http://www.w3.org/2000/svg";
  $("charts").replaceChildren(...charts.map((chart) => {
    const svg = document.createElementNS(ns, "svg");
    svg.setAttribute("viewBox", "0 0 1000 100");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const add = (tag, kind) => {
      const e = document.createElementNS(ns, tag);
      e.setAttribute("class", kind);
      svg.prepend(e);
      return e;
    };
    chart.lines = chart.keys.map((_, i) => add("polyline", kinds[i]));
    chart.marks = add("path", "marks");
    chart.most = make("span", { class: "most" });
    chart.now = chart.keys.map((_, i) => make("span", { class: kinds[i] }));
    chart.axis = make("div", { class: "axis" });
    const plot = make("div", { class: "plot" }, chart.most, make("span", { class: "least" }, "0"), chart.axis);
    plot.append(svg);
    return make("figure", {}, make("figcaption", {}, make("b", {}, chart.title), ...chart.now), plot);
  }));
}

function showCharts() {
  const newest = points.at(-1);
  const to = newest?.at ?? Date.now();
  const from = Math.min(points[0]?.at ?? to, to - atLeast);
  for (const chart of charts) {
    showAxis(chart, from, to);
    const most = Math.max(...points.flatMap((p) => chart.keys.map((key) => p[key])), 0);
    say(chart.most, most ? (chart.write !== time && most >= 1e6 ? compact.format(most) : chart.write(most)) : "");
    chart.keys.forEach((key, i) => {
      const line = points.map((p) => {
        const x = ((p.at - from) / (to - from)) * 1000;
        const y = most ? 100 - (p[key] / most) * 100 : 100;
        return x.toFixed(1) + "," + y.toFixed(1);
      });
      chart.lines[i].setAttribute("points", line.join(" "));
      const name = chart.names ? chart.names[i] + " " : "";
      say(chart.now[i], newest ? name + (chart.write === time && !newest[key] ? "–" : chart.write(newest[key])) : "");
    });
  }
}

// showAxis marks the minutes, or the seconds while there is no more than some of
// them, and writes the times that have room. A time that would not fit beside
// the right edge waits.
function showAxis(chart, from, to) {
  const width = chart.axis.clientWidth, x = (at) => (at - from) / (to - from);
  const room = (step) => (step < minute ? 60 : 40);
  const step = steps.find((step) => x(from + step) * width >= room(step)) || steps.at(-1);
  const every = Math.min(step, minute);
  let marks = "M0 0H1000";
  const told = [];
  for (let at = Math.ceil(from / every) * every; at <= to; at += every) {
    marks += `M${(x(at) * 1000).toFixed(1)} 0V100`;
    if (at % step === 0 && x(at) * width <= width - room(step) / 2) told.push(at);
  }
  chart.marks.setAttribute("d", marks);
  while (chart.axis.children.length > told.length) chart.axis.lastChild.remove();
  while (chart.axis.children.length < told.length) chart.axis.append(make("span", {}));
  told.forEach((at, i) => {
    chart.axis.children[i].style.left = x(at) * 100 + "%";
    say(chart.axis.children[i], clock(at, step < minute));
  });
}

// addPoint adds a point of the pool that has had its name since then: what is
// older is another's.
function addPoint(p, since) {
  if (points.length && points.at(-1).at >= p.at) return;
  points.push(p);
  points = points.filter((q) => q.at >= since && q.at > p.at - kept);
  showCharts();
}

// list fills a definition list, and leaves what has not changed.
function list(dl, pairs) {
  while (dl.children.length > pairs.length) dl.lastChild.remove();
  while (dl.children.length < pairs.length) dl.append(make("div", {}, make("dt", {}), make("dd", {})));
  pairs.forEach(([name, value], i) => {
    say(dl.children[i].firstChild, name);
    say(dl.children[i].lastChild, value);
  });
}

// Each stack keeps its element while it holds anything, so that what somebody
// selects, scrolls, opens or has the focus on is left alone.
const holders = new Map();
const others = make("p", { class: "none" });
let holdersOf;

function addHolder(stack) {
  const h = { text: document.createTextNode(""), ids: make("span", { class: "ids" }) };
  h.details = make("details", {}, make("summary", {}, h.text, h.ids), make("pre", {}, stack || "Its stack is known with Settings.TrackHolders."));
  holders.set(stack, h);
  return h;
}

function showHolders(pool) {
  const box = $("holders");
  if (holdersOf !== pool.name) {
    holdersOf = pool.name;
    holders.clear();
    box.replaceChildren(others);
  }
  const there = new Set(pool.holders.map((h) => h.stack));
  for (const [stack, h] of holders) {
    if (there.has(stack)) continue;
    h.details.remove();
    holders.delete(stack);
  }
  const all = pool.holders.map((p) => {
    const h = holders.get(p.stack) || addHolder(p.stack);
    const text = `${p.count} × ${p.place || "held"}, longest ${time(p.longest_ns)} `;
    if (h.text.data !== text) h.text.data = text;
    say(h.ids, p.ids.join(" ") + (p.count > p.ids.length ? " …" : ""));
    return h.details;
  });
  arrange(box, all, others);
  others.hidden = all.length > 0 && !pool.more;
  say(others, all.length ? `and ${pool.more} more, taken at other places` : "nobody");
}

// arrange puts elements into this order, before end. An element that is moved
// loses its selection, its focus and how far it is scrolled: those that stay
// are the ones in order that weigh most, what somebody reads more than all
// others.
function arrange(box, all, end) {
  const place = new Map([...box.children].map((e, i) => [e, i]));
  const selection = getSelection();
  const read = (e) => e.contains(document.activeElement) || (!selection.isCollapsed && selection.containsNode(e, true));
  const best = []; // the heaviest run in order that ends with each
  all.forEach((e, i) => {
    if (!place.has(e)) return;
    let before = -1;
    for (let j = 0; j < i; j++) {
      if (best[j] && place.get(all[j]) < place.get(e) && !(best[before]?.weight >= best[j].weight)) before = j;
    }
    best[i] = { weight: (best[before]?.weight ?? 0) + 1 + (e.open ? 1e3 : 0) + (read(e) ? 1e6 : 0), before };
  });
  let last = -1;
  best.forEach((b, i) => {
    if (!(best[last]?.weight >= b.weight)) last = i;
  });
  const stays = new Set();
  for (; last >= 0; last = best[last].before) stays.add(all[last]);
  for (const e of all.toReversed()) {
    if (!stays.has(e)) box.insertBefore(e, end);
    end = e;
  }
}

// What went wrong, and what operators did.
const bad = new Set(["open failed", "down", "leaked", "lost", "misused", "unfinished", "hung", "call failed"]);
const done = new Set(["paused", "resumed", "configured", "refresh", "revoked"]);

let shownEvents = "";
function showEvents(events) {
  const now = JSON.stringify(events);
  if (now === shownEvents) return;
  shownEvents = now;
  const items = events.map((e) => {
    const kind = bad.has(e.kind) && !(e.kind === "call failed" && e.reason) ? "bad" : done.has(e.kind) ? "note" : "";
    const item = make("li", {}, make("time", { datetime: e.at }, clock(e.at, true)), make("span", { class: kind }, e.text));
    if (e.stack) item.append(make("details", {}, make("summary", {}, "taken at"), make("pre", {}, e.stack)));
    return item;
  });
  $("events").replaceChildren(...(items.length ? items : [make("li", { class: "none" }, "nothing yet")]));
}

function showPool(pool) {
  $("detail").hidden = false;
  say($("name"), pool.name);
  const st = pool.stats;
  const closed = Object.entries(st.ClosedBy).filter(([, n]) => n).map(([reason, n]) => [`closed: ${reason}`, whole.format(n)]);
  const counters = ["Leases", "Waits", "WaitsFailed", "TimedOut", "PassedOver", "Refused", "Opened", "OpenErrors", "Closed", "Detached", "Leaks", "Lost", "Misused", "Unfinished", "Abandonments"];
  list($("counts"), [...counters.filter((name) => name in st).map((name) => [words(name), whole.format(st[name])]), ...closed,
    ["longest wait", time(st.Wait.MaxNanoseconds)], ["longest open", time(st.Open.MaxNanoseconds)], ["longest use", time(st.Use.MaxNanoseconds)]]);
  list($("settings"), Object.entries(pool.settings).sort().map(([name, value]) => [name, String(value)]));
  showHolders(pool);
  showEvents(pool.events);
  if (st.Paused === answered?.paused || !(performance.now() < answered?.until)) answered = null;
  if (answered?.pool !== pool.name) $("paused").setAttribute("aria-checked", st.Paused);
  if (document.activeElement !== form.size && form.dataset.pool !== pool.name) {
    form.dataset.pool = pool.name;
    form.size.value = pool.settings.Size;
  }
}

// words writes WaitsFailed as "waits failed".
const words = (name) => name.replace(/(?<=.)[A-Z]/g, " $&").toLowerCase();

function showTrouble(all) {
  const p = all.find((p) => p.name === chosen());
  say($("trouble"), !p ? (chosen() ? `There is no pool ${chosen()} now.` : "") : p.down ? "Opens fail: " + p.down : "");
  if (p) addPoint(p.point, p.since);
}

// --- actions ---

const form = $("actions");
let answered = null; // what an action made of the switch: the stream may still bring what was before it
const results = { resize: "resized", pause: "paused", resume: "resumed", refresh: "refresh has begun" };

async function act(what, pool = chosen()) {
  let result, ok = false;
  try {
    const answer = await fetch("action", { method: "POST", body: new URLSearchParams({ pool, do: what, size: form.size.value }) });
    ok = answer.ok;
    result = ok ? results[what] : await answer.text();
  } catch (err) {
    result = String(err);
  }
  if (pool !== chosen()) return; // another one was chosen meanwhile
  const output = form.querySelector("output");
  output.classList.toggle("bad", !ok);
  say(output, result);
  if (ok && (what === "pause" || what === "resume")) {
    answered = { pool, paused: what === "pause", until: performance.now() + 3000 };
    $("paused").setAttribute("aria-checked", answered.paused);
  }
}

form.addEventListener("submit", (e) => {
  e.preventDefault();
  act(e.submitter.value);
});

// To pause is confirmed, to resume is not.
const confirm = $("confirm");
$("paused").addEventListener("click", () => {
  if ($("paused").getAttribute("aria-checked") === "true") {
    act("resume");
    return;
  }
  confirm.dataset.pool = chosen();
  say($("confirm-title"), `Pause ${chosen()}?`);
  confirm.showModal();
});
$("cancel").addEventListener("click", () => confirm.close());
$("pause").addEventListener("click", () => {
  confirm.close();
  act("pause", confirm.dataset.pool);
});

// --- live ---

let source;
function connect() {
  source?.close();
  const name = chosen();
  points = [];
  shownEvents = "";
  $("detail").hidden = !name;
  if (name) {
    say($("name"), name);
    showCharts();
  }
  const live = "live" + (name ? "?pool=" + encodeURIComponent(name) : "");
  const mine = (source = new EventSource(live));
  const on = (event, f) => source.addEventListener(event, (e) => f(JSON.parse(e.data)));
  on("hello", (h) => (form.hidden = !h.actions));
  on("past", (past) => {
    points = past || [];
    showCharts();
  });
  on("pools", (all) => {
    showList(all);
    showTrouble(all);
  });
  on("pool", showPool);
  source.onerror = async () => {
    $("state").classList.add("lost");
    let why = "what is shown is old";
    // The browser tries again by itself, unless it was refused.
    const refused = mine.readyState === EventSource.CLOSED;
    if (refused) why = (await refusal(live)) || why;
    if (mine !== source) return; // another pool was chosen meanwhile
    say($("state"), `not connected: ${why}; trying again`);
    if (refused) setTimeout(() => mine === source && connect(), 3000);
  };
}

// refusal asks why a stream was refused, which an EventSource does not tell.
async function refusal(live) {
  const stop = new AbortController();
  const end = setTimeout(() => stop.abort(), 3000);
  try {
    const answer = await fetch(live, { signal: stop.signal });
    return answer.ok ? "" : (await answer.text()).trim();
  } catch {
    return "";
  } finally {
    clearTimeout(end);
    stop.abort(); // it may have been let in
  }
}

readColours();
showLegend();
makeCharts();
connect();
addEventListener("hashchange", () => {
  confirm.close();
  say(form.querySelector("output"), "");
  connect();
  if (chosen()) $("detail").focus();
});
$("filter").addEventListener("input", () => {
  const filter = $("filter").value.toLowerCase();
  for (const [name, row] of rows) row.tr.hidden = !name.toLowerCase().includes(filter);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  readColours();
  showLegend();
  rows.forEach(draw);
});
addEventListener("resize", () => {
  rows.forEach(draw);
  showCharts();
});
