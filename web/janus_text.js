// Shows the text of Janus nodes in a read-only field on the node, while it is generated and afterwards.
//
// Texts are neither saved with the workflow nor sent with the prompt, as those of ComfyUI's own text preview. But
// they are kept for each workflow while another is open, and taken from the server's history after a reload.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { addField, fieldOf } from "./janus_field.js";
import { formerOutputs, nodeByExecutionId, openWorkflow, workflowOf } from "./janus_runs.js";

const TEXT_NODES = [
  "JanusAsk",
  "JanusBestOf",
  "JanusCaptionFolder",
  "JanusChoose",
  "JanusScore",
  "JanusThinkAndDraw",
  "JanusUnderstand",
];
const FIELD_HEIGHT = 110; // minimum, in pixels
// Nodes that seldom have something to say: the field appears with the first text.
const NOTE_NODES = ["JanusEdit", "JanusLoad"];
const NOTE_HEIGHT = 52;

const texts = new Map(); // by workflow id, and by execution id of the node
const said = new Set(); // every text that a run has ended with, with its workflow's id
let running; // the run of which the server has last reported the start
let recalled; // the promise to have read the texts of former runs

function setText(node, text) {
  if (text && NOTE_NODES.includes(node?.type) && !fieldOf(node)) addField(node, NOTE_HEIGHT);
  const field = fieldOf(node);
  if (field) field.value = text;
}

/** The texts of a node, one per run, each with its note below: how answers ended. */
const textOf = ({ text, note = [] }) =>
  text.map((part, run) => (note[run] ? `${part}\n${note[run]}` : part)).join("\n\n");

function textsOf(workflow) {
  if (!texts.has(workflow)) texts.set(workflow, new Map());
  return texts.get(workflow);
}

/** Keeps the text of a node, and shows it if its workflow is open. */
async function updateText(run, id, text) {
  const workflow = await workflowOf(run);
  textsOf(workflow).set(String(id), text);
  if (workflow === openWorkflow()) setText(nodeByExecutionId(id), text);
}

async function onExecuted({ prompt_id, node, display_node, output }) {
  if (!output?.text) return;
  const text = textOf(output);
  updateText(prompt_id, display_node ?? node, text);
  said.add(JSON.stringify([await workflowOf(prompt_id), text]));
}

/** Reads the texts of former runs, once per page. */
async function recallTexts() {
  const former = new Map();
  for (const [workflow, id, output] of await formerOutputs()) {
    if (!workflow || !output.text) continue;
    former.set(JSON.stringify([workflow, id]), textOf(output));
    said.add(JSON.stringify([workflow, textOf(output)]));
  }
  for (const [key, text] of former) {
    const [workflow, id] = JSON.parse(key);
    if (!textsOf(workflow).has(id)) textsOf(workflow).set(id, text);
  }
}

const showTexts = () => textsOf(openWorkflow()).forEach((text, id) => setText(nodeByExecutionId(id), text));

app.registerExtension({
  name: "Janus.Text",

  nodeCreated(node) {
    if (TEXT_NODES.includes(node.comfyClass)) addField(node, FIELD_HEIGHT);
  },

  afterConfigureGraph() {
    showTexts(); // the front end has created new nodes, as when undoing or switching workflows
    recalled ??= recallTexts().catch((error) => console.warn("Janus: no texts of former runs:", error));
    recalled.then(showTexts);
  },

  /**
   * Shows the texts of a former run that the user has chosen. Front ends also pass outputs here that arrived while
   * this workflow was open, but belong to another.
   */
  async onNodeOutputsUpdated(outputs) {
    const workflow = openWorkflow();
    await recalled;
    for (const [locator, output] of Object.entries(outputs ?? {})) {
      if (!output?.text || !said.has(JSON.stringify([workflow, textOf(output)]))) continue;
      const path = locator.split(":"); // "<subgraph id>:12" within a subgraph
      const graph = path.length > 1 ? app.rootGraph.subgraphs?.get(path[0]) : app.rootGraph;
      setText(graph?.getNodeById(path.at(-1)), textOf(output));
    }
  },

  setup() {
    api.addEventListener("execution_start", ({ detail }) => (running = detail.prompt_id));
    api.addEventListener("executing", ({ detail }) => detail && updateText(running, detail, ""));
    api.addEventListener("executed", ({ detail }) => onExecuted(detail));
    api.addEventListener("janus.text", async ({ detail }) => {
      await updateText(detail.prompt_id ?? running, detail.node, detail.text);
      const { element } = fieldOf(nodeByExecutionId(detail.node)) ?? {};
      if (element) element.scrollTop = element.scrollHeight; // the end is what is being generated
    });
  },
});
