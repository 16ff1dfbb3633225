// Shows the text of Janus nodes in a read-only field on the node, while it is generated and afterwards.
//
// Texts are neither saved with the workflow nor sent with the prompt, as those of ComfyUI's own text preview. But
// they are kept for each workflow while another is open, and taken from the server's history after a reload.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { addField, fieldOf } from "./janus_field.js";
import { LastValues, nodeByExecutionId, openWorkflow, workflowOf } from "./janus_runs.js";

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

const texts = new LastValues();
const said = new Set(); // every text that a run has ended with, with its workflow's id
let running; // the run whose start the server has reported last

function setText(node, text) {
  if (text && NOTE_NODES.includes(node?.type) && !fieldOf(node)) addField(node, NOTE_HEIGHT);
  const field = fieldOf(node);
  if (field) field.value = text;
}

/** The texts of a node, one per run, each with its note below: how answers ended. */
const textOf = ({ text, note = [] }) =>
  text.map((part, run) => (note[run] ? `${part}\n${note[run]}` : part)).join("\n\n");

const keyOf = (workflow, text) => JSON.stringify([workflow, text]);

/** Keeps the text of a node, and shows it if its workflow is open. */
async function updateText(run, id, text) {
  const workflow = await workflowOf(run);
  texts.of(workflow).set(String(id), text);
  if (workflow === openWorkflow()) setText(nodeByExecutionId(id), text);
}

async function onExecuted({ prompt_id, node, display_node, output }) {
  if (!output?.text) return;
  const text = textOf(output);
  updateText(prompt_id, display_node ?? node, text);
  said.add(keyOf(await workflowOf(prompt_id), text));
}

/** Reads the texts of former runs, once per page. */
const recallTexts = () =>
  texts.recall(
    (output) => (output.text ? textOf(output) : undefined),
    (workflow, text) => said.add(keyOf(workflow, text)),
  );

const showTexts = () => texts.of(openWorkflow()).forEach((text, id) => setText(nodeByExecutionId(id), text));

app.registerExtension({
  name: "Janus.Text",

  nodeCreated(node) {
    if (TEXT_NODES.includes(node.comfyClass)) addField(node, FIELD_HEIGHT);
  },

  afterConfigureGraph() {
    showTexts(); // the front end has created new nodes, as when undoing or switching workflows
    recallTexts().then(showTexts);
  },

  /**
   * Shows the texts of a former run that the user has chosen. Front ends also pass outputs here that arrived while
   * this workflow was open, but belong to another.
   */
  async onNodeOutputsUpdated(outputs) {
    const workflow = openWorkflow();
    await recallTexts();
    for (const [locator, output] of Object.entries(outputs ?? {})) {
      if (!output?.text || !said.has(keyOf(workflow, textOf(output)))) continue;
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
