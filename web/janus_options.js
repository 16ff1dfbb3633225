// Shows the values of combos in the user's language. The front end translates names and tooltips of inputs from
// `locales/<language>/nodeDefs.json`, but not values; their texts are in the same file, as `options` of an input.
// Only what is shown changes: workflows and prompts keep the values themselves.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

let translations = {};

/** The texts of a combo's values in the current language, by value. */
const textsOf = (node, widget) => {
  const language = app.extensionManager?.setting?.get("Comfy.Locale");
  return translations[language]?.nodeDefs?.[node.comfyClass]?.inputs?.[widget.name]?.options;
};

app.registerExtension({
  name: "Janus.Options",

  async init() {
    const answer = await api.fetchApi("/i18n");
    if (answer.ok) translations = await answer.json();
  },

  nodeCreated(node) {
    if (!node.comfyClass?.startsWith("Janus")) return;
    for (const widget of node.widgets ?? [])
      if (widget.type === "combo" && textsOf(node, widget))
        widget.options.getOptionLabel = (value) => textsOf(node, widget)?.[value] ?? value ?? "";
  },
});
