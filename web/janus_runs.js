// Which workflow a run belongs to, and which node of the open workflow an execution id names.
//
// A run continues while another workflow is open, which may have nodes with the same ids. Events name the run
// only; its workflow is in the server's queue or history.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const HISTORY_RUNS = 100; // how far back outputs of former runs are looked for

const workflows = new Map(); // workflow ids by run, or promises of them
let former; // the promise of the outputs of former runs

/** The id of the open workflow: it is saved with it, and new for a workflow that has none. */
export const openWorkflow = () => app.rootGraph?.id;

async function fetchJson(path) {
  const response = await api.fetchApi(path);
  return response.ok ? response.json() : {};
}

const workflowIn = ([, , , extra]) => extra?.extra_pnginfo?.workflow?.id;

async function lookUp(run) {
  const { queue_running = [], queue_pending = [] } = await fetchJson("/queue");
  for (const item of [...queue_running, ...queue_pending]) workflows.set(item[1], workflowIn(item));
  const found = workflows.get(run);
  if (!(found instanceof Promise)) return found;
  const finished = (await fetchJson(`/history/${run}`))[run]; // it has ended by now
  return finished && workflowIn(finished.prompt);
}

/** The id of the workflow from which a run was queued; of the open one if the server does not know. */
export async function workflowOf(run) {
  if (run && !workflows.has(run)) workflows.set(run, lookUp(run).catch(() => undefined));
  return (await workflows.get(run)) ?? openWorkflow();
}

async function readHistory() {
  const runs = await fetchJson(`/history?max_items=${HISTORY_RUNS}`);
  return Object.values(runs).flatMap(({ prompt, outputs }) =>
    Object.entries(outputs ?? {}).map(([id, output]) => [workflowIn(prompt), id, output]),
  );
}

/** The last value that each node of each workflow has got from a run. */
export class LastValues {
  #values = new Map(); // by workflow id, and by execution id of the node
  #recalled;

  /** The values of a workflow, by execution id. */
  of(workflow) {
    if (!this.#values.has(workflow)) this.#values.set(workflow, new Map());
    return this.#values.get(workflow);
  }

  /**
   * Adds those of runs before the page was loaded, once; `pick` takes an output and returns its value, undefined
   * if it has none. `found` is called with each workflow and value. The server is asked once per page.
   */
  recall(pick, found = () => {}) {
    return (this.#recalled ??= this.#read(pick, found).catch((error) =>
      console.warn("Janus: no results of former runs:", error),
    ));
  }

  async #read(pick, found) {
    const outputs = await (former ??= readHistory());
    for (const [workflow, id, output] of [...outputs].reverse()) {
      const value = pick(output);
      if (!workflow || value === undefined) continue;
      found(workflow, value);
      if (!this.of(workflow).has(id)) this.of(workflow).set(id, value);
    }
  }
}

/** Finds a node by its execution id. Within subgraphs, that is a path of node ids, such as "3:12". */
export function nodeByExecutionId(executionId) {
  const path = String(executionId).split(":");
  const graph = path.slice(0, -1).reduce((outer, id) => outer?.getNodeById(id)?.subgraph, app.rootGraph);
  return graph?.getNodeById(path.at(-1));
}
