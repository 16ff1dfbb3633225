// What the widgets of Janus nodes say about themselves: settings that are left to the checkpoint, widgets that
// have no effect at present, and names of text fields where the canvas draws none.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { LastValues, nodeByExecutionId, openWorkflow, workflowOf } from "./janus_runs.js";

const OWN = -1; // left to the checkpoint, or to another setting
// Whose value OWN stands for, and the smallest value besides it; the same table as in nodes/own_values.py.
const SETTINGS = {
  guidance_scale: { whose: "checkpoint", least: 0 },
  temperature: { whose: "checkpoint", least: 0 },
  top_k: { whose: "checkpoint", least: 0 },
  top_p: { whose: "checkpoint", least: 0.01 },
  steps: { whose: "checkpoint", least: 1 },
  thought_temperature: { whose: "form", least: 0 },
  thought_top_k: { whose: "form", least: 0 },
  thought_seed: { whose: "seed", least: 0 },
};
const WORDS = {
  en: {
    checkpoint: "checkpoint's own",
    form: "form's own",
    seed: "same as seed",
    open: " (",
    colon: ": ",
    close: ")",
  },
  zh: {
    checkpoint: "checkpoint 自带值",
    form: "该方式自己的值",
    seed: "与种子相同",
    open: "（",
    colon: "：",
    close: "）",
  },
};
const LEAST_ROWS = 3;
const ROW_LETTERS = 45; // somewhat fewer than fit into a row of a new node
const UNKNOWN = Symbol("the value comes from another node");

const greedy = (value) => value("temperature") === 0;
// An answer that is not JSON is generated again with another temperature.
const greedyText = (value) => greedy(value) && [undefined, "text"].includes(value("answer_format"));
const preset = (value) => ![UNKNOWN, "ask the question below"].includes(value("task"));
const unguided = (value) => value("guidance_scale") === 1;
const unmasked = (value, linked) =>
  ["janus-4o", "janus-pro-r1"].includes(value("form")) || (value("form") === "auto" && !linked("mask"));
const draws = (value) => ["generate", "edit"].includes(value("task"));
const answers = (value) => value("task") === "understand";

const text = { question: preset, seed: greedyText, top_k: greedyText, top_p: greedyText, min_p: greedyText };
const image = { negative_prompt: unguided, seed: greedy, top_k: greedy, top_p: greedy };
// When a widget has no effect, by node. Such widgets are greyed; the front end greys the control of
// a seed with it.
const IDLE = {
  JanusUnderstand: {
    ...text,
    system_prompt: (value, linked) => linked("conversation"),
    history: (value, linked) => !linked("conversation"),
  },
  JanusCaptionFolder: text,
  JanusGenerate: image,
  JanusBestOf: image,
  JanusThinkAndDraw: {
    top_k: greedy,
    top_p: greedy,
    thought_top_k: (value) => value("thought_temperature") === 0,
  },
  JanusFlowSampler: { negative_prompt: unguided },
  JanusEdit: {
    top_k: greedy,
    top_p: greedy,
    source_scale: (value) => ["mask", "janus-pro-r1"].includes(value("form")),
    candidates: unmasked,
    strength: unmasked,
  },
  JanusAsk: { max_new_tokens: draws, seed: answers, guidance_scale: answers, temperature: answers },
};

const words = () => WORDS[app.extensionManager?.setting?.get("Comfy.Locale")] ?? WORDS.en;
const isOurs = (node) => node.comfyClass?.startsWith("Janus");
const canBeOwn = (widget) => widget.name in SETTINGS && widget.options?.min === OWN;

const isLinked = (node, name) =>
  node.inputs?.some((input) => (input.widget?.name ?? input.name) === name && input.link != null) ?? false;

function valueOf(node, name) {
  return isLinked(node, name) ? UNKNOWN : node.widgets.find((widget) => widget.name === name)?.value;
}

const taken = new LastValues(); // settings of the last runs
const shown = new WeakMap(); // those that a node shows
const settingsOf = (output) => output?.own?.at(-1);

/** Shows the settings of the last runs on the nodes of the open workflow. */
function showTaken() {
  taken.of(openWorkflow()).forEach((own, id) => shown.set(nodeByExecutionId(id) ?? {}, own));
  refreshAll();
}

async function keepTaken({ prompt_id, node, display_node, output }) {
  const own = settingsOf(output);
  if (!own) return;
  taken.of(await workflowOf(prompt_id)).set(String(display_node ?? node), own);
  showTaken();
}

/** A label without what is added to it in any language: front end 1.49 gives labels of former nodes to new ones. */
const withoutOwn = (label, whose) =>
  Object.values(WORDS).reduce((rest, { open, [whose]: own }) => rest.split(open + own)[0], label);

/** Says on a setting that it is the checkpoint's own, and after a run, which value that was. */
function labelOwn(widget, number) {
  const { whose } = SETTINGS[widget.name];
  // The widget's name in the user's language, or a name that the user gave it.
  const name = withoutOwn(widget.label ?? widget.name, whose);
  const { open, colon, close, [whose]: own } = words();
  const value = number === undefined ? "" : `${colon}${Number(number.toPrecision(4))}`;
  const label = widget.value === OWN ? `${name}${open}${own}${value}${close}` : name;
  if (widget.label !== label) widget.label = label;
}

/** Updates labels and grey of all widgets of a node. */
function refresh(node) {
  const own = shown.get(node) ?? {};
  for (const widget of node.widgets ?? []) {
    if (canBeOwn(widget)) labelOwn(widget, own[widget.name]);
    const idle = IDLE[node.comfyClass]?.[widget.name];
    if (!idle) continue;
    widget.disabled = idle(
      (name) => valueOf(node, name),
      (name) => isLinked(node, name),
    );
  }
  node.setDirtyCanvas?.(true, true);
}

/** The value to take for one between OWN and the smallest: a step from either leads to the other. */
function snapped(value, least, before) {
  if (value === OWN || value >= least) return value;
  if (before === OWN) return least;
  return before === least || value < 0 ? OWN : least;
}

/** Has a function called after a method of an object, which may not have it. */
function after(object, method, call) {
  const original = object[method];
  object[method] = function (...rest) {
    const result = original?.apply(this, rest);
    call(...rest);
    return result;
  };
}

function watch(node, widget) {
  let before = widget.value;
  after(widget, "callback", () => {
    if (canBeOwn(widget)) {
      const value = snapped(widget.value, SETTINGS[widget.name].least, before);
      if (value !== widget.value) widget.value = value;
      before = value;
    }
    refresh(node);
  });
}

const isField = (widget) => widget.element?.tagName === "TEXTAREA";

/** Has Nodes 2.0 show the first text of a field whole, and at least this many rows; users may enlarge it. */
function setRows(widget) {
  if (isField(widget) && !widget.element.readOnly)
    widget.options.rows = Math.max(LEAST_ROWS, Math.ceil(widget.element.value.length / ROW_LETTERS));
}

/** Draws the names of text fields into the gaps above them, and has empty fields show them. */
function drawNames(node, context) {
  if (node.flags?.collapsed || app.canvas?.low_quality) return;
  context.save();
  context.font = "10px Arial";
  context.fillStyle = LiteGraph.WIDGET_SECONDARY_TEXT_COLOR;
  context.textAlign = "left";
  for (const widget of node.widgets ?? []) {
    if (!isField(widget) || widget.hidden) continue;
    context.fillText(widget.label ?? widget.name, 16, widget.y + 8);
  }
  context.restore();
}

app.registerExtension({
  name: "Janus.Widgets",

  nodeCreated(node) {
    if (!isOurs(node)) return;
    for (const widget of node.widgets ?? []) {
      watch(node, widget);
      setRows(widget);
    }
    for (const event of ["onConfigure", "onConnectionsChange"])
      after(node, event, () => refresh(node));
    after(node, "onDrawForeground", (context) => drawNames(node, context));
    refresh(node);
  },

  afterConfigureGraph() {
    setTimeout(showTaken); // by then each node is in its graph
    taken.recall(settingsOf).then(showTaken);
  },

  setup() {
    api.addEventListener("executed", ({ detail }) => keepTaken(detail));
  },
});

function refreshAll() {
  const graphs = [app.rootGraph, ...(app.rootGraph?.subgraphs?.values() ?? [])];
  for (const graph of graphs) graph?.nodes?.filter(isOurs).forEach(refresh);
}
