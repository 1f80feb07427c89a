// Ratchet's page: reads /ratchet/jobs, asks Airflow's own REST API as the person who is logged in, draws both.

const REFRESH_SECONDS = 5;
const PLACE = new URL(".", location.href);
const AIRFLOW = new URL("..", PLACE);
const QUERY = new URLSearchParams(location.search);
const FROM_DAG = (QUERY.get("dag_id") || "").match(/^(.+)\.(collect|sync|learn|rollback)$/);
const RUN = QUERY.get("run_id");
const DASH = "–";

const page = {
  job: QUERY.get("job") || (FROM_DAG ? FROM_DAG[1] : null),
  list: null,       // what /jobs says
  data: null,       // what /jobs/JOB says
  tag: null,        // under which tag
  runs: null,       // what Airflow says of its unfinished runs, or {trouble}
  trouble: "",      // why the last reading failed
  metric: null,
  classes: null,    // {metric, tag, values} once somebody asked for them
  perClass: false,
  shown: 8,         // decisions in the table
};

// ---------------------------------------------------------------- small tools

const at = id => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat(3).filter(child => child !== null && child !== undefined && child !== false));
  return node;
}
const h = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);
const svg = (name, attributes, ...children) => fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
const wide = (node, share) => { node.style.width = `${100 * share}%`; return node; };

const isNumber = value => typeof value === "number" && Number.isFinite(value);
const score = value => isNumber(value) ? value.toFixed(3) : DASH;
const signed = value => isNumber(value) ? `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}` : DASH;
const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
const percent = share => `${(100 * share).toFixed(0)} %`;
const sentence = text => text ? text[0].toUpperCase() + text.slice(1) : "";

function ago(time) {
  const seconds = (Date.now() - new Date(time)) / 1000;
  if (!Number.isFinite(seconds)) return DASH;
  if (seconds < 5) return "just now";
  const [length, unit] = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]].find(([size]) => seconds >= size);
  return `${count(Math.floor(seconds / length), unit)} ago`;
}
const when = time => h("time", {datetime: time, title: new Date(time).toLocaleString(), class: "nowrap"}, ago(time));

// ---------------------------------------------------------------- asking

class Refused extends Error {
  constructor(status, message, answer) { super(message); this.status = status; this.answer = answer; }
}

async function ask(address, options = {}) {
  let response;
  try {
    response = await fetch(address, {credentials: "same-origin", ...options});
  } catch {
    throw new Refused(0, "Airflow's API server does not answer.");
  }
  if (response.status === 304) return {tag: null, value: null};
  const text = await response.text();
  let value = null;
  try { value = text ? JSON.parse(text) : null; } catch { /* not JSON: told below */ }
  if (!response.ok) throw new Refused(response.status, words(value, text, response), value);
  return {tag: response.headers.get("ETag"), value};
}

// Airflow's detail is a sentence, a list of what is wrong with the request, or an object.
function words(value, text, response) {
  const detail = value && value.detail;
  if (typeof detail === "string") return detail;
  if (Array.isArray(detail)) return detail.map(part => `${(part.loc || []).slice(1).join(".")}: ${part.msg}`).join("; ");
  if (detail) return JSON.stringify(detail);
  return `${response.status} ${response.statusText} ${text.slice(0, 200)}`;
}

const ours = path => new URL(path, PLACE);
const airflow = (path, options) => ask(new URL(`api/v2/${path}`, AIRFLOW), options).then(answer => answer.value);
const post = (path, body) => airflow(path, {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)});
const part = text => encodeURIComponent(text);
const runPage = (dag, run, rest = "") => new URL(`dags/${part(dag)}/runs/${part(run)}${rest}`, AIRFLOW).href;

// ---------------------------------------------------------------- inside Airflow's frame

const outside = (() => {
  try { return window.parent !== window && window.parent.document ? window.parent.document : null; } catch { return null; }
})();

// Airflow's frame may neither open windows nor move its parent; the parent itself may.
function leave(event) {
  const link = event.target.closest("a[data-leave]");
  if (!link || !outside || event.defaultPrevented) return;
  event.preventDefault();
  const copy = outside.createElement("a");
  Object.assign(copy, {href: link.href, target: link.target || "_self", rel: "noopener"});
  outside.body.append(copy);
  copy.click();
  copy.remove();
}
document.addEventListener("click", leave);
const out = (href, text, {fresh = false, ...more} = {}) =>
  h("a", {href, "data-leave": true, target: fresh ? "_blank" : outside ? false : "_self", rel: fresh ? "noopener" : false, ...more}, text, fresh ? " ↗" : "");

function followTheme() {
  const root = document.documentElement;
  const chosen = () => {
    if (outside) return outside.documentElement.classList;
    const kept = localStorage.getItem("theme");
    return {contains: theme => theme === kept};
  };
  const follow = () => {
    const there = chosen();
    for (const theme of ["light", "dark"]) root.classList.toggle(theme, there.contains(theme));
  };
  follow();
  if (outside) new MutationObserver(follow).observe(outside.documentElement, {attributes: true, attributeFilter: ["class"]});
  else addEventListener("storage", follow);
}

// ---------------------------------------------------------------- verdicts: a shape, a colour and a word each

const VERDICTS = {promoted: "promoted", rejected: "rejected", undecided: "undecided", "rolled back": "back", asked: "asked"};
const kindOf = verdict => VERDICTS[verdict] || "asked";

function mark(kind, x, y, size = 5) {
  const s = size;
  const paths = {
    promoted: `M${x} ${y - s}L${x + s} ${y + s * .8}H${x - s}Z`,
    rejected: `M${x - s * .8} ${y - s * .8}L${x + s * .8} ${y + s * .8}M${x + s * .8} ${y - s * .8}L${x - s * .8} ${y + s * .8}`,
    undecided: `M${x} ${y - s}L${x + s} ${y}L${x} ${y + s}L${x - s} ${y}Z`,
    back: `M${x} ${y + s}L${x + s} ${y - s * .8}H${x - s}Z`,
    asked: `M${x - s * .7} ${y - s * .7}H${x + s * .7}V${y + s * .7}H${x - s * .7}Z`,
  };
  return svg("path", {class: `mark ${kind}`, d: paths[kind]});
}
const glyph = kind => svg("svg", {width: 14, height: 14, viewBox: "0 0 14 14", "aria-hidden": "true"}, mark(kind, 7, 7, 4.5));
const chip = (kind, text) => h("span", {class: `chip ${kind}`}, glyph(kind), text);

// ---------------------------------------------------------------- head

function head() {
  const data = page.data, list = page.list;
  const others = list ? list.jobs.map(job => job.name) : [];
  const name = h("div", {class: "name"},
    h("h1", {}, data ? data.name : "Ratchet"),
    h("p", {class: "quiet"}, data ? data.description : "Continual learning: what serves, what is learnt next, and what was decided."),
    h("div", {class: "elsewhere"},
      others.length > 1 && data && !FROM_DAG ? [switcher(others), h("a", {href: ours(".").href}, "All jobs")] : null,
      list && data ? [out(new URL(`dags/${data.name}.learn`, AIRFLOW).href, "Runs in Airflow"),
        out(list.label_studio, "Label Studio", {fresh: true}), out(list.inference, "Inference server", {fresh: true})] : null));
  at("head").replaceChildren(...[name, data && !data.refused.length ? actions() : null].filter(Boolean));
  document.title = data ? `${data.name} · Ratchet` : "Ratchet";
}

function switcher(names) {
  const select = h("select", {"aria-label": "Job", "data-key": "job", onchange: event => location.assign(ours(`?job=${part(event.target.value)}`))},
    names.map(name => h("option", {value: name, selected: name === page.job}, name)));
  return select;
}

function actions() {
  const {may, decisions, serving, counts, problems} = page.data;
  const anyModel = serving || decisions.length > 0;
  const unlabelled = !anyModel && !problems.length && !counts.labelled && "Nothing is labelled yet, so there is nothing to learn from.";
  const been = new Set(decisions.filter(d => ["promoted", "rolled back"].includes(d.verdict)).map(d => d.candidate));
  const denied = verb => `You may not start runs of ${page.job}.${verb}; ask Airflow's administrator.`;
  const button = (verb, text, open, hint, main) =>
    h("button", {type: "button", class: main ? "main" : false, "data-key": `do ${text}`, disabled: Boolean(hint), title: hint || false, onclick: open}, text);
  const learn = !may.learn && denied("learn");
  return h("div", {class: "actions"},
    button("learn", "Train now", trainDialog, learn || unlabelled, true),
    button("learn", "Evaluate", () => compareDialog("evaluate"), learn || (!anyModel && "There is no model version yet; train one first.")),
    button("learn", "Promote", () => compareDialog("promote"), learn || (!anyModel && "There is no model version yet; train one first.")),
    button("rollback", "Roll back", rollbackDialog,
      (!may.rollback && denied("rollback")) || (been.size < 2 && "Nothing else has ever served, so there is nothing to go back to.")));
}

// ---------------------------------------------------------------- notices

function notices() {
  const data = page.data, found = [];
  const notice = (alarm, ...content) => found.push(h("div", {class: alarm ? "notice alarm" : "notice"}, ...content));
  if (page.trouble) notice(true, page.trouble);
  if (data && data.refused.length) {
    notice(true, h("b", {}, `The file of this job cannot be used, so nothing of it runs. Mend it: `), h("code", {}, data.file),
      h("ul", {}, data.refused.map(problem => h("li", {}, problem))));
  }
  if (data && data.problems.length) {
    notice(true, h("b", {}, "Some things cannot be read now. What you see below is the rest; this page asks again by itself."),
      h("ul", {}, data.problems.map(problem => h("li", {}, problem))));
  }
  if (page.runs && page.runs.trouble) notice(false, `Airflow does not tell which runs are under way: ${page.runs.trouble}`);
  const key = found.map(node => node.textContent).join("\n");
  if (at("notices").dataset.key !== key) {
    at("notices").dataset.key = key;
    at("notices").replaceChildren(...found);
  }
}

// ---------------------------------------------------------------- now: four cards

const card = (title, ...content) => h("section", {class: "panel"}, h("h2", {}, title), ...content);

function bar(share, kind) {
  return h("div", {class: `bar ${kind || ""}`, "aria-hidden": "true"}, wide(h("i"), Math.max(0, Math.min(1, share))));
}

function cards() {
  return h("div", {class: "cards"}, serves(), next(), inProduction(), holdout());
}

function serves() {
  const {serving, problems} = page.data;
  if (!serving) {
    const unread = problems.some(problem => problem.startsWith("What serves"));
    return card("Serves", h("p", {class: "value"}, unread ? "Not known" : "Nothing yet"),
      h("p", {class: "quiet small"}, unread ? "See above." : "The first model that is trained and passes its gate will."));
  }
  const hand = serving.kind === "rollback";
  return card("Serves", h("p", {class: "value"}, serving.version, " ", h("small", {}, `promotion ${serving.number}`)),
    h("p", {class: "small"}, hand ? chip("back", "rolled back") : "promoted", " ", when(serving.at), ` by ${serving.actor}`,
      serving.instead_of ? `, instead of ${serving.instead_of}` : ""),
    hand ? h("p", {class: "small quiet"}, `“${serving.reason}”`) : null);
}

function next() {
  const {gate, training, pending} = page.data;
  if (training) {
    return card("Next training", h("p", {class: "value"}, "Training now"), h("div", {class: "bar busy", "aria-hidden": "true"}, h("i")),
      h("p", {class: "small"}, `from ${count(training.samples, "new label")}, since `, when(training.claimed_at), ". ",
        out(runPage(`${page.job}.learn`, training.run_id), "See the run")));
  }
  if (!gate) return card("Next training", h("p", {class: "value"}, "Not known"), h("p", {class: "quiet small"}, "See above."));
  const words = gate.met ? "The gate is open" : gate.met === null ? "Cannot be decided" : isNumber(gate.progress) ? percent(Math.floor(100 * gate.progress) / 100) : "Waits";
  return card("Next training",
    h("p", {class: "value"}, words, " ", gate.met || !isNumber(gate.progress) ? null : h("small", {}, "of the way")),
    isNumber(gate.progress) || gate.met ? bar(gate.met ? 1 : gate.progress, gate.met ? "full" : "") : null,
    h("p", {class: "small"}, sentence(gate.sentence), "."),
    isNumber(pending) && !gate.sentence.includes(String(pending)) ? h("p", {class: "small quiet"}, `${count(pending, "label")} that no training has used.`) : null);
}

function inProduction() {
  const {production, serving} = page.data;
  const title = "Precision in production";
  if (!production) return card(title, h("p", {class: "value"}, DASH), h("p", {class: "quiet small"}, serving ? "See above." : "Known once a model serves."));
  const found = production.metrics.precision, before = page.data.promoted_with.precision;
  if (!found) {
    return card(title, h("p", {class: "value"}, DASH),
      h("p", {class: "quiet small"}, `Not known yet: no image drawn by lot while ${production.version} serves has been labelled.`));
  }
  const put = (node, low, high = low) => { node.style.left = `${100 * low}%`; node.style.width = high > low ? `${100 * (high - low)}%` : ""; return node; };
  const scale = h("div", {class: "scale", role: "img", "aria-label": `${score(found.value)}, between ${score(found.low)} and ${score(found.high)}`},
    put(h("i", {class: "interval"}), found.low, found.high), put(h("i", {class: "estimate"}), found.value),
    isNumber(before) ? put(h("i", {class: "before", title: `${score(before)} when it was promoted`}, "▲"), before) : null, isNumber(before) && before > .9 ? null : h("i", {class: "one"}, "1"));
  return card(title, h("p", {class: "value number"}, found.value.toFixed(2), " ", h("small", {}, `${found.low.toFixed(2)} to ${found.high.toFixed(2)}`)), scale,
    h("p", {class: "small quiet"}, `95 % interval, from ${count(found.images, "image")} drawn by lot while ${production.version} serves`,
      isNumber(before) ? `; ${before.toFixed(2)} when it was promoted (▲).` : "."));
}

function holdout() {
  const {holdout: state} = page.data;
  if (!state) {
    const unread = page.data.problems.some(problem => problem.startsWith("The state of the holdout"));
    return card("Holdout", h("p", {class: "value"}, unread ? "Not known" : DASH), h("p", {class: "quiet small"}, unread ? "See above." : "Being read; there is much of it."));
  }
  if (!state.images && !state.decided) return card("Holdout", h("p", {class: "value"}, DASH), h("p", {class: "quiet small"}, "No labelled image is held out yet; the holdout is what candidates are judged on."));
  const low = state.due || state.left < .25;
  return card("Holdout", h("p", {class: "value number"}, percent(state.left), " ", h("small", {}, state.due ? "refresh due" : "of its error budget left")),
    bar(state.left, low ? "low" : ""), h("p", {class: "small"}, sentence(state.sentence), "."));
}

// ---------------------------------------------------------------- what is under way in Airflow

const DOES = {
  start: "begins", gate_train: "waits at the gate before training", curate: "checks and versions the labels", train: "trains",
  gate_evaluate: "waits at the gate before evaluation", evaluate: "evaluates", gate_promote: "waits at the gate before promotion",
  approve: "waits for a person’s word", promote: "promotes", deploy: "deploys", collect: "takes in images", push: "brings images to Label Studio",
  sync: "fetches labels", rollback: "rolls back",
};
const UNDER_WAY = ["running", "deferred", "awaiting_input", "queued", "scheduled", "up_for_retry", "up_for_reschedule", "restarting"];

async function readRuns(job) {
  const dags = ["learn", "rollback", "collect", "sync"].map(verb => `${job}.${verb}`);
  const [{dag_runs: runs}, {dag_runs: [last]}] = await Promise.all([
    post("dags/~/dagRuns/list", {dag_ids: dags, states: ["queued", "running"], order_by: "-run_after", page_limit: 20}),
    airflow(`dags/${part(dags[0])}/dagRuns?order_by=-run_after&limit=1`),
  ]);
  const failed = last && last.state === "failed" ? last : null;
  if (!runs.length) return {runs: [], tasks: [], questions: [], failed};
  const ids = runs.map(run => run.dag_run_id);
  const [{task_instances: tasks}, {hitl_details: questions}] = await Promise.all([
    post("dags/~/dagRuns/~/taskInstances/list", {dag_ids: dags, dag_run_ids: ids, state: UNDER_WAY, page_limit: 100}),
    airflow(`dags/${part(dags[0])}/dagRuns/~/hitlDetails?response_received=false&limit=50`),
  ]);
  const waiting = tasks.filter(task => ["gate_evaluate", "gate_promote"].includes(task.task_id) && task.state === "deferred");
  await Promise.all(waiting.map(async task => {
    const entry = `dags/${part(task.dag_id)}/dagRuns/${part(task.dag_run_id)}/taskInstances/${task.task_id}/xcomEntries/verdict?deserialize=true`;
    task.verdict = await airflow(entry).then(found => found.value, () => null);
  }));
  return {runs, tasks, questions: questions.filter(question => UNDER_WAY.includes(question.task_instance.state)), failed};
}

function underWay() {
  const {runs = [], tasks = [], questions = [], failed} = page.runs || {};
  if (!runs.length && !failed) return null;
  const rows = runs.map(run => {
    const own = tasks.filter(task => task.dag_id === run.dag_id && task.dag_run_id === run.dag_run_id);
    const question = questions.find(asked => asked.task_instance.dag_id === run.dag_id && asked.task_instance.dag_run_id === run.dag_run_id);
    const task = own.find(each => each.state !== "scheduled") || own[0];
    const verb = run.dag_id.slice(page.job.length + 1);
    const does = question ? question.subject : task ? DOES[task.task_id] || task.task_id : run.state === "queued" ? "waits to begin" : "runs";
    const link = question
      ? out(runPage(run.dag_id, run.dag_run_id, `/tasks/${part(question.task_instance.task_id)}/required_actions`), "Look at it and answer")
      : out(runPage(run.dag_id, run.dag_run_id), "See the run");
    const since = task && task.start_date && task.state !== "queued" ? task.start_date : run.start_date || run.queued_at;
    return h("div", {class: question ? "run asks" : "run"}, h("span", {class: "what"}, question ? "Asks for your word: " : `${sentence(verb)} `, does),
      h("span", {class: "quiet small"}, run.triggering_user_name ? `by ${run.triggering_user_name}` : run.run_type, since ? [", ", when(since)] : "",
        task && task.state === "up_for_retry" ? ", failed and is tried again" : ""), link,
      task && task.verdict ? h("span", {class: "quiet small verdict"}, `${sentence(task.verdict)}.`) : null);
  });
  if (failed) {
    rows.unshift(h("div", {class: "run failed"}, h("span", {class: "what"}, chip("rejected", "The newest learn run failed")),
      h("span", {class: "quiet small"}, when(failed.end_date || failed.run_after)), out(runPage(failed.dag_id, failed.dag_run_id), "See what failed, and clear it there to try again")));
  }
  rows.sort((one, other) => other.classList.contains("asks") - one.classList.contains("asks"));
  return h("section", {class: "panel", id: "under-way"}, h("div", {class: "top"}, h("h2", {}, "Under way in Airflow")), h("div", {class: "runs"}, rows));
}

// ---------------------------------------------------------------- the chart

const METRIC_WORDS = {ap: "AP (IoU above 0.33, pooled)", ap50: "AP50 (COCO’s mean over classes)", precision: "Precision", recall: "Recall", f1: "F1"};

// What each decision shows: the candidate's value, what it was compared with, and what serves after it.
function points(decisions, metric, values) {
  const known = {}; // the value that each version last had
  return decisions.map((decision, index) => {
    const given = values ? values.get(decision.run_id) : null;
    const candidate = values ? given && given.candidate : decision.metrics[metric];
    const against = values ? given && given.served : decision.compared[metric];
    const back = decision.verdict === "rolled back";
    const value = isNumber(candidate) ? candidate : back ? known[decision.candidate] : undefined;
    if (isNumber(value)) known[decision.candidate] = value;
    if (isNumber(against)) known[decision.served] = against;
    const serving = ["promoted", "rolled back"].includes(decision.verdict);
    const bound = !values && decision.bound && decision.bound.metric === metric && isNumber(against) ? against + decision.bound.least : undefined;
    return {decision, index, value, against: isNumber(against) ? against : undefined, bound, serving, kind: kindOf(decision.verdict)};
  });
}

function ticks(low, high, wanted) {
  const rough = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(factor => factor * power).find(size => size >= rough);
  const found = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + 1e-9; value += step) found.push(value);
  return {found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9))};
}

function chart(all, {room, height = 250, title, small = false}) {
  const values = all.flatMap(point => [point.value, point.against, point.bound]).filter(isNumber);
  if (!values.length) return h("p", {class: "quiet small"}, `No decision has measured this yet.`);
  const least = Math.min(...values), most = Math.max(...values), margin = Math.max(.01, (most - least) * .12);
  const low = Math.max(0, least - margin), high = Math.min(1, most + margin);
  const left = 40, top = 10, bottom = small ? 18 : 34, gap = small ? 9 : 16;
  const width = Math.max(room - left, all.length * gap + 24);
  const step = (width - 24) / Math.max(1, all.length);
  const x = index => 12 + step * (index + .5);
  const y = value => top + (height - top - bottom) * (high - value) / (high - low || 1);
  const {found, digits} = ticks(low, high, small ? 4 : 5);

  const axis = svg("svg", {class: "axis", width: left, height, "aria-hidden": "true"},
    found.map(value => svg("text", {class: "tick", x: left - 6, y: y(value) + 4, "text-anchor": "end"}, value.toFixed(digits))));

  let path = "", open = false, last = null;
  for (const point of all) {
    const enter = isNumber(point.against) ? point.against : last;
    const go = (value) => { path += `${open ? "L" : "M"}${x(point.index).toFixed(1)} ${y(value).toFixed(1)}`; open = true; last = value; };
    if (isNumber(enter)) go(enter);
    if (point.serving && isNumber(point.value)) go(point.value);
  }
  if (open) path += `L${(width - 4).toFixed(1)} ${y(last).toFixed(1)}`;

  const every = Math.max(1, Math.ceil((small ? 34 : 30) / step));
  const now = all.findLast(point => point.serving);
  const plot = svg("svg", {width, height, role: "group", "aria-label": `${title}: ${count(all.length, "decision")}, oldest first; arrow keys go from one to the next`},
    found.map(value => svg("line", {class: "grid", x1: 0, x2: width, y1: y(value), y2: y(value)})),
    svg("path", {class: "serving-line", d: path}),
    all.map(point => drawn(point, {x: x(point.index), y, step, height, bottom, now: point === now, small})),
    all.map(point => (all.length - 1 - point.index) % every ? null
      : svg("text", {class: "tick", x: x(point.index), y: height - bottom + 16, "text-anchor": "middle"}, point.decision.candidate || "")),
    small ? null : svg("text", {class: "tick", x: width / 2, y: height - 3, "text-anchor": "middle"}, "Candidates in the order in which they were decided"));
  const focusable = [...plot.querySelectorAll(".point")];
  if (focusable.length) focusable.at(-1).setAttribute("tabindex", "0");
  plot.addEventListener("keydown", event => {
    const move = {ArrowLeft: -1, ArrowRight: 1}[event.key], from = focusable.indexOf(document.activeElement);
    const to = focusable[from + move];
    if (!move || from < 0 || !to) return;
    event.preventDefault();
    document.activeElement.setAttribute("tabindex", "-1");
    to.setAttribute("tabindex", "0");
    to.focus();
  });
  const holder = h("div", {class: "plot"}, plot);
  requestAnimationFrame(() => { holder.scrollLeft = holder.scrollWidth; });
  return h("div", {class: "chart"}, axis, holder);
}

function drawn(point, {x, y, step, height, bottom, now, small}) {
  const {decision, value, against, bound, kind} = point;
  const place = isNumber(value) ? y(value) : isNumber(against) ? y(against) : height - bottom - 6;
  const lines = [
    `${decision.candidate}: ${decision.verdict}`,
    isNumber(value) ? `${score(value)}${isNumber(against) ? ` against ${score(against)} of ${decision.served}, ${signed(value - against)}` : decision.kind === "rollback" ? " when it was last measured" : ", nothing served before"}` : "not measured here",
    ...(isNumber(bound) ? [`gains at least ${signed(decision.bound.least)} with ${(100 * decision.bound.confidence).toPrecision(4)} % confidence`] : []),
    `by ${decision.actor}, ${ago(decision.at)}${decision.dataset_version ? `, on ${decision.dataset_version}` : ""}`,
  ];
  const group = svg("g", {class: "point", tabindex: "-1", role: "img", "aria-label": lines.join("; "), "data-key": `point ${decision.kind} ${decision.run_id}`},
    decision.run_id === RUN ? svg("rect", {class: "this-run", x: x - step / 2, width: step, y: 0, height: height - bottom}) : null,
    svg("rect", {x: x - step / 2, width: step, y: 0, height: height - bottom, fill: "transparent"}),
    isNumber(against) && isNumber(value) ? svg("line", {class: "stem", x1: x, x2: x, y1: y(against), y2: place}) : null,
    isNumber(bound) && isNumber(value) ? svg("path", {class: `bound ${kind}`, d: `M${x} ${place}V${y(bound)}M${x - 4} ${y(bound)}H${x + 4}`}) : null,
    isNumber(against) ? svg("circle", {class: "against", cx: x, cy: y(against), r: small ? 2 : 2.75}) : null,
    svg("circle", {class: "halo", cx: x, cy: place, r: small ? 7 : 10}),
    now ? svg("circle", {class: "serves-now", cx: x, cy: place, r: small ? 7 : 9.5}) : null,
    mark(kind, x, place, small ? 3.5 : 5));
  const show = () => tip(group, lines);
  for (const name of ["mouseenter", "focus"]) group.addEventListener(name, show);
  for (const name of ["mouseleave", "blur"]) group.addEventListener(name, () => tip(null));
  return group;
}

function tip(node, lines) {
  const box = at("tip");
  box.hidden = !node;
  if (!node) return;
  box.replaceChildren(h("b", {}, lines[0]), ...lines.slice(1).map(line => h("div", {}, line)));
  const target = node.querySelector(".halo").getBoundingClientRect(), own = box.getBoundingClientRect();
  const left = Math.min(Math.max(4, target.left + target.width / 2 - own.width / 2), innerWidth - own.width - 4);
  const above = target.top - own.height - 6;
  box.style.left = `${left}px`;
  box.style.top = `${above > 4 ? above : target.bottom + 6}px`;
}

function progress() {
  const {decisions} = page.data;
  const known = [...new Set(decisions.flatMap(decision => Object.keys(decision.metrics)))];
  const metrics = known.length ? Object.keys(METRIC_WORDS).filter(name => known.includes(name)).concat(known.filter(name => !METRIC_WORDS[name])) : [page.data.metric];
  const metric = metrics.includes(page.metric) ? page.metric : metrics.includes(page.data.metric) ? page.data.metric : metrics[0];
  const top = h("div", {class: "top"}, h("h2", {}, "Candidates against what served"), h("div", {class: "controls"},
    h("label", {class: "check small"}, h("input", {type: "checkbox", "data-key": "per class", checked: page.perClass, onchange: event => { page.perClass = event.target.checked; draw(); }}), "per class"),
    h("select", {"aria-label": "Metric", "data-key": "metric", onchange: event => { page.metric = event.target.value; draw(); }},
      metrics.map(name => h("option", {value: name, selected: name === metric}, METRIC_WORDS[name] || name)))));
  const panel = h("section", {class: "panel", id: "progress"}, top);
  if (!decisions.length) {
    panel.append(h("p", {class: "quiet"}, "No candidate has been decided on yet. Each will stand here with the model that served, measured on the same holdout."));
    return panel;
  }
  const room = Math.max(260, at("content").clientWidth - (innerWidth > 1024 ? 320 + 48 : 34));
  panel.append(h("p", {class: "quiet small"}, "Both models of a decision are measured on the same holdout; from one decision to the next it grows, and may be labelled anew."));
  panel.append(page.perClass ? multiples(metric) : chart(points(decisions, metric), {room, title: METRIC_WORDS[metric] || metric}), legend(decisions, metric));
  if (!page.perClass) panel.append(asTable(points(decisions, metric), metric));
  return panel;
}

function legend(decisions, metric) {
  const present = new Set(decisions.map(decision => decision.verdict));
  return h("div", {class: "legend"},
    Object.entries(VERDICTS).filter(([verdict]) => present.has(verdict)).map(([verdict, kind]) => h("span", {}, glyph(kind), verdict)),
    h("span", {}, svg("svg", {width: 14, height: 14, "aria-hidden": "true"}, svg("circle", {class: "against", cx: 7, cy: 7, r: 2.75})), "compared with"),
    !page.perClass && decisions.some(decision => decision.bound && decision.bound.metric === metric) ? h("span", {}, svg("svg", {width: 14, height: 14, "aria-hidden": "true"}, svg("path", {class: "bound promoted", d: "M7 1V12M3 12H11"})), "at least so much, by its confidence bound") : null,
    h("span", {}, svg("svg", {width: 22, height: 14, "aria-hidden": "true"}, svg("path", {class: "serving-line", d: "M0 7H22"})), "what serves"),
    h("span", {}, svg("svg", {width: 22, height: 22, viewBox: "-4 -4 22 22", "aria-hidden": "true"}, svg("circle", {class: "serves-now", cx: 7, cy: 7, r: 8})), "serves now"));
}

function asTable(all, metric) {
  return h("details", {class: "below", "data-key": "as table"}, h("summary", {}, "The same as a table"), h("div", {class: "scroll"}, h("table", {},
    h("thead", {}, h("tr", {}, ["Candidate", "Verdict", metric, "Compared with", "its value", "Delta", "Dataset", "When"].map((text, index) => h("th", {class: [2, 4, 5].includes(index) ? "right" : false}, text)))),
    h("tbody", {}, [...all].reverse().map(({decision, value, against}) => h("tr", {}, h("td", {}, decision.candidate), h("td", {}, decision.verdict),
      h("td", {class: "right number"}, score(value)), h("td", {}, decision.served || "nothing"), h("td", {class: "right number"}, score(against)),
      h("td", {class: "right number"}, isNumber(against) && isNumber(value) ? signed(value - against) : DASH), h("td", {}, decision.dataset_version || DASH), h("td", {}, when(decision.at))))))));
}

function multiples(metric) {
  const known = page.classes;
  if (!known || known.metric !== metric || known.tag !== page.tag) {
    if (!known || known.loading !== `${metric} ${page.tag}`) readClasses(metric);
    if (!known || !known.values || known.metric !== metric) return h("p", {class: "quiet"}, known && known.trouble ? `The values per class cannot be read: ${known.trouble}` : "Reading the evaluations …");
  }
  const columns = Math.max(1, Math.floor((at("content").clientWidth - 340) / 290));
  const room = Math.min(460, Math.max(250, (at("content").clientWidth - (innerWidth > 1024 ? 368 : 34)) / columns - 16));
  return h("div", {class: "multiples"}, Object.entries(known.values).map(([label, values]) => {
    const by = new Map(values.map(value => [value.run_id, value]));
    return h("div", {}, h("h3", {}, label), chart(points(page.data.decisions, metric, by), {room, height: 140, title: `${metric} of ${label}`, small: true}));
  }));
}

async function readClasses(metric) {
  const tag = page.tag, before = page.classes && page.classes.metric === metric ? page.classes.values : null;
  page.classes = {metric, tag: null, values: before, loading: `${metric} ${tag}`};
  try {
    const {value} = await ask(ours(`jobs/${part(page.job)}/classes?metric=${part(metric)}`));
    page.classes = {metric, tag, values: value};
  } catch (error) {
    page.classes = {metric, tag, values: null, trouble: error.message, loading: `${metric} ${tag}`};
  }
  draw();
}

// ---------------------------------------------------------------- decisions and requests

function decided() {
  const {decisions, requests} = page.data;
  const asked = new Map(requests.map(request => [request.run_id, request]));
  const done = new Set(decisions.map(decision => decision.run_id));
  const metric = page.data.metric;
  const rows = [
    ...decisions.map(decision => ({at: decision.at, row: () => decisionRow(decision, asked.get(decision.run_id), metric), run: decision.run_id})),
    ...requests.filter(request => !done.has(request.run_id)).map(request => ({at: request.at, row: () => requestRow(request), run: request.run_id})),
  ].sort((one, other) => new Date(other.at) - new Date(one.at));
  const panel = h("section", {class: "panel", id: "decisions"}, h("div", {class: "top"}, h("h2", {}, "Decisions and requests")));
  if (!rows.length) {
    panel.append(h("p", {class: "quiet"}, "Nothing has been decided or asked for yet."));
    return panel;
  }
  if (RUN && !rows.some(({run}) => run === RUN)) panel.append(h("p", {class: "quiet small"}, "This run has decided nothing and nobody asked for it by hand, as far as is known now."));
  const mine = RUN ? rows.filter(({run}) => run === RUN) : [];
  const shown = [...mine, ...rows.filter(row => !mine.includes(row))].slice(0, page.shown);
  panel.append(h("div", {class: "scroll"}, h("table", {class: "stacked"},
    h("thead", {}, h("tr", {}, ["Verdict", "Candidate", METRIC_WORDS[metric] ? metric.toUpperCase() : metric, "Why", "Who and when"].map(text => h("th", {scope: "col"}, text)))),
    h("tbody", {}, shown.map(({row}) => row())))));
  if (rows.length > shown.length) {
    panel.append(h("button", {type: "button", class: "plain", "data-key": "more", onclick: () => { page.shown += 20; draw(); }}, `Show more of ${rows.length}`));
  }
  return panel;
}

// A run on this machine's command line has no page in Airflow.
const runLink = (run, verb) => run.startsWith("cli__") ? h("span", {class: "quiet"}, "command line") : out(runPage(`${page.job}.${verb}`, run), "run");

function decisionRow(decision, request, metric) {
  const value = decision.metrics[metric], against = decision.compared[metric];
  const delta = isNumber(value) && isNumber(against) ? value - against : undefined;
  const reasons = decision.reasons.length > 1 ? h("ul", {}, decision.reasons.map(reason => h("li", {}, reason))) : decision.reasons[0] || "";
  return h("tr", {class: decision.run_id === RUN ? "this" : false},
    h("td", {}, chip(kindOf(decision.verdict), decision.verdict), decision.run_id === RUN ? h("div", {class: "small"}, "this run") : null),
    h("td", {class: "nowrap"}, h("b", {}, decision.candidate || DASH), h("div", {class: "quiet small"}, decision.served ? `${decision.kind === "rollback" ? "instead of" : "against"} ${decision.served}` : "nothing served")),
    h("td", {class: "number nowrap"}, isNumber(value) ? score(value) : DASH,
      isNumber(delta) ? h("div", {class: `small ${delta < 0 ? "down" : "up"}`}, signed(delta)) : null),
    h("td", {class: "small"}, reasons, request ? h("div", {class: "hand small"}, ...byHand(request, true, decision.reasons)) : null),
    h("td", {class: "small"}, decision.actor, h("div", {class: "nowrap"}, when(decision.at), " · ", runLink(decision.run_id, decision.kind === "rollback" ? "rollback" : "learn"))));
}

function requestRow(request) {
  const versions = [request.parameters.model_version || request.parameters.version, request.parameters.dataset_version && `on ${request.parameters.dataset_version}`,
    request.parameters.parent && `from ${request.parameters.parent}`].filter(Boolean).join(" ");
  return h("tr", {class: request.run_id === RUN ? "this" : false},
    h("td", {}, chip("asked", "asked")), h("td", {class: "nowrap"}, h("b", {}, request.verb), versions ? h("div", {class: "quiet small"}, versions) : null),
    h("td", {}, DASH), h("td", {}, ...byHand(request, false)),
    h("td", {class: "small"}, request.actor, h("div", {class: "nowrap"}, when(request.at), " · ", runLink(request.run_id, request.verb === "rollback" ? "rollback" : "learn"))));
}

const VERBS = {rollback: "roll back"};

function byHand(request, named = true, known = []) {
  const bypass = request.bypass.length ? `, bypassing the gate before ${request.bypass.join(" and ")}` : "";
  const what = named ? `By hand: ${request.actor} asked to ${VERBS[request.verb] || request.verb}${bypass}` : `By hand${bypass}`;
  return [what, !request.reason ? "; no reason given" : known.some(reason => reason.includes(request.reason)) ? "" : [": ", h("q", {}, request.reason)]];
}

// ---------------------------------------------------------------- samples per state

const STATES = [
  ["arrived", "not predicted yet"], ["passed", "not hard, or beyond the budget"], ["selected", "chosen, on the way to Label Studio"],
  ["pushed", "wait for people in Label Studio"], ["labelled", "with a label to learn from or judge by"],
  ["quarantined", "their label cannot be used as it is"], ["skipped", "people did not want to label them"],
];

function states() {
  const counts = page.data.counts;
  const total = Object.values(counts).reduce((sum, number) => sum + number, 0);
  const panel = h("section", {class: "panel", id: "states"}, h("div", {class: "top"}, h("h2", {}, "Images"), h("span", {class: "quiet small number"}, total ? count(total, "image") : "")));
  if (!total) {
    panel.append(h("p", {class: "quiet small"}, "No image has arrived yet."));
    return panel;
  }
  panel.append(h("div", {class: "stack", "aria-hidden": "true"}, STATES.map(([state], index) => counts[state] ? wide(h("i", {class: `s${index}`}), counts[state] / total) : null)),
    h("div", {class: "states"}, STATES.map(([state, words], index) => counts[state]
      ? [h("span", {class: `swatch s${index}`}), h("span", {}, state, h("div", {class: "quiet small"}, words)), h("span", {class: "number right"}, counts[state].toLocaleString("en"))] : null)));
  return panel;
}

// ---------------------------------------------------------------- the newest hard examples

const WITH_TASK = ["pushed", "labelled", "quarantined", "skipped"];
const imageOf = (example, width, template = false) => ours(`jobs/${part(page.job)}/samples/${example.id}/image?width=${width}${template ? "&template=true" : ""}`).href;

function overlay(example, {named = false} = {}) {
  const {width, height} = example, size = Math.max(width, height) / (named ? 44 : 20);
  const shape = (box, kind) => [
    svg("rect", {class: `box ${kind}`, x: box.x1, y: box.y1, width: box.x2 - box.x1, height: box.y2 - box.y1}),
    named ? svg("text", {class: kind, x: Math.min(box.x1, width - size * .55 * (box.label.length + 5)), y: kind === "predicted" ? Math.min(height - 2, box.y2 + size) : Math.max(size, box.y1 - size * .3),
      "font-size": size, "stroke-width": size / 4}, kind === "predicted" ? `${box.label} ${isNumber(box.score) ? box.score.toFixed(2) : ""}` : box.label) : null];
  return svg("svg", {viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true"},
    (example.labelled || []).map(box => shape(box, "labelled")), (example.predicted || []).map(box => shape(box, "predicted")));
}

function picture(example, options) {
  const image = h("img", {src: imageOf(example, options.named ? 1600 : 320), alt: "", loading: "lazy", width: example.width, height: example.height});
  const holder = h("span", {class: "picture"}, image, overlay(example, options));
  image.addEventListener("error", () => holder.append(h("span", {class: "lost"}, "The picture cannot be read from the object store.")));
  return holder;
}

const boxWords = (boxes, none) => boxes === null ? none : count(boxes.length, "box", "boxes");

let kept = {key: null, panel: null}; // drawn again only when they changed, or the pictures would flicker

function examples() {
  const found = page.data.examples, key = JSON.stringify([page.job, found]);
  if (kept.key !== key) kept = {key, panel: drawExamples(found)};
  return kept.panel;
}

function drawExamples(found) {
  const panel = h("section", {class: "panel", id: "examples"}, h("div", {class: "top"}, h("h2", {}, "Newest hard examples"),
    h("span", {class: "legend"}, h("span", {}, h("i", {class: "key predicted"}), "predicted"), h("span", {}, h("i", {class: "key labelled"}), "labelled"))));
  if (!found.length) {
    panel.append(h("p", {class: "quiet"}, "No image has been chosen as hard yet. What the served model is unsure of will stand here, with what it predicted and what people labelled."));
    return panel;
  }
  panel.append(h("div", {class: "examples"}, found.map((example, index) => h("button", {type: "button", class: "example", "data-key": `example ${example.id}`, onclick: () => lookDialog(index),
      "aria-label": `${example.name}, ${example.state}, hardness ${example.hardness.toFixed(2)}; enlarge`},
    picture(example, {}), h("span", {class: "caption"}, h("b", {}, h("span", {}, example.state), h("span", {class: "number"}, example.hardness.toFixed(2))),
      h("span", {class: "quiet"}, `${example.domain} · ${boxWords(example.predicted, "not predicted")}`, example.labelled ? ` → ${example.labelled.length}` : ""))))));
  return panel;
}

// ---------------------------------------------------------------- how to begin

function beginning() {
  const {counts, decisions, serving, name} = page.data;
  if (Object.values(counts).some(Boolean) || decisions.length || serving || page.data.problems.length) return null;
  return h("section", {class: "panel"}, h("div", {class: "top"}, h("h2", {}, "Nothing has arrived yet: how to begin")), h("ol", {},
    h("li", {}, "Put images into ", h("code", {}, `inbox/${name}/DOMAIN/`), " of the bucket; they are taken in within seconds. Or start from labelled ones: ", h("code", {}, `ratchet import ${name} PATH --format coco`), "."),
    h("li", {}, "Label in Label Studio what is chosen there."),
    h("li", {}, "As soon as the gate opens, the first model is trained, and serves. Or train earlier by hand, with ", h("b", {}, "Train now"), ".")));
}

// ---------------------------------------------------------------- dialogs

function dialog(title, body, foot, {wide: large = false} = {}) {
  const box = at("dialog");
  box.className = large ? "wide" : "";
  box.replaceChildren(h("div", {class: "head"}, h("h2", {id: "dialog-title"}, title), h("button", {type: "button", class: "plain", "aria-label": "Close", onclick: () => box.close()}, "✕")),
    h("div", {class: "body"}, body), ...(foot ? [h("div", {class: "foot"}, foot)] : []));
  if (!box.open) box.showModal();
  return box;
}
at("dialog").addEventListener("click", event => { if (event.target === at("dialog")) at("dialog").close(); });

const field = (label, input, hint) => h("label", {class: "field"}, h("span", {}, label), input, typeof hint === "string" ? h("small", {}, hint) : hint);

async function versions(title) {
  dialog(title, h("p", {class: "quiet"}, "Reading the versions …"));
  try {
    return (await ask(ours(`jobs/${part(page.job)}/versions`))).value;
  } catch (error) {
    if (at("dialog").open) dialog(title, h("p", {class: "notice alarm"}, `The versions cannot be read: ${error.message}`));
    return null;
  }
}

function modelOptions(models, empty) {
  const metric = page.data.metric, values = {};
  for (const decision of page.data.decisions) if (isNumber(decision.metrics[metric])) values[decision.candidate] = decision.metrics[metric];
  const words = model => [model.version, model.serves ? "serves now" : model.served ? "served before" : "",
    isNumber(values[model.version]) ? `${metric} ${score(values[model.version])}` : "", model.parent ? `from ${model.parent}` : "from scratch"].filter(Boolean).join(" · ");
  return [...(empty ? [h("option", {value: ""}, empty)] : []), ...models.map(model => h("option", {value: model.version}, words(model)))];
}
const datasetOptions = (datasets, empty) => [h("option", {value: ""}, empty), ...datasets.map(version => h("option", {value: version}, version))];

// A form whose `read` gives the conf of a run, or a sentence that says what is missing.
async function runDialog({title, verb, text, fields, read, word}) {
  const said = h("div", {role: "alert"});
  const start = h("button", {type: "submit", class: "main"}, word);
  const form = h("form", {onsubmit: async event => {
    event.preventDefault();
    const conf = read();
    if (typeof conf === "string") { said.replaceChildren(h("p", {class: "notice alarm"}, conf)); return; }
    start.disabled = true;
    said.replaceChildren();
    try {
      const run = await post(`dags/${part(`${page.job}.${verb}`)}/dagRuns`, {logical_date: null, conf});
      const paused = await airflow(`dags/${part(`${page.job}.${verb}`)}`).then(dag => dag.is_paused, () => false);
      dialog(title, [h("p", {}, "The run ", h("code", {}, run.dag_run_id), " was started."),
        paused ? h("p", {class: "notice"}, `The DAG ${page.job}.${verb} is paused: the run begins when somebody unpauses it.`) : null,
        h("p", {}, out(runPage(run.dag_id, run.dag_run_id), "See the run in Airflow"))],
      [h("button", {type: "button", onclick: () => at("dialog").close()}, "Close")]);
      refresh();
    } catch (error) {
      start.disabled = false;
      const why = error.status === 401 ? "You were logged out. Log in to Airflow again." : error.status === 403 ? `Airflow does not let you start this run: ${error.message}` : error.message;
      said.replaceChildren(h("p", {class: "notice alarm"}, why));
    }
  }}, h("div", {class: "body"}, text, fields, said), h("div", {class: "foot"},
    h("button", {type: "button", onclick: () => at("dialog").close()}, "Cancel"), start));
  const box = dialog(title, []);
  box.querySelector(".body").replaceWith(form);
  form.querySelector("select, textarea, input").focus();
}

const filled = pairs => Object.fromEntries(Object.entries(pairs).filter(([, value]) => value !== "" && value !== null && !(Array.isArray(value) && !value.length)));

async function trainDialog() {
  const title = "Train now", known = await versions(title);
  if (!known || !at("dialog").open) return;
  const {gate} = page.data, closed = !gate || gate.met !== true;
  const dataset = h("select", {}, datasetOptions(known.datasets, "What is labelled now, as a new version"));
  const parent = h("select", {}, modelOptions(known.models, known.models.some(model => model.serves) ? "The served one" : "None: from scratch"));
  const reason = h("textarea", {required: closed});
  await runDialog({title, verb: "learn", word: closed ? "Train past the gate" : "Train",
    text: h("p", {}, closed ? ["The gate before training is closed: ", gate ? gate.sentence : "it cannot be read", ". Training now bypasses it. The candidate is judged as always."] : "The gate before training is open. The candidate is judged as always."),
    fields: [field("Learn from", dataset), field("Start from", parent), field(closed ? "Reason (kept with your name)" : "Reason, if you like (kept with your name)", reason)],
    read: () => closed && !reason.value.trim() ? "A bypassed gate needs a reason."
      : filled({start_at: "train", bypass: closed ? ["train"] : [], reason: reason.value.trim(), dataset_version: dataset.value, parent: parent.value})});
}

async function compareDialog(verb) {
  const title = verb === "evaluate" ? "Evaluate" : "Promote", known = await versions(title);
  if (!known || !at("dialog").open) return;
  const model = h("select", {}, modelOptions(verb === "promote" ? known.models.filter(each => !each.serves) : known.models));
  const origin = h("small", {});
  const tell = () => {
    const chosen = known.models.find(each => each.version === model.value), served = (known.models.find(each => each.serves) || {version: null}).version;
    origin.textContent = !chosen || chosen.serves || chosen.parent === served ? ""
      : `${chosen.version} was trained from ${chosen.parent || "nothing"}, but ${served || "nothing"} serves now: the rule says no to that.`;
  };
  model.addEventListener("change", tell);
  tell();
  const dataset = h("select", {}, datasetOptions(known.datasets, "The newest version"));
  const reason = h("textarea", {});
  const force = h("input", {type: "checkbox"});
  const text = verb === "evaluate"
    ? "The version is compared with what serves on the holdout of a dataset version. Then it goes on: if the job’s rule says so, it is promoted."
    : "The version is compared with what serves. If the job’s rule says so, it serves from then on.";
  await runDialog({title, verb: "learn", word: title, text: h("p", {}, text, page.data.approval ? " This job also asks a person for their word." : ""),
    fields: [field("Version", model, origin), field("On the holdout of", dataset),
      verb === "promote" ? h("label", {class: "check"}, force, h("span", {}, "Promote even where the rule says no. This needs a reason.")) : null,
      field("Reason (kept with your name)", reason)],
    read: () => !model.value ? "There is no model version yet; train one first." : force.checked && !reason.value.trim() ? "A promotion against the rule needs a reason."
      : filled({start_at: verb, model_version: model.value, dataset_version: dataset.value, bypass: force.checked ? ["promote"] : [], reason: reason.value.trim()})});
}

async function rollbackDialog() {
  const title = "Roll back", known = await versions(title);
  if (!known || !at("dialog").open) return;
  const version = h("select", {}, modelOptions(known.models.filter(model => model.served && !model.serves)));
  const reason = h("textarea", {required: true});
  await runDialog({title, verb: "rollback", word: "Roll back", text: h("p", {}, `An earlier version serves again, at once, instead of ${page.data.serving ? page.data.serving.version : "what serves"}. Nothing is lost: it is a promotion of its own.`),
    fields: [field("Version", version), field("Reason (kept with your name)", reason)],
    read: () => !version.value ? "Nothing else has ever served." : !reason.value.trim() ? "A rollback needs a reason." : {version: version.value, reason: reason.value.trim()}});
}

function lookDialog(index) {
  const all = page.data.examples, example = all[index];
  const view = picture(example, {named: true}), image = view.querySelector("img");
  const boxes = h("input", {type: "checkbox", checked: true, onchange: event => view.classList.toggle("bare", !event.target.checked)});
  const template = h("input", {type: "checkbox", onchange: event => { image.src = imageOf(example, 1600, event.target.checked); }});
  const row = (name, value) => value === null || value === undefined ? null : [h("dt", {}, name), h("dd", {}, value)];
  const list = (boxesOf, kind) => boxesOf && boxesOf.length ? h("details", {}, h("summary", {}, `${sentence(kind)}: ${count(boxesOf.length, "box", "boxes")}`), h("table", {}, h("tbody", {},
    boxesOf.map(box => h("tr", {}, h("td", {}, box.label), h("td", {class: "right number"}, isNumber(box.score) ? box.score.toFixed(2) : ""),
      h("td", {class: "right number small quiet"}, [box.x1, box.y1, box.x2, box.y2].map(corner => Math.round(corner)).join(", "))))))) : null;
  const step = to => h("button", {type: "button", disabled: !all[to], onclick: () => lookDialog(to)}, to < index ? "Newer" : "Older");
  dialog(example.name, h("div", {class: "look"}, view, h("div", {},
    h("div", {class: "legend"}, h("span", {}, h("i", {class: "key predicted"}), "predicted, with its score"), h("span", {}, h("i", {class: "key labelled"}), "labelled")),
    h("p", {class: "below"}, h("label", {class: "check"}, boxes, "Boxes"), example.has_template ? h("label", {class: "check"}, template, "Its template instead") : null),
    h("dl", {class: "facts"}, row("State", example.state), row("Hardness", example.hardness.toFixed(3)), row("Chosen by", `${example.miner}, with probability ${Number(example.probability.toPrecision(3))}`),
      row("Predicted by", example.model_version || "nothing: no model served"), row("Labelled by", example.annotator), row("Domain", example.domain),
      row("Split", example.split === "train" ? "to train on" : "held out"), row("Size", `${example.width} × ${example.height} px`), row("Sample", h("code", {}, example.id.slice(0, 12)))),
    h("div", {class: "below"}, list(example.predicted, "predicted"), list(example.labelled, "labelled")))),
  [step(index - 1), step(index + 1), WITH_TASK.includes(example.state) ? out(ours(`jobs/${part(page.job)}/samples/${example.id}/task`).href, "Open in Label Studio", {fresh: true, class: "button"}) : null], {wide: true});
}

// ---------------------------------------------------------------- the list of jobs

function jobList() {
  const {jobs} = page.list;
  if (!jobs.length) return h("section", {class: "panel"}, h("p", {}, "There is no job that you may see. A job is one file in the jobs folder; Airflow’s administrator gives you read permission on its DAGs."));
  return h("section", {class: "panel"}, h("div", {class: "top"}, h("h2", {}, count(jobs.length, "job"))), h("div", {class: "scroll"}, h("table", {class: "stacked"},
    h("thead", {}, h("tr", {}, ["Job", "Serves", "Next training", "Last decision"].map(text => h("th", {scope: "col"}, text)))),
    h("tbody", {}, jobs.map(job => h("tr", {},
      h("td", {}, h("a", {href: ours(`?job=${part(job.name)}`).href}, h("b", {}, job.name)), h("div", {class: "quiet small"}, job.description)),
      ...(job.refused.length ? [h("td", {colspan: 3}, chip("rejected", "refused"), ` ${count(job.refused.length, "problem")} in its file: ${job.refused[0]}`)] : [
        h("td", {class: "nowrap"}, job.serving ? [h("b", {}, job.serving.version), " ", h("span", {class: "quiet small"}, when(job.serving.at))] : h("span", {class: "quiet"}, "nothing yet")),
        h("td", {}, job.training ? "training now" : job.gate ? [isNumber(job.gate.progress) ? bar(job.gate.progress, job.gate.met ? "full" : "") : null, h("span", {class: "small"}, sentence(job.gate.sentence))] : h("span", {class: "quiet"}, "not known")),
        h("td", {}, job.decision ? [chip(kindOf(job.decision.verdict), job.decision.verdict), ` ${job.decision.candidate} `, h("span", {class: "quiet small"}, when(job.decision.at))] : h("span", {class: "quiet"}, "none yet"))])))))));
}

// ---------------------------------------------------------------- drawing and reading, again and again

function draw() {
  const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.key : null;
  const moved = [...at("content").querySelectorAll(".plot")].map(plot => plot.scrollLeft);
  const opened = new Set([...at("content").querySelectorAll("details[open][data-key]")].map(node => node.dataset.key));
  tip(null);
  head();
  notices();
  const data = page.data;
  let content;
  if (data && data.refused.length) content = [];
  else if (data) content = [beginning(), underWay(), cards(), h("div", {class: "columns"}, progress(), states()), decided(), examples()];
  else if (page.list && !page.job) content = [jobList()];
  else if (page.trouble) content = [];
  else return;
  const [x, y] = [scrollX, scrollY];
  at("content").replaceChildren(...content.filter(Boolean));
  at("content").setAttribute("aria-busy", "false");
  for (const node of at("content").querySelectorAll("details[data-key]")) node.open = opened.has(node.dataset.key);
  scrollTo(x, y);
  const plots = [...at("content").querySelectorAll(".plot")];
  if (plots.length === moved.length) requestAnimationFrame(() => plots.forEach((plot, index) => { plot.scrollLeft = moved[index]; }));
  if (focused) for (const node of document.querySelectorAll("[data-key]")) if (node.dataset.key === focused) { node.focus({preventScroll: true}); break; }
}

async function readList() {
  const {tag, value} = await ask(ours("jobs"), {headers: page.listTag ? {"If-None-Match": page.listTag} : {}});
  if (!value) return false;
  [page.list, page.listTag] = [value, tag];
  if (!page.job && value.jobs.length === 1) page.job = value.jobs[0].name;
  return true;
}

async function readJob() {
  try {
    const {tag, value} = await ask(ours(`jobs/${part(page.job)}`), {headers: page.tag ? {"If-None-Match": page.tag} : {}});
    if (!value) return false;
    [page.data, page.tag] = [value, tag];
  } catch (error) {
    if (error.status !== 409) throw error;
    const {refused, file} = error.answer;
    const changed = !page.data || JSON.stringify(page.data.refused) !== JSON.stringify(refused);
    [page.data, page.tag] = [{name: page.job, description: "", refused, file, problems: []}, null];
    return changed;
  }
  return true;
}

async function readUnderWay() {
  const before = JSON.stringify(page.runs);
  try {
    page.runs = await readRuns(page.job);
  } catch (error) {
    page.runs = {trouble: error.status === 404 ? "it does not know the DAGs of this job yet. New ones appear there within a minute." : error.message};
  }
  return JSON.stringify(page.runs) !== before;
}

let reading = null, drawnAt = 0;
function refresh() {
  reading = reading || read().finally(() => { reading = null; });
  return reading;
}

async function read() {
  const trouble = page.trouble;
  let changed = false;
  try {
    if (!page.list || !page.job) changed = await readList();
    if (page.job) {
      changed = await readJob() || changed;
      if (!page.data.refused.length) changed = await readUnderWay() || changed;
    }
    page.trouble = "";
  } catch (error) {
    page.trouble = error.status === 401 || error.message === "Invalid JWT token"
      ? h("span", {}, "You were logged out. ", out(AIRFLOW.href, "Log in to Airflow again"))
      : error.status === 404 && FROM_DAG ? `${FROM_DAG[0]} is no DAG of a Ratchet job any more: ${error.message}`
      : error.status === 0 || error.status >= 500 ? `${error.message} This page tries again by itself${page.data ? "; what you see is what was known last" : ""}.` : error.message;
  }
  // Times on the page grow old even when nothing changes.
  const old = Date.now() - drawnAt > 60000;
  if (changed || old || String(trouble && trouble.textContent || trouble) !== String(page.trouble && page.trouble.textContent || page.trouble)) {
    drawnAt = Date.now();
    draw();
  }
}

async function loop() {
  for (;;) {
    if (!document.hidden) await refresh();
    await Promise.race([new Promise(done => setTimeout(done, REFRESH_SECONDS * 1000)),
      new Promise(done => document.hidden && document.addEventListener("visibilitychange", done, {once: true}))]);
  }
}

followTheme();
if (QUERY.get("dag_id") && !FROM_DAG) {
  at("content").replaceChildren(h("p", {class: "panel"}, `${QUERY.get("dag_id")} is not a DAG of a Ratchet job.`));
} else {
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; draw(); } });
  loop();
}
